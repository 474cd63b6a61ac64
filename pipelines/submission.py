"""Submits a compiled pipeline to Kubeflow Pipelines: pipeline, version, experiment, run, wait."""

import datetime
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from pipelines.cluster_client import FORWARDED_UI, answering, connect, ui_address
from pipelines.cluster_values import check_cluster_values
from pipelines.compilation import SEGMENTATION_YAML
from pipelines.host_runner import SOURCE_FOLDER
from pipelines.parameters import checked_parameters, load_pipeline
from pipelines.run_folder import PATH_PARAMETERS
from pipelines.run_waiting import wait_for_run
from pipelines.source_revision import is_changed, source_revision
from segmentor.digests import digest_file
from segmentor.errors import ConfigError
from segmentor.object_store import is_object_uri

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
        ConfigError: an unknown parameter, a wrong value, a path of this machine, no endpoint, a
            file of credentials that is not there.
        ServerError: the endpoint is away or refuses.
        SegmentorError: the run that was waited for failed.
        SystemExit: waiting was interrupted; the run goes on.
    """
    values = checked_parameters(pipeline, parameters)
    given = {name: values[name] for name in parameters}
    _refuse_local_paths(given)
    check_cluster_values(given)
    stream = stream or sys.stderr
    client = connect(endpoint, namespace, environment)
    ui = ui_address(endpoint, environment)
    with answering(ui):
        pipeline_id, version_id = _upload_once(client, pipeline, namespace)
        experiment_id = client.create_experiment(experiment, namespace=namespace).experiment_id
        run = client.run_pipeline(
            experiment_id,
            run_name or f"{experiment} {datetime.datetime.now():%Y-%m-%d %H:%M:%S}",
            params=given,
            pipeline_id=pipeline_id,
            version_id=version_id,
            service_account=service_account or None,
        )
    link = f"{ui or 'http://localhost:8080'}/#/runs/details/{run.run_id}"
    stream.write(f"submitted {version_name(pipeline)}: {link}\n")
    if not ui:
        stream.write(f"for its page: {FORWARDED_UI}\n")
    state = run.state or "PENDING"
    if wait:
        state = wait_for_run(client, run.run_id, link, pipeline, stream)
    return Submission(pipeline_id, version_id, experiment_id, run.run_id, link, state)


def version_name(pipeline: Path) -> str:
    """Returns the name of this very pipeline: its name, package version and git revision.

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


def _refuse_local_paths(given: Mapping[str, Any]) -> None:
    for name in PATH_PARAMETERS:
        if given.get(name) and not is_object_uri(given[name]):
            raise ConfigError(
                f"parameter {name}",
                f"'{given[name]}', a path of this machine",
                "an s3:// or minio:// URI, which the cluster can read",
                "upload it first",
            )


def _upload_once(client: "Client", pipeline: Path, namespace: str) -> tuple[str, str]:
    """Returns the identifiers of the pipeline and its version, which are made unless there."""
    pipeline_id = _find_or_create_pipeline(client, pipeline, namespace)
    return pipeline_id, _find_or_upload_version(client, pipeline, pipeline_id)


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


def _find_or_upload_version(client: "Client", pipeline: Path, pipeline_id: str) -> str:
    name = version_name(pipeline)
    found = client.list_pipeline_versions(pipeline_id, filter=_named(name))
    if found.pipeline_versions:
        return str(found.pipeline_versions[0].pipeline_version_id)
    uploaded = client.pipeline_uploads.upload_pipeline_version(
        str(pipeline),
        name=name,
        display_name=name,
        pipelineid=pipeline_id,
        description=f"Compiled from {SOURCE_FOLDER.name}/pipelines/{pipeline.name}",
        tags=json.dumps(_tags()),
    )
    return str(uploaded.pipeline_version_id)


def _tags() -> dict[str, str]:
    tags = {"segmentor": version("segmentor"), "revision": source_revision()}
    return {key: value[:TAG_LENGTH] for key, value in tags.items() if value}


def _named(name: str) -> str:
    return json.dumps(
        {"predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": name}]}
    )
