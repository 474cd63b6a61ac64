"""KServe's own server as its custom-model example has it: V1 with base64, mask as base64."""

import base64
import os
import sys

port = int(sys.argv[1])
sys.argv = sys.argv[:1]

import kserve  # noqa: E402 - reads the arguments of the process
from plain_model import PlainModel  # noqa: E402


class Segmentation(kserve.Model):
    """load, then predict on the event loop, as the example does."""

    def load(self) -> bool:
        """Load the model."""
        self.model = PlainModel()
        self.ready = True
        return self.ready

    def predict(self, payload: dict, headers: dict | None = None) -> dict:
        """Base64 in, base64 out."""
        content = base64.b64decode(payload["instances"][0]["image"]["b64"])
        mask = self.model.predict(content)
        return {"predictions": [base64.b64encode(mask).decode()]}


if __name__ == "__main__":
    os.environ.setdefault("KSERVE_LOGLEVEL", "WARNING")
    served = Segmentation("scene")
    served.load()
    kserve.ModelServer(http_port=port, enable_grpc=False).start([served])
