"""Data sources, one small file each, with ``accepts`` and ``read`` (see :mod:`onnxslim.data.reader`)."""
