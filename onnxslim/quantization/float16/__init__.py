"""The float16 scheme: what pays where int8 does not."""
