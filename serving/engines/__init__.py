"""What runs the model: onnxruntime, OpenVINO, and the choice between them."""
