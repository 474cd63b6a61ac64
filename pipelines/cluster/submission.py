"""Submits a compiled pipeline to Kubeflow Pipelines: pipeline, version, experiment, run, wait."""

import datetime
import json
import os
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from pipelines.cluster.client import (
    FORWARDED_UI,
    KFP_NAMESPACE,
    answering,
    connect,
    identifier,
    ui_address,
)
from pipelines.cluster.ui_server import UiServer
from pipelines.cluster.waiting import WatchedRun, wait_for_run
from pipelines.compilation import SEGMENTATION_YAML
from pipelines.parameters import PATH_PARAMETERS, checked_parameters, load_pipeline
from pipelines.source_revision import SOURCE_FOLDER, is_changed, source_revision
from segmentor.cvat.address import is_cvat_uri
from segmentor.digests import digest_file
from segmentor.errors import ConfigError
from segmentor.object_uri import is_object_uri

if TYPE_CHECKING:
    from kfp import Client

# What KFP takes of a tag's key and value. Source: kubeflow/pipelines#12999.
TAG_LENGTH = 20


@dataclass(frozen=True)
class Submission:
    """A run on the cluster; `state` is KFP's word, `link` its page in the pipelines UI."""

    pipeline_id: str
    version_id: str
    experiment_id: str
    run_id: str
    link: str
    state: str


@dataclass(frozen=True)
class PipelinePlaces:
    """Ids on the cluster: of a pipeline, its version, and the experiment that its runs are in."""

    pipeline_id: str
    version_id: str
    experiment_id: str


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
    """Submit a pipeline and return its run.

    The pipeline and its version are found when they exist already: submitting twice uploads once.

    Args:
        parameters: Values by name; texts are read as the parameter's type says. The others are
            sent with the pipeline's defaults.
        pipeline: The compiled pipeline.
        endpoint: URL of Kubeflow Pipelines; empty takes what the environment names.
        namespace: The user's namespace, if KFP has several users.
        experiment: Made unless it is there.
        run_name: Empty makes one.
        service_account: Kubernetes service account of the run's pods; empty takes KFP's.
        wait: Wait until the run has ended, and show the tasks' states meanwhile.
        environment: Endpoint and credentials (pipelines/cluster/client.py).
        stream: Takes the progress lines; None is standard error.

    Raises:
        ConfigError: an unknown parameter, a wrong value, a path of this machine, no endpoint, a
            file of credentials that is not there.
        ServerError: the endpoint is away or refuses.
        SegmentorError: the run that was waited for failed.
        SystemExit: waiting was interrupted; the run continues.
    """
    values = cluster_parameters(pipeline, parameters)
    stream = stream or sys.stderr
    client = connect(endpoint, namespace, environment)
    ui = ui_address(endpoint, environment)
    with answering(ui):
        places = find_or_create(client, pipeline, namespace, experiment)
        run = client.run_pipeline(
            places.experiment_id,
            run_name or f"{experiment} {datetime.datetime.now():%Y-%m-%d %H:%M:%S}",
            # All of them: *Clone run* in the pipelines UI shows what was sent and nothing else.
            params=values,
            pipeline_id=places.pipeline_id,
            version_id=places.version_id,
            service_account=service_account or None,
        )
        run_id = identifier(run, "run_id")
    link = _link(ui, run_id)
    stream.write(f"submitted {version_name(pipeline)}: {link}\n")
    if not ui:
        stream.write(f"for its page: {FORWARDED_UI}\n")
    state = run.state or "PENDING"
    if wait:
        state = _wait(client, run_id, pipeline, endpoint, namespace, environment, stream)
    return Submission(
        places.pipeline_id, places.version_id, places.experiment_id, run_id, link, state
    )


def wait_again(
    run_id: str,
    *,
    pipeline: Path = SEGMENTATION_YAML,
    endpoint: str = "",
    namespace: str = "",
    environment: Mapping[str, str] = os.environ,
    stream: TextIO | None = None,
) -> str:
    """Wait for a run that was submitted earlier; return the state in which it ended.

    Args:
        run_id: The run's id.
        pipeline: The compiled pipeline that it runs.
        endpoint: As for `submit`.
        namespace: As for `submit`.
        environment: As for `submit`.
        stream: As for `submit`.

    Raises:
        ConfigError: as `submit`.
        ServerError: the endpoint is away or refuses.
        SegmentorError: the run failed.
        SystemExit: waiting was interrupted; the run continues.
    """
    client = connect(endpoint, namespace, environment)
    stream = stream or sys.stderr
    return _wait(client, run_id, pipeline, endpoint, namespace, environment, stream)


