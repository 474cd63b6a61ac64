"""MLServer as its documentation has it: a custom runtime with `predict`, bytes as base64 in V2.

`python mlserver_peer.py PORT` writes the two settings files that `mlserver start` reads.
"""

import base64
import json
import os
import sys
import tempfile
from pathlib import Path

from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput
from plain_model import PlainModel


class Segmentation(MLModel):
    """load, then predict on the event loop of its worker process, as its guide does."""

    async def load(self) -> bool:
        """Load the model, once a worker."""
        self.model = PlainModel()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Base64 in, base64 out."""
        content = base64.b64decode(payload.inputs[0].data[0])
        mask = base64.b64encode(self.model.predict(content)).decode()
        output = ResponseOutput(
            name="mask",
            shape=[1],
            datatype="BYTES",
            data=[mask],
            parameters={"content_type": "base64"},
        )
        return InferenceResponse(model_name=self.name, outputs=[output])


def main() -> None:
    """Become `mlserver start`, with the settings of this benchmark."""
    port = int(sys.argv[1])
    here = Path(__file__).resolve().parent
    folder = Path(tempfile.mkdtemp())
    (folder / "settings.json").write_text(
        json.dumps({"http_port": port, "grpc_port": port + 1, "metrics_port": port + 2})
    )
    settings = {"name": "scene", "implementation": "mlserver_peer.Segmentation"}
    (folder / "model-settings.json").write_text(json.dumps(settings))
    os.environ["PYTHONPATH"] = str(here)
    command = Path(sys.executable).with_name("mlserver")
    os.execv(command, [str(command), "start", str(folder)])


if __name__ == "__main__":
    main()
