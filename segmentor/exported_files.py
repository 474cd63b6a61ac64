"""The files that export may write beside model.onnx: one table, read by deploy and the predictor.

A new one is an entry here and a function in the export step that writes it: deploy publishes it,
and a predictor with any engine but the exact one downloads it.
"""

from dataclasses import dataclass
from pathlib import Path

from segmentor.onnx_model import INT8_FILE


@dataclass(frozen=True)
class ExportedFile:
    """A file beside model.onnx: its name, and what it is stored as."""

    name: str
    media_type: str = "application/octet-stream"


BESIDE: tuple[ExportedFile, ...] = (ExportedFile(INT8_FILE),)


def files_beside(model: Path) -> dict[str, Path]:
    """Return those of the table that lie beside a model, by name."""
    paths = {file.name: model.with_name(file.name) for file in BESIDE}
    return {name: path for name, path in paths.items() if path.is_file()}


def names_beside() -> tuple[str, ...]:
    """Return the names in the table."""
    return tuple(file.name for file in BESIDE)


def media_types() -> dict[str, str]:
    """Return what each file of the table is stored as, by name."""
    return {file.name: file.media_type for file in BESIDE}
