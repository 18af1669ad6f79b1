"""ONNX files on the level of bytes and nodes; needs no onnx package."""
