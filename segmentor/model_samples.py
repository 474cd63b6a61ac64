"""Test images that are published with a model, for predictors to check themselves on.

They are in `samples/` beside model.onnx, as they were in the test set, and the masks that the
evaluated model predicts in `samples/expected/`, under the same names, as PNG. model.json has the
digests of all.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from segmentor.digests import digest_bytes
from segmentor.errors import ContractError
from segmentor.image_io import EXTENSIONS

RECORD_FILE = "model.json"
SAMPLES_FOLDER = "samples"
EXPECTED_FOLDER = "expected"
MOST_SAMPLES = 16
# What runs model.onnx exactly as export's parity measured it; other engines are faster.
EXACT_ENGINE: Final = "onnxruntime"
# Share of pixels that a faster engine may change.
MAX_FLIPPED = 0.005
# IoU that it may lose on the test set, as export measured it.
FAST_IOU_LOSS = 0.002


@dataclass(frozen=True)
class KeptSample:
    """An image kept with a model: its file name, its content, and the mask expected, as PNG.

    For a `native` model, the mask covers the middle of the image (golden_images.py).
    """

    name: str
    image: bytes
    expected: bytes | None = None


def mask_name(image_name: str) -> str:
    """Return where the expected mask of an image is, below `samples/`."""
    return f"{EXPECTED_FOLDER}/{Path(image_name).stem}.png"


def recorded_limit(folder: Path) -> float:
    """Return which share of the pixels may differ from the expected masks, as model.json has it."""
    return float(_record(folder / RECORD_FILE).get("max_flipped_fraction", 0.0))


def read_samples(folder: Path) -> tuple[KeptSample, ...]:
    """Read the images kept with the model in a folder, and their masks; there may be none.

    Raises:
        ContractError: model.json is no record, or a file is not the one it names.
    """
    digests = _record(folder / RECORD_FILE).get("samples", {})
    samples = folder / SAMPLES_FOLDER
    paths = [path for path in sorted(samples.glob("*")) if path.suffix.lower() in EXTENSIONS]
    kept = []
    for path in paths[:MOST_SAMPLES]:
        content = _read(samples, path.name, digests) or b""
        expected = _read(samples, mask_name(path.name), digests)
        kept.append(KeptSample(path.name, content, expected))
    return tuple(kept)


def _record(path: Path) -> dict[str, Any]:
    """Read model.json; a folder that was made by hand has none."""
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ContractError(str(path), f"no record of a model ({error})", "JSON") from error


def _read(folder: Path, name: str, digests: Mapping[str, str]) -> bytes | None:
    path = folder / name
    if not path.is_file():
        return None
    content = path.read_bytes()
    expected = digests.get(name)
    if expected is not None and digest_bytes(content) != expected:
        raise ContractError(
            str(path), f"digest {digest_bytes(content)}", expected, "publish the model again"
        )
    return content
