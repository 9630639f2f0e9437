"""Zeros among the weights, unstructured or N:M: for smaller downloads, never a speed-up in onnxruntime."""
