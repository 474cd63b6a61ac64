"""What most people write around an ONNX model: Pillow, session.run, a resize, Pillow again."""

import io
import json
import os
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
from PIL import Image


class PlainModel:
    """JPEG in, index-mask PNG out: the work every server of the benchmark does."""

    def __init__(self) -> None:
        path = Path(os.environ["BENCHMARK_MODEL"]) / "model.onnx"
        self.session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        metadata = self.session.get_modelmeta().custom_metadata_map["segmentor.contract"]
        output = json.loads(metadata)["output"]
        self.threshold = output["threshold"] if output["kind"] == "binary" else None

    def predict(self, content: bytes) -> bytes:
        """Encoded image -> index-mask PNG."""
        image = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
        (probability,) = self.session.run(None, {"image": image[None]})
        size = image.shape[1::-1]
        planes = [cv2.resize(plane, size) for plane in probability[0]]
        if self.threshold is not None:
            mask = (planes[0] > self.threshold).astype(np.uint8)
        else:
            mask = np.argmax(planes, 0).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(mask).save(buffer, "PNG")
        return buffer.getvalue()
