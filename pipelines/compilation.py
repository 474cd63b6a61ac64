"""Compiles the pipelines to the YAML files that are committed beside this module."""

from pathlib import Path

FOLDER = Path(__file__).parent
SEGMENTATION_YAML = FOLDER / "segmentation.yaml"


def compile_segmentation(path: Path = SEGMENTATION_YAML) -> Path:
    """Compiles the segmentation pipeline; returns where it was written."""
    from kfp import compiler

    from pipelines.segmentation import segmentation

    path.parent.mkdir(parents=True, exist_ok=True)
    compiler.Compiler().compile(segmentation, str(path))
    return path
