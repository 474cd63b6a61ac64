"""`segmentor run`: an export through the whole pipeline on this machine, and what came of it."""

import contextlib
import json
import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.compilation import SEGMENTATION_YAML
from pipelines.early_checks import check_step_options
from pipelines.local_run import RunFailedError, run_local
from pipelines.parameters import checked_parameters, parse_assignments, pipeline_parameters
from pipelines.run_folder import STORE, Runner, RunPlan, plan_run
from pipelines.run_summary import failure_summary, summary
from pipelines.store import embedded_store
from segmentor.errors import ConfigError, DataError
from segmentor.object_store import is_object_uri

SMALL_NETWORK = (
    "network:    'tiny', 0.7 million parameters: quick on a laptop. For real work add overrides "
    "such as model=unet_resnet34 processing.max_pixels=262144"
)


def run_export(
    export: str,
    overrides: Sequence[str],
    assignments: Sequence[str],
    runner: Runner,
    folder: Path,
    pipeline: Path = SEGMENTATION_YAML,
) -> None:
    """Runs a pipeline on an export and prints a summary.

    Args:
        export: A zip or a folder; a path or an object store URI.
        overrides: Hydra overrides of training.
        assignments: Pipeline parameters, `name=value`.
        runner: What executes the steps.
        folder: The run folder.
        pipeline: The compiled pipeline.

    Raises:
        DataError: there is no such export.
        ConfigError: an unknown parameter, a wrong value, one given twice; or a folder in use.
        RunFailedError: a step failed.
    """
    parameters = parameters_for(export, overrides, assignments, pipeline)
    plan = plan_run(runner, parameters, folder, pipeline)
    print(f"run folder: {folder}{_going_on(plan)}", file=sys.stderr)
    if uses_default_network(plan.values):
        print(SMALL_NETWORK, file=sys.stderr)
    command = _command(export, overrides, assignments, runner, folder, pipeline)
    with _saying_how_to_go_on(command), object_store(folder) as environment:
        record = run_local(runner, parameters, folder, pipeline=pipeline, environment=environment)
    print(summary(record))


def parameters_for(
    export: str,
    overrides: Sequence[str],
    assignments: Sequence[str],
    pipeline: Path = SEGMENTATION_YAML,
) -> dict[str, str]:
    """Returns the pipeline's parameters that a command line gives, checked before anything starts.

    The sweep takes each override for a set of its own ('model=fpn training.epochs=40').

    Raises:
        DataError: there is no such export.
        ConfigError: an unknown parameter, one given twice, or a value that a step would refuse.
    """
    if not is_object_uri(export) and not Path(export).expanduser().exists():
        raise DataError(export, "no such file or folder", "a CVAT export: a zip or a folder")
    parameters = parse_assignments(assignments)
    given = {"source": export}
    if overrides:
        given |= _override_parameters(overrides, pipeline)
    for name in given:
        if name in parameters:
            raise ConfigError(
                f"parameter {name}", "given twice", "one value", f"leave out --param {name}"
            )
    parameters.update(given)
    check_step_options(checked_parameters(pipeline, parameters))
    return parameters


def _override_parameters(overrides: Sequence[str], pipeline: Path) -> dict[str, str]:
    if "override_sets" in pipeline_parameters(pipeline):
        return {"override_sets": json.dumps(list(overrides))}
    return {"train_overrides": shlex.join(overrides)}


def uses_default_network(values: Mapping[str, Any]) -> bool:
    """Says whether a training of the run takes the default network."""
    from components.train.compose import compose_config, split_overrides

    texts = values.get("override_sets", [values.get("train_overrides", "")])
    default = compose_config([])["model"]
    return any(compose_config(split_overrides(text, []))["model"] == default for text in texts)


def _going_on(plan: RunPlan) -> str:
    if plan.earlier is None:
        return ""
    return f" (goes on{''.join(f', {change}' for change in plan.changes)})"


def _command(
    export: str,
    overrides: Sequence[str],
    assignments: Sequence[str],
    runner: Runner,
    folder: Path,
    pipeline: Path,
) -> list[str]:
    """Returns the command line that goes on with a run in its folder."""
    words = ["segmentor", "run", "--export", export, "--output", str(folder)]
    words += [f"--runner={runner}"] if runner != "host" else []
    words += [f"--pipeline={pipeline.stem}"] if pipeline != SEGMENTATION_YAML else []
    words += [word for assignment in assignments for word in ("--param", assignment)]
    return [*words, *overrides]


@contextlib.contextmanager
def _saying_how_to_go_on(command: Sequence[str]) -> Iterator[None]:
    """Says, when a run is stopped or fails, that the same command goes on where it was."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        print(f"to go on: {shlex.join(command)}", file=sys.stderr)
        raise
    except RunFailedError as error:
        print(failure_summary(error.record))
        if error.record.has_something_to_keep:
            print(
                f"when it is mended, go on with: {shlex.join(command)}\n"
                "Parameters and overrides may be others: what they do not concern is kept.",
                file=sys.stderr,
            )
        raise


@contextlib.contextmanager
def object_store(folder: Path) -> Iterator[Mapping[str, str]]:
    """Yields the environment of the steps, with an embedded store when it names none."""
    if os.environ.get("S3_ENDPOINT") or os.environ.get("AWS_ENDPOINT_URL"):
        yield os.environ
        return
    with embedded_store(folder / STORE) as variables:
        yield {**os.environ, **variables}
