"""What the gate judges: a model, and what evaluate and export measured of it."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from segmentor.contract import ModelContract
from segmentor.dataset import Dataset
from segmentor.errors import ContractError
from segmentor.model_samples import MOST_SAMPLES, mask_name
from segmentor.onnx_model import INT8_FILE, MODEL_FILE, OnnxModel

EVALUATION_FILE = "evaluation.json"
PER_IMAGE_FILE = "per_image.csv"
EVALUATION_SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Candidate:
    """A model that wants to be served.

    `files` are published by their names; model.onnx is among them. `evaluation` and `parity` are
    the JSON values as the steps wrote them: the gate distrusts each of their fields. `samples` are
    test images by file name, and `sample_masks` theirs: a predictor compares its faster engines on
    them.
    """

    files: dict[str, Path]
    digest: str
    contract: ModelContract
    evaluation: dict[str, Any]
    parity: dict[str, Any]
    samples: dict[str, bytes] = field(default_factory=dict)
    sample_masks: dict[str, bytes] = field(default_factory=dict)

    @property
    def version(self) -> str:
        """The default version: the first 12 hex digits of the digest."""
        return self.digest.removeprefix("sha256:")[:12]


def read_candidate(
    model: Path, evaluation: Path, parity: Path, test: Path | None = None
) -> Candidate:
    """Reads the inputs; the model is loaded, so that what cannot run is never published.

    Without a test set nothing is kept to compare faster engines on.

    Raises:
        ContractError: a file is missing, malformed, or of another schema version.
    """
    onnx = OnnxModel(model)
    measured = _read_json(evaluation / EVALUATION_FILE, "run the evaluate step")
    found = measured.get("schema_version")
    if found != EVALUATION_SCHEMA_VERSION:
        raise ContractError(
            str(evaluation / EVALUATION_FILE),
            f"schema version {found}",
            str(EVALUATION_SCHEMA_VERSION),
            "evaluate again with this version",
        )
    per_image = evaluation / PER_IMAGE_FILE
    if not per_image.is_file():
        raise ContractError(str(per_image), "no such file", "a table", "run the evaluate step")
    files = {
        EVALUATION_FILE: evaluation / EVALUATION_FILE,
        PER_IMAGE_FILE: per_image,
        MODEL_FILE: onnx.path,
    }
    int8 = onnx.path.with_name(INT8_FILE)
    if int8.is_file():
        files[INT8_FILE] = int8
    figures = _read_json(parity, "run the export step")
    samples, masks = _choose_samples(Dataset(test)) if test else ({}, {})
    return Candidate(files, onnx.digest, onnx.contract, measured, figures, samples, masks)


def _choose_samples(dataset: Dataset) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Images spread evenly over a data set, and their masks, by file name."""
    count = min(MOST_SAMPLES, len(dataset))
    chosen = [dataset.samples[turn * len(dataset) // count] for turn in range(count)]
    named = {f"{turn:02d}.{sample.extension}": sample for turn, sample in enumerate(chosen)}
    images = {name: dataset.image_content(sample) for name, sample in named.items()}
    masks = {mask_name(name): dataset.mask_content(sample) for name, sample in named.items()}
    return images, masks


def _read_json(path: Path, remedy: str) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ContractError(str(path), "no such file", "a JSON file", remedy) from None
    except (ValueError, IsADirectoryError) as error:
        raise ContractError(str(path), f"no JSON ({error})", "a JSON object", remedy) from error
    if not isinstance(value, dict):
        raise ContractError(str(path), type(value).__name__, "a JSON object", remedy)
    return value
