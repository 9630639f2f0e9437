"""What the tables of the targets claim, executed on the installed runtime; ``onnxslim doctor`` shows the outcome."""
