"""Images kept with a published model, on which a faster engine is compared with the exact one.

They lie in `samples/` beside model.onnx, as they were in the test set, and their masks in
`samples/masks/`, by the same names, as PNG; model.json has the digests of all.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from segmentor.digests import digest_bytes
from segmentor.errors import ContractError
from segmentor.image_io import EXTENSIONS

RECORD_FILE = "model.json"
SAMPLES_FOLDER = "samples"
MASKS_FOLDER = "masks"
# By eight images an engine that loses 0.0023 of IoU seemed to gain 0.0005.
MOST_SAMPLES = 16
# What runs model.onnx exactly as export's parity measured it; other engines are faster.
EXACT_ENGINE: Final = "onnxruntime"
# Share of pixels that a faster engine may change.
MAX_FLIPPED = 0.005


@dataclass(frozen=True)
class KeptSample:
    """An image kept with a model: its file name, its content, and its mask as PNG, if there is."""

    name: str
    image: bytes
    mask: bytes | None = None


def mask_name(image_name: str) -> str:
    """Returns where the mask of an image lies, below `samples/`."""
    return f"{MASKS_FOLDER}/{Path(image_name).stem}.png"


def read_samples(folder: Path) -> tuple[KeptSample, ...]:
    """Reads the images kept with the model in a folder, and their masks; there may be none.

    Raises:
        ContractError: model.json is no record, or a file is not the one it names.
    """
    digests = _recorded_digests(folder / RECORD_FILE)
    samples = folder / SAMPLES_FOLDER
    paths = [path for path in sorted(samples.glob("*")) if path.suffix.lower() in EXTENSIONS]
    kept = []
    for path in paths[:MOST_SAMPLES]:
        mask = samples / mask_name(path.name)
        image = _read(path, path.name, digests)
        truth = _read(mask, mask_name(path.name), digests) if mask.is_file() else None
        kept.append(KeptSample(path.name, image, truth))
    return tuple(kept)


def _recorded_digests(record: Path) -> Mapping[str, str]:
    """Digests by the names that the files have below `samples/`; none in a folder by hand."""
    if not record.is_file():
        return {}
    try:
        return dict(json.loads(record.read_text(encoding="utf-8")).get("samples", {}))
    except (ValueError, TypeError, AttributeError) as error:
        raise ContractError(str(record), f"no record of a model ({error})", "JSON") from error


def _read(path: Path, name: str, digests: Mapping[str, str]) -> bytes:
    content = path.read_bytes()
    expected = digests.get(name)
    if expected is not None and digest_bytes(content) != expected:
        raise ContractError(
            str(path), f"digest {digest_bytes(content)}", expected, "publish the model again"
        )
    return content
