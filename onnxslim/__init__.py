"""onnxslim: the smallest, fastest ONNX file that is still right, with the evidence."""

from onnxslim.version import __version__

__all__ = ["__version__"]
