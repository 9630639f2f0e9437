"""Activations observed while data run through the float model, and the ranges that follow from what was seen."""
