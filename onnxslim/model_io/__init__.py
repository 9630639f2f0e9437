"""Model files: bytes, names and paths are judged before they are believed, and what is written is old or new, never half.

``protobuf_limits`` follows the lengths in the bytes, ``graph_names`` reads the names, ``tensor_data`` the tensors and types,
``checker`` asks ONNX's own about the operators; ``serialization`` is the road from bytes to a model and back, and
``model_file`` the one place that opens and writes. Errors name the node or the tensor.
"""
