"""The weight-only scheme: weights stored in 8 or 4 bits or as a codebook, activations in float."""
