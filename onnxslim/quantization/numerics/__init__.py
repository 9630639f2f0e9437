"""The arithmetic of quantisation: arrays in, arrays out, no model."""
