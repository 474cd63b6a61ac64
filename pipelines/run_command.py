"""`segmentor run`: an export through the whole pipeline on this machine, and what came of it."""

import contextlib
import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pipelines.compilation import SEGMENTATION_YAML
from pipelines.local_run import STORE, Runner, run_local
from pipelines.parameters import checked_parameters, parse_assignments
from pipelines.run_summary import summary
from pipelines.store import embedded_store
from segmentor.errors import ConfigError, DataError
from segmentor.object_store import is_object_uri


def run_export(
    export: str,
    overrides: Sequence[str],
    assignments: Sequence[str],
    runner: Runner,
    folder: Path,
) -> None:
    """Runs the pipeline on an export and prints a summary.

    Args:
        export: A zip or a folder; a path or an object store URI.
        overrides: Hydra overrides of training.
        assignments: Pipeline parameters, `name=value`.
        runner: What executes the steps.
        folder: The run folder.

    Raises:
        DataError: there is no such export.
        ConfigError: an unknown parameter, a wrong value, or one given twice.
        RunFailedError: a step failed.
    """
    parameters = parameters_for(export, overrides, assignments)
    print(f"run folder: {folder}", file=sys.stderr)
    with object_store(folder) as environment:
        record = run_local(runner, parameters, folder, environment=environment)
    print(summary(record))


def parameters_for(
    export: str, overrides: Sequence[str], assignments: Sequence[str]
) -> dict[str, str]:
    """Returns the pipeline's parameters that a command line gives, checked before anything starts.

    Raises:
        DataError: there is no such export.
        ConfigError: an unknown parameter, a wrong value, or one given twice.
    """
    if not is_object_uri(export) and not Path(export).expanduser().exists():
        raise DataError(export, "no such file or folder", "a CVAT export: a zip or a folder")
    parameters = parse_assignments(assignments)
    given = {"source": export}
    if overrides:
        from components.train.compose import compose_config

        compose_config(overrides)  # a misspelt one is said before anything runs
        given["train_overrides"] = shlex.join(overrides)
    for name in given:
        if name in parameters:
            raise ConfigError(
                f"parameter {name}", "given twice", "one value", f"leave out --param {name}"
            )
    parameters.update(given)
    checked_parameters(SEGMENTATION_YAML, parameters)
    return parameters


@contextlib.contextmanager
def object_store(folder: Path) -> Iterator[Mapping[str, str]]:
    """Yields the environment of the steps, with an embedded store when it names none."""
    if os.environ.get("S3_ENDPOINT") or os.environ.get("AWS_ENDPOINT_URL"):
        yield os.environ
        return
    with embedded_store(folder / STORE) as variables:
        yield {**os.environ, **variables}
