"""What the gate judges: a model, and what evaluate and export measured of it."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from segmentor.contract import ModelContract
from segmentor.dataset import Dataset
from segmentor.errors import ContractError
from segmentor.exported_files import files_beside
from segmentor.golden_images import golden_mask
from segmentor.image_io import encode_index
from segmentor.model_samples import MOST_SAMPLES, mask_name
from segmentor.onnx_model import MODEL_FILE, OnnxModel

EVALUATION_FILE = "evaluation.json"
PER_IMAGE_FILE = "per_image.csv"
EVALUATION_SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Candidate:
    """A model that is to be served.

    `files` are published under their names; model.onnx is one of them. `evaluation` and `parity`
    are the JSON values as the steps wrote them: the gate checks each of their fields. `samples` are
    test images by file name. `sample_masks` has, by file name, the masks that this model predicts:
    predictors check themselves on them before they take requests.
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
    """Read the inputs; the model is loaded, so that one that cannot run is never published.

    Without a test set, no images are published for predictors to check themselves on.

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
        **files_beside(onnx.path),
    }
    figures = _read_json(parity, "run the export step")
    samples, masks = _choose_samples(Dataset(test), onnx) if test else ({}, {})
    return Candidate(files, onnx.digest, onnx.contract, measured, figures, samples, masks)


def _choose_samples(
    dataset: Dataset, model: OnnxModel
) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Choose images spread evenly over a data set; return them and their masks by file name."""
    count = min(MOST_SAMPLES, len(dataset))
    chosen = [dataset.samples[turn * len(dataset) // count] for turn in range(count)]
    named = {f"{turn:02d}.{sample.extension}": sample for turn, sample in enumerate(chosen)}
    images = {name: dataset.image_content(sample) for name, sample in named.items()}
    masks = {
        mask_name(name): encode_index(golden_mask(model.forward, model.contract, content, name))
        for name, content in images.items()
    }
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
