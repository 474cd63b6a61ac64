"""The export step: a checkpoint becomes one ONNX file, proven equal to it."""
