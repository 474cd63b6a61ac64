"""Compiles the pipelines to the files that are committed beside this module."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from components.container_images import DATA, TRAINER
from pipelines.cluster_values import is_image
from segmentor.errors import ConfigError

FOLDER = Path(__file__).parent
SEGMENTATION_YAML = FOLDER / "segmentation.yaml"
SWEEP_YAML = FOLDER / "sweep.yaml"


def compile_segmentation(path: Path = SEGMENTATION_YAML, registry: str = "") -> Path:
    """Compiles the segmentation pipeline; returns where it was written.

    Args:
        path: The YAML file.
        registry: Where the default container images are; empty leaves their names bare.

    Raises:
        ConfigError: a registry that is none.
    """
    from pipelines.segmentation import segmentation

    return _compile(segmentation, path, registry)


def compile_sweep(path: Path = SWEEP_YAML, registry: str = "") -> Path:
    """Compiles the sweep; as compile_segmentation."""
    from pipelines.sweep import sweep

    return _compile(sweep, path, registry)


@contextlib.contextmanager
def with_registry(pipeline: Path, registry: str) -> Iterator[Path]:
    """Gives one of the two pipelines with its default images in a registry, while it is needed.

    Args:
        pipeline: SEGMENTATION_YAML or SWEEP_YAML.
        registry: As compile_segmentation; empty gives the committed file.
    """
    if not registry:
        yield pipeline
        return
    compiling = {SEGMENTATION_YAML.name: compile_segmentation, SWEEP_YAML.name: compile_sweep}
    with tempfile.TemporaryDirectory() as folder:
        yield compiling[pipeline.name](Path(folder) / pipeline.name, registry)


def compile_manifest(
    pipeline: Any, path: Path, version: str, namespace: str = "", registry: str = ""
) -> Path:
    """Compiles a pipeline to Kubernetes manifests: a Pipeline and a PipelineVersion.

    For a KFP whose API server keeps pipelines in Kubernetes; kubectl applies them.

    Args:
        pipeline: `segmentation` or `sweep`.
        path: The YAML file.
        version: Name of the version; a Kubernetes name when its dots are dashes.
        namespace: Of both; empty leaves it to kubectl.
        registry: Where the default container images are; empty leaves their names bare.
    """
    from kfp import compiler
    from kfp.compiler.compiler_utils import KubernetesManifestOptions

    options = KubernetesManifestOptions(
        pipeline_name=pipeline.name,
        pipeline_version_name=version.replace(".", "-"),
        # By which submit finds it.
        pipeline_version_display_name=version,
        namespace=namespace or None,
        include_pipeline_manifest=True,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    compiler.Compiler().compile(
        pipeline,
        str(path),
        pipeline_parameters=_image_defaults(registry),
        kubernetes_manifest_format=True,
        kubernetes_manifest_options=options,
    )
    return path


def _image_defaults(registry: str) -> dict[str, str]:
    """Returns the defaults of the image parameters: what a form in the pipelines UI starts with."""
    if not registry:
        return {}
    images = {"data_image": f"{registry}/{DATA}", "trainer_image": f"{registry}/{TRAINER}"}
    if not all(map(is_image, images.values())):
        raise ConfigError("--registry", f"'{registry}'", "a registry ('registry.example/vision')")
    return images


def _compile(pipeline: Any, path: Path, registry: str) -> Path:
    from kfp import compiler

    path.parent.mkdir(parents=True, exist_ok=True)
    compiler.Compiler().compile(pipeline, str(path), pipeline_parameters=_image_defaults(registry))
    return path
