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
from pipelines.local.embedded_store import embedded_store
from pipelines.local.folder import STORE, Runner, RunPlan, plan_run
from pipelines.local.run import RunFailedError, run_planned
from pipelines.parameters import parse_assignments, pipeline_parameters
from pipelines.runs.summary import failure_summary, summary
from segmentor.errors import ConfigError

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
    """Run a pipeline on an export and print a summary.

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
    from components.train.configuration.weight_places import with_absolute_weights

    overrides = with_absolute_weights(overrides)  # the steps run in other folders
    parameters = parameters_for(export, overrides, assignments, pipeline)
    plan = plan_run(runner, parameters, folder, pipeline)
    print(f"run folder: {folder}{_continuing(plan)}", file=sys.stderr)
    if uses_default_network(plan.values):
        print(SMALL_NETWORK, file=sys.stderr)
    command = _command(export, overrides, assignments, runner, folder, pipeline)
    with _saying_how_to_continue(command), object_store(folder) as environment:
        record = run_planned(plan, environment)
    print(summary(record))


def parameters_for(
    export: str,
    overrides: Sequence[str],
    assignments: Sequence[str],
    pipeline: Path = SEGMENTATION_YAML,
) -> dict[str, str]:
    """Return the pipeline's parameters that a command line gives; one may have no export.

    The sweep takes each override for a set of its own ('model=fpn training.epochs=40').

    Raises:
        ConfigError: a parameter given twice.
    """
    parameters = parse_assignments(assignments)
    given = {"source": export} if export else {}
    if overrides:
        given |= _override_parameters(overrides, pipeline)
    for name in given:
        if name in parameters:
            raise ConfigError(
                f"parameter {name}", "given twice", "one value", f"leave out --param {name}"
            )
    return parameters | given


def _override_parameters(overrides: Sequence[str], pipeline: Path) -> dict[str, str]:
    if "override_sets" in pipeline_parameters(pipeline):
        return {"override_sets": json.dumps(list(overrides))}
    return {"train_overrides": shlex.join(overrides)}


def uses_default_network(values: Mapping[str, Any]) -> bool:
    """Return whether any training of the run uses the default network."""
    from components.train.configuration.compose import compose_config, split_overrides

    texts = values.get("override_sets") or [values.get("train_overrides")]
    if texts == [None]:  # a pipeline that trains nothing
        return False
    default = compose_config([])["model"]
    return any(compose_config(split_overrides(text, []))["model"] == default for text in texts)


def _continuing(plan: RunPlan) -> str:
    if plan.earlier is None:
        return ""
    return f" (continued{''.join(f', {change}' for change in plan.changes)})"


def _command(
    export: str,
    overrides: Sequence[str],
    assignments: Sequence[str],
    runner: Runner,
    folder: Path,
    pipeline: Path,
) -> list[str]:
    """Return the command that continues a run in its folder."""
    words = ["segmentor", "run", "--export", export, "--output", str(folder)]
    words += [f"--runner={runner}"] if runner != "host" else []
    words += [f"--pipeline={pipeline.stem}"] if pipeline != SEGMENTATION_YAML else []
    words += [word for assignment in assignments for word in ("--param", assignment)]
    return [*words, *overrides]


@contextlib.contextmanager
def _saying_how_to_continue(command: Sequence[str]) -> Iterator[None]:
    """Print the command that continues a run if it is stopped or fails."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        print(f"to continue: {shlex.join(command)}", file=sys.stderr)
        raise
    except RunFailedError as error:
        print(failure_summary(error.record))
        if error.record.has_something_to_keep:
            print(
                f"once it is fixed, continue with: {shlex.join(command)}\n"
                "You may change parameters and overrides: steps that they do not affect are kept.",
                file=sys.stderr,
            )
        raise


@contextlib.contextmanager
def object_store(folder: Path) -> Iterator[Mapping[str, str]]:
    """Yield the environment of the steps, with an embedded store if it names no other."""
    if os.environ.get("S3_ENDPOINT") or os.environ.get("AWS_ENDPOINT_URL"):
        yield os.environ
        return
    with embedded_store(folder / STORE) as variables:
        yield {**os.environ, **variables}
