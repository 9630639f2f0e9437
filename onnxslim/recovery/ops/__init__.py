"""ONNX's operators on torch: one small function each, grouped by family, collected in ``table.py``.

To add one, write ``def name(call, *inputs)`` in its family's file and name it in that file's ``OPS``. Inputs are torch
tensors, None where an optional input is absent, lists where ONNX has sequences. ONNX's own node cases then run on it.
"""
