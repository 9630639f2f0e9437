"""What ``io`` stands on: bytes, names and paths judged before they are believed, and files that are old or new.

``wire`` follows the lengths in the bytes, ``structure`` reads the names, ``payload`` the tensors and types, ``outline``
asks the ONNX checker about the operators; ``message`` is the road from bytes to a model and back. ``external`` says
which data files a model may read, ``beside`` keeps those written here, ``atomic`` writes. Errors name node or tensor.
"""
