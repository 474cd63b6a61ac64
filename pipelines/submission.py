"""Submits a compiled pipeline to Kubeflow Pipelines: pipeline, version, experiment, run, wait."""

import datetime
import json
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from pipelines.cluster_client import ServerError, answering, connect, ui_address
from pipelines.compilation import SEGMENTATION_YAML
from pipelines.host_runner import SOURCE_FOLDER
from pipelines.local_run import PATH_PARAMETERS
from pipelines.parameters import checked_parameters, load_pipeline
from pipelines.source_revision import is_changed, source_revision
from segmentor.digests import digest_file
from segmentor.errors import ConfigError, SegmentorError
from segmentor.object_store import is_object_uri

if TYPE_CHECKING:
    from kfp import Client

SECONDS_BETWEEN_LOOKS = 5.0
LOST_ANSWERS = 12  # in a row, until waiting is given up
_ENDED = ("SUCCEEDED", "SKIPPED", "FAILED", "CANCELED")


@dataclass(frozen=True)
class Submission:
    """A run on the cluster; `state` is KFP's word, `link` its page in the pipelines UI."""

    pipeline_id: str
    version_id: str
    version_name: str
    experiment_id: str
    run_id: str
    link: str
    state: str


def submit(
    parameters: Mapping[str, Any],
    *,
    pipeline: Path = SEGMENTATION_YAML,
    endpoint: str = "",
    namespace: str = "",
    experiment: str = "segmentation",
    run_name: str = "",
    service_account: str = "",
    wait: bool = False,
    environment: Mapping[str, str] = os.environ,
    stream: TextIO | None = None,
) -> Submission:
    """Submits a pipeline and returns its run.

    The pipeline and its version are found when they exist already: submitting twice uploads once.

    Args:
        parameters: Values by name; texts are read as the parameter's type says. What is left out
            keeps the pipeline's default.
        pipeline: The compiled pipeline.
        endpoint: URL of Kubeflow Pipelines; empty takes what the environment names.
        namespace: Of the user, where KFP has several.
        experiment: Made unless it is there.
        run_name: Empty makes one.
        service_account: Kubernetes service account of the run's pods; empty takes KFP's.
        wait: Wait until the run has ended, and show the tasks' states meanwhile.
        environment: Endpoint and credentials (pipelines/cluster_client.py).
        stream: Takes the progress lines; None is standard error.

    Raises:
        ConfigError: an unknown parameter, a wrong value, a path of this machine, no endpoint.
        ServerError: the endpoint is away or refuses.
        SegmentorError: the run that was waited for failed.
    """
    values = checked_parameters(pipeline, parameters)
    given = {name: values[name] for name in parameters}
    _refuse_local_paths(given)
    stream = stream or sys.stderr
    client = connect(endpoint, namespace, environment)
    link = ui_address(client, environment)
    with answering(link):
        pipeline_id = _find_or_create_pipeline(client, pipeline, namespace)
        name = version_name(pipeline)
        version_id = _find_or_upload_version(client, pipeline, pipeline_id, name)
        experiment_id = client.create_experiment(experiment, namespace=namespace).experiment_id
        run = client.run_pipeline(
            experiment_id,
            run_name or f"{experiment} {datetime.datetime.now():%Y-%m-%d %H:%M:%S}",
            params=given,
            pipeline_id=pipeline_id,
            version_id=version_id,
            service_account=service_account or None,
        )
    submission = Submission(
        pipeline_id=pipeline_id,
        version_id=version_id,
        version_name=name,
        experiment_id=experiment_id,
        run_id=run.run_id,
        link=f"{link}/#/runs/details/{run.run_id}",
        state=run.state or "PENDING",
    )
    stream.write(f"submitted {name}: {submission.link}\n")
    if not wait:
        return submission
    return wait_for(client, submission, pipeline, stream)


