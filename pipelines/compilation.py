"""Compiles the pipelines to the files that are committed beside this module."""

from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
SEGMENTATION_YAML = FOLDER / "segmentation.yaml"
SWEEP_YAML = FOLDER / "sweep.yaml"


def compile_segmentation(path: Path = SEGMENTATION_YAML) -> Path:
    """Compiles the segmentation pipeline; returns where it was written."""
    from pipelines.segmentation import segmentation

    return _compile(segmentation, path)


def compile_sweep(path: Path = SWEEP_YAML) -> Path:
    """Compiles the sweep; returns where it was written."""
    from pipelines.sweep import sweep

    return _compile(sweep, path)


def compile_manifest(pipeline: Any, path: Path, version: str, namespace: str = "") -> Path:
    """Compiles a pipeline to Kubernetes manifests: a Pipeline and a PipelineVersion.

    For a KFP whose API server keeps pipelines in Kubernetes; kubectl applies them.

    Args:
        pipeline: `segmentation` or `sweep`.
        path: The YAML file.
        version: Name of the version.
        namespace: Of both; empty leaves it to kubectl.
    """
    from kfp import compiler
    from kfp.compiler.compiler_utils import KubernetesManifestOptions

    options = KubernetesManifestOptions(
        pipeline_name=pipeline.name,
        pipeline_version_name=f"{pipeline.name}-{version.replace('.', '-')}",
        namespace=namespace or None,
        include_pipeline_manifest=True,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    compiler.Compiler().compile(
        pipeline, str(path), kubernetes_manifest_format=True, kubernetes_manifest_options=options
    )
    return path


def _compile(pipeline: Any, path: Path) -> Path:
    from kfp import compiler

    path.parent.mkdir(parents=True, exist_ok=True)
    compiler.Compiler().compile(pipeline, str(path))
    return path
