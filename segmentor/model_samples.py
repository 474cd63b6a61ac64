"""Images kept with a published model, on which a faster engine is compared with the exact one.

They lie in `samples/` beside model.onnx, as they were in the test set; model.json has the digests.
"""

import json
from pathlib import Path
from typing import Final

from segmentor.digests import digest_bytes
from segmentor.errors import ContractError
from segmentor.image_io import EXTENSIONS

RECORD_FILE = "model.json"
SAMPLES_FOLDER = "samples"
MOST_SAMPLES = 8
# What runs model.onnx exactly as export's parity measured it; other engines are faster.
EXACT_ENGINE: Final = "onnxruntime"
# Share of pixels that a faster engine may change. On the models of docs/serving.md every engine
# below it lost less than 0.002 of IoU, and both that lost more were above it.
MAX_FLIPPED = 0.005


def read_samples(folder: Path) -> dict[str, bytes]:
    """Reads the images kept with the model in a folder; none is an empty dictionary.

    Raises:
        ContractError: model.json is no record, or an image is not the one it names.
    """
    paths = sorted((folder / SAMPLES_FOLDER).glob("*"))
    images = {path.name: path.read_bytes() for path in paths if path.suffix.lower() in EXTENSIONS}
    images = dict(list(images.items())[:MOST_SAMPLES])
    record = folder / RECORD_FILE
    if not record.is_file():  # a folder that nobody published
        return images
    try:
        digests = dict(json.loads(record.read_text(encoding="utf-8")).get("samples", {}))
    except (ValueError, TypeError, AttributeError) as error:
        raise ContractError(str(record), f"no record of a model ({error})", "JSON") from error
    for name, content in images.items():
        if name in digests and digest_bytes(content) != digests[name]:
            raise ContractError(
                str(folder / SAMPLES_FOLDER / name),
                f"digest {digest_bytes(content)}",
                str(digests[name]),
                "publish the model again",
            )
    return images