def wait_for(
    client: "Client", submission: Submission, pipeline: Path, stream: TextIO
) -> Submission:
    """Waits until a run has ended; writes a line whenever a task's state changes.

    Raises:
        ServerError: the endpoint was away for too long.
        SegmentorError: the run failed or was cancelled.
    """
    steps = _step_names(load_pipeline(pipeline))
    states: dict[str, str] = {}
    while True:
        run = _look(client, submission)
        tasks = [task for task in _task_details(run) if task.display_name in steps]
        for task in tasks:
            if task.state and states.get(task.display_name) != task.state:
                states[task.display_name] = task.state
                stream.write(f"{task.display_name:<16} {task.state.lower()}\n")
                stream.flush()
        if run.state in _ENDED:
            break
        time.sleep(SECONDS_BETWEEN_LOOKS)
    if run.state != "SUCCEEDED":
        failed = [task.display_name + _message(task) for task in tasks if task.state == "FAILED"]
        raise SegmentorError(
            submission.link,
            f"the run ended as {run.state}",
            "SUCCEEDED",
            "; ".join(failed) or _message(run),
        )
    return replace(submission, state=run.state)


def _look(client: "Client", submission: Submission) -> Any:
    """Reads a run; an endpoint that is away for a while does not end the waiting."""
    lost = 0
    while True:
        try:
            with answering(submission.link):
                return client.get_run(submission.run_id)
        except ServerError:
            lost += 1
            if lost > LOST_ANSWERS:
                raise
            time.sleep(SECONDS_BETWEEN_LOOKS)


def _task_details(run: Any) -> list[Any]:
    return (run.run_details.task_details if run.run_details else None) or []


def version_name(pipeline: Path) -> str:
    """Returns the name of this very pipeline: package version and git revision.

    A file that differs from its revision, or has none, is named by its digest too.
    """
    revision = source_revision()
    digest = digest_file(pipeline).removeprefix("sha256:")[:12]
    parts = [version("segmentor")]
    if revision:
        parts.append(revision)
    if not revision or is_changed(pipeline):
        parts.append(digest)
    return "-".join(parts)


def _refuse_local_paths(given: Mapping[str, Any]) -> None:
    for name in PATH_PARAMETERS:
        if given.get(name) and not is_object_uri(given[name]):
            raise ConfigError(
                f"parameter {name}",
                f"'{given[name]}', a path of this machine",
                "an s3:// or minio:// URI, which the cluster can read",
                "upload it first",
            )


def _find_or_create_pipeline(client: "Client", pipeline: Path, namespace: str) -> str:
    from kfp_server_api import V2beta1Pipeline

    info = load_pipeline(pipeline)["pipelineInfo"]
    found = client.list_pipelines(filter=_named(info["name"]), namespace=namespace or None)
    if found.pipelines:
        return str(found.pipelines[0].pipeline_id)
    # Not client.upload_pipeline: it names the first version like the pipeline.
    created = client.pipelines.pipeline_service_create_pipeline(
        V2beta1Pipeline(
            name=info["name"],
            display_name=info["name"],
            description=info.get("description"),
            namespace=namespace or None,
        )
    )
    return str(created.pipeline_id)


def _find_or_upload_version(client: "Client", pipeline: Path, pipeline_id: str, name: str) -> str:
    found = client.list_pipeline_versions(pipeline_id, filter=_named(name))
    if found.pipeline_versions:
        return str(found.pipeline_versions[0].pipeline_version_id)
    uploaded = client.pipeline_uploads.upload_pipeline_version(
        str(pipeline),
        name=name,
        display_name=name,
        pipelineid=pipeline_id,
        description=f"Compiled from {SOURCE_FOLDER.name}/pipelines/{pipeline.name}",
        tags=json.dumps({"segmentor": version("segmentor"), "revision": source_revision()}),
    )
    return str(uploaded.pipeline_version_id)


def _named(name: str) -> str:
    return json.dumps(
        {"predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": name}]}
    )


def _step_names(specification: Mapping[str, Any]) -> set[str]:
    """Returns the names of all tasks that run a container, in whatever group they lie."""
    components = specification["components"]
    graphs = [specification["root"], *components.values()]
    return {
        task["taskInfo"]["name"]
        for graph in graphs
        for task in graph.get("dag", {}).get("tasks", {}).values()
        if "executorLabel" in components[task["componentRef"]["name"]]
    }


def _message(item: Any) -> str:
    return f": {item.error.message}" if item.error and item.error.message else ""
