"""The overlays there are, and their two documents that most tests look at."""

OVERLAYS = ("local", "gpu", "production", "production-monitored", "fast")


def runtime_of(documents: dict[tuple[str, str], dict]) -> dict:
    return documents["ServingRuntime", "onnx-segmentation"]


def service_of(documents: dict[tuple[str, str], dict]) -> dict:
    return documents["InferenceService", "segmentation"]
