"""Everything that runs: the only code that imports onnxruntime."""
