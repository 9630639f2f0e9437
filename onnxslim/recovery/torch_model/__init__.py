"""An ONNX model run by torch, so that its weights can learn."""
