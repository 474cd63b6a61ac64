"""Compile the pipelines to the files that are committed beside this module."""

import contextlib
import pkgutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from components.container_images import DATA, PREDICTOR, TRAINER
from components.kubernetes_names import is_image
from segmentor.errors import ConfigError

FOLDER = Path(__file__).parent
SEGMENTATION_YAML = FOLDER / "segmentation.yaml"
SWEEP_YAML = FOLDER / "sweep.yaml"
LABELLING_YAML = FOLDER / "labelling.yaml"
PREDICT_BATCH_YAML = FOLDER / "predict_batch.yaml"
# The function that is compiled to each of them.
PIPELINES = {
    SEGMENTATION_YAML: "pipelines.segmentation:segmentation",
    SWEEP_YAML: "pipelines.sweep:sweep",
    LABELLING_YAML: "pipelines.labelling:labelling",
    PREDICT_BATCH_YAML: "pipelines.predict_batch:predict_batch_pipeline",
}


def compile_pipeline(committed: Path, path: Path, registry: str = "", **options: Any) -> Path:
    """Compile one of the pipelines; return where it was written.

    Args:
        committed: A key of PIPELINES.
        path: The YAML file.
        registry: Where the default container images are; empty leaves their names bare.
        options: Of KFP's compiler.

    Raises:
        ConfigError: the registry is not a valid name.
    """
    from kfp import compiler

    function = _function(committed)
    path.parent.mkdir(parents=True, exist_ok=True)
    defaults = _image_defaults(function, registry)
    compiler.Compiler().compile(function, str(path), pipeline_parameters=defaults, **options)
    return path


@contextlib.contextmanager
def with_registry(pipeline: Path, registry: str) -> Iterator[Path]:
    """Yield one of the pipelines, compiled with its default images in a registry.

    Args:
        pipeline: A key of PIPELINES.
        registry: As compile_pipeline; empty gives the committed file.
    """
    if not registry:
        yield pipeline
        return
    with tempfile.TemporaryDirectory() as folder:
        yield compile_pipeline(pipeline, Path(folder) / pipeline.name, registry)


def compile_manifest(committed: Path, path: Path, version: str, registry: str = "") -> Path:
    """Compile a pipeline to Kubernetes manifests: a Pipeline and a PipelineVersion.

    For a KFP whose API server keeps pipelines in Kubernetes; kubectl applies them.

    Args:
        committed: A key of PIPELINES.
        path: The YAML file.
        version: Name of the version; a Kubernetes name when its dots are dashes.
        registry: As compile_pipeline.
    """
    from kfp.compiler.compiler_utils import KubernetesManifestOptions

    options = KubernetesManifestOptions(
        pipeline_name=_function(committed).name,
        pipeline_version_name=version.replace(".", "-"),
        # submit finds the version by this name.
        pipeline_version_display_name=version,
        include_pipeline_manifest=True,
    )
    return compile_pipeline(
        committed,
        path,
        registry,
        kubernetes_manifest_format=True,
        kubernetes_manifest_options=options,
    )


def _function(committed: Path) -> Any:
    return pkgutil.resolve_name(PIPELINES[committed])


def _image_defaults(pipeline: Any, registry: str) -> dict[str, str]:
    """Return the defaults of the image parameters: what a form in the pipelines UI starts with."""
    if not registry:
        return {}
    images = {
        "data_image": f"{registry}/{DATA}",
        "trainer_image": f"{registry}/{TRAINER}",
        "predictor_image": f"{registry}/{PREDICTOR}",
    }
    if not all(map(is_image, images.values())):
        raise ConfigError("--registry", f"'{registry}'", "a registry ('registry.example/vision')")
    declared = pipeline.pipeline_spec.root.input_definitions.parameters
    return {name: image for name, image in images.items() if name in declared}
