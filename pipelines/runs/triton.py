"""Writes an exported model as a model repository of NVIDIA's Triton Inference Server."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from components.cli import output_file
from segmentor.onnx_model import MODEL_FILE, OnnxModel

CONFIGURATION = "config.pbtxt"
VERSION = "1"
_TYPES = {"tensor(uint8)": "TYPE_UINT8", "tensor(float)": "TYPE_FP32"}


def write_repository(folder: Path, name: str, model: OnnxModel) -> Path:
    """Write `<name>/config.pbtxt` and `<name>/1/model.onnx`; return the folder `<name>`.

    Source: Triton's docs, user_guide/model_repository.md and model_configuration.md.
    """
    with output_file(folder / name / VERSION / MODEL_FILE) as file:
        shutil.copyfile(model.path, file)
    with output_file(folder / name / CONFIGURATION) as file:
        file.write_text(configuration(name, model), encoding="utf-8")
    return folder / name


def configuration(name: str, model: OnnxModel) -> str:
    """Return config.pbtxt: with a `max_batch_size` of 0, shapes include the batch."""
    lines = [f"name: {json.dumps(name)}", 'backend: "onnxruntime"', "max_batch_size: 0"]
    lines += _tensors("input", model.session.get_inputs())
    lines += _tensors("output", model.session.get_outputs())
    return "\n".join(lines) + "\n"


def _tensors(kind: str, tensors: Sequence[Any]) -> list[str]:
    return [
        f"{kind} {{ name: {json.dumps(tensor.name)} data_type: {_TYPES[tensor.type]} "
        f"dims: [ {', '.join(map(_length, tensor.shape))} ] }}"
        for tensor in tensors
    ]


def _length(axis: int | str) -> str:
    """Return an axis as Triton has it: onnxruntime names those of any length."""
    return str(axis) if isinstance(axis, int) else "-1"
