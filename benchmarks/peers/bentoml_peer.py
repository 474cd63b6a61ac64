"""BentoML as its documentation has it: a service whose API takes a file path and returns bytes.

`python bentoml_peer.py PORT` becomes `bentoml serve`.
"""

import os
import sys
from pathlib import Path
from typing import Annotated

import bentoml
from bentoml.validators import ContentType
from plain_model import PlainModel


@bentoml.service(workers=1)
class Segmentation:
    """One worker, threads of its own."""

    def __init__(self) -> None:
        self.model = PlainModel()

    @bentoml.api
    def predict(self, file: Path) -> Annotated[Path, ContentType("image/png")]:
        """Write the mask beside the upload."""
        target = file.with_suffix(".mask.png")
        target.write_bytes(self.model.predict(file.read_bytes()))
        return target


if __name__ == "__main__":
    here = Path(__file__).resolve().parent
    command = str(Path(sys.executable).with_name("bentoml"))
    service = [command, "serve", "bentoml_peer:Segmentation", f"--working-dir={here}"]
    os.execv(command, [*service, f"--port={sys.argv[1]}"])