def _wait(
    client: "Client",
    run_id: str,
    pipeline: Path,
    endpoint: str,
    namespace: str,
    environment: Mapping[str, str],
    stream: TextIO,
) -> str:
    ui = ui_address(endpoint, environment)
    command = ["segmentor", "wait", run_id]
    if pipeline.stem != SEGMENTATION_YAML.stem:
        command += ["--pipeline", pipeline.stem]
    for option, value in (("--endpoint", endpoint), ("--namespace", namespace)):
        command += [option, value] if value else []
    watched = WatchedRun(run_id, _link(ui, run_id), shlex.join(command))
    server = UiServer(client, ui, namespace or KFP_NAMESPACE, run_id)
    return wait_for_run(client, watched, pipeline, server, stream)


def _link(ui: str, run_id: str) -> str:
    return f"{ui or 'http://localhost:8080'}/#/runs/details/{run_id}"


def version_name(pipeline: Path) -> str:
    """Return the name of a version: the pipeline's name, package version and git revision.

    A file that differs from its revision, or has none, is named by its digest too. The pipeline's
    name is in it because a KFP that keeps pipelines in Kubernetes makes an object of this name.
    """
    revision = source_revision()
    digest = digest_file(pipeline).removeprefix("sha256:")[:12]
    parts = [load_pipeline(pipeline)["pipelineInfo"]["name"], version("segmentor")]
    if revision:
        parts.append(revision)
    if not revision or is_changed(pipeline):
        parts.append(digest)
    return "-".join(parts)


def cluster_parameters(pipeline: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a value for every parameter of a pipeline that runs on a cluster.

    Raises:
        ConfigError: an unknown parameter, a wrong value, or a path of this machine.
    """
    for name in PATH_PARAMETERS:
        value = given.get(name)
        if value and not is_object_uri(value) and not is_cvat_uri(value):
            raise ConfigError(
                f"parameter {name}",
                f"'{value}', a path of this machine",
                "an s3:// or cvat:// address, which the cluster can read",
                "upload it first",
            )
    return checked_parameters(pipeline, given)


def find_or_create(
    client: "Client", pipeline: Path, namespace: str, experiment: str
) -> PipelinePlaces:
    """Return the ids of the pipeline, its version and the experiment; create them if needed."""
    pipeline_id = _find_or_create_pipeline(client, pipeline, namespace)
    version_id = _find_or_upload_version(client, pipeline, pipeline_id)
    made = client.create_experiment(experiment, namespace=namespace)
    return PipelinePlaces(pipeline_id, version_id, identifier(made, "experiment_id"))


def _find_or_create_pipeline(client: "Client", pipeline: Path, namespace: str) -> str:
    from kfp_server_api import V2beta1Pipeline

    info = load_pipeline(pipeline)["pipelineInfo"]
    found = client.list_pipelines(filter=named(info["name"]), namespace=namespace or None)
    if found.pipelines:
        return identifier(found.pipelines[0], "pipeline_id")
    # client.upload_pipeline would name the first version like the pipeline.
    created = client.pipelines.pipeline_service_create_pipeline(
        V2beta1Pipeline(
            name=info["name"],
            display_name=info["name"],
            description=info.get("description"),
            namespace=namespace or None,
        )
    )
    return identifier(created, "pipeline_id")


def _find_or_upload_version(client: "Client", pipeline: Path, pipeline_id: str) -> str:
    name = version_name(pipeline)
    found = client.list_pipeline_versions(pipeline_id, filter=named(name))
    if found.pipeline_versions:
        return identifier(found.pipeline_versions[0], "pipeline_version_id")
    uploaded = client.pipeline_uploads.upload_pipeline_version(
        str(pipeline),
        name=name,
        display_name=name,
        pipelineid=pipeline_id,
        description=f"Compiled from {SOURCE_FOLDER.name}/pipelines/{pipeline.name}",
        tags=json.dumps(_tags()),
    )
    return identifier(uploaded, "pipeline_version_id")


def _tags() -> dict[str, str]:
    tags = {"segmentor": version("segmentor"), "revision": source_revision()}
    return {key: value[:TAG_LENGTH] for key, value in tags.items() if value}


def named(name: str) -> str:
    """Return KFP's filter for what has a display name."""
    return json.dumps(
        {"predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": name}]}
    )
