"""The PyPI package onnxslim 0.1.98, its call and its keywords, on this library's exact simplification."""
