"""Submits the TrainJob, watches it to its end, and hands on what its first node wrote.

The job is deleted on every way out, SIGTERM included, and nothing is done before its last pod is
gone: two sets of pods would write one mirror. A lost launcher's successor finds the job by its
name: it goes on watching, or waits for the pods of a deleted one and creates it anew.
"""

import argparse
import json
import logging
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from components.cli import ArtifactMetadata
from components.kubernetes_api import Cluster, object_path
from components.kubernetes_connection import ExistsError, MissingError
from components.node_options import NodeOptions
from components.options import read_options
from components.train.configuration.preparation import Job
from components.train.trainer_job.exchange import (
    FILES,
    FOLDERS,
    fetch_outputs,
    put_inputs,
)
from components.train.trainer_job.patience import Clock, Patience
from components.train.trainer_job.ranks import Ranks
from components.train_job import LONGEST_NAME, SUBMITTER, owner_reference, train_job
from segmentor.dataset import Dataset
from segmentor.digests import digest_json
from segmentor.errors import ConfigError, SegmentorError, TrainingError
from segmentor.object_store import ObjectStore

logger = logging.getLogger(__name__)

COMPLETE, FAILED, SUSPENDED = "Complete", "Failed", "Suspended"


def train_on_nodes(
    arguments: argparse.Namespace, job: Job, patience: Patience | None = None
) -> ArtifactMetadata:
    """Train on several nodes and write the outputs; return their metadata.

    Raises:
        TrainingError: the training failed, did not start or stalled, or its outputs are not whole.
        DeployError: the cluster refuses.
        StoreError: the object store is away, or refuses.
    """
    options = read_options(NodeOptions, arguments)
    for dataset in (job.train_set, job.val_set):
        _require_reachable(dataset)
    job = replace(job, processes=options.processes)
    cluster, store = Cluster(SUBMITTER), ObjectStore.from_environment()
    flags = ["--training", str(job.folder), "--", *_flags(arguments)]
    manifest = train_job("", cluster.namespace, options, flags, _own_pod())
    manifest["metadata"]["name"] = job_name(manifest["spec"], _identity(arguments))
    launcher = Launcher(cluster, manifest, patience or Patience())
    inputs = {"train": arguments.train, "val": arguments.val, "resume": arguments.resume}
    try:
        if not launcher.adopt():
            put_inputs(store, job.folder, {name: path for name, path in inputs.items() if path})
            launcher.create()
        launcher.wait_until_complete()
        outputs = {name: getattr(arguments, name) for name in (*FOLDERS, *FILES)}
        return fetch_outputs(store, job.folder, outputs)
    finally:
        launcher.clean_up()


def job_name(specification: dict[str, Any], identity: str) -> str:
    """Return the name of a job: the same for a step that is started again, and for it alone."""
    digest = digest_json([specification, identity]).removeprefix("sha256:")
    return f"segmentor-train-{digest[:20]}"[:LONGEST_NAME]


class Launcher:
    """One TrainJob, from its creation to its last pod."""

    def __init__(self, cluster: Cluster, manifest: dict[str, Any], patience: Patience) -> None:
        self._cluster, self._manifest, self._patience = cluster, manifest, patience
        metadata = manifest["metadata"]
        self._path = object_path(manifest)
        self._where = f"TrainJob {metadata['namespace']}/{metadata['name']}"
        nodes = manifest["spec"]["trainer"]["numNodes"]
        self._ranks = Ranks(cluster, metadata["namespace"], metadata["name"], nodes)

    def adopt(self) -> bool:
        """Take over the job that a lost launcher has left; return False if there is none.

        One that failed is deleted. Where there is none, its pods may still be ending.
        """
        live = self._cluster.get(self._path)
        if live is not None and not live["metadata"].get("deletionTimestamp"):
            if condition_of(live, FAILED) or not self._own():
                self._cluster.delete(self._path)
            else:
                logger.info("adopted %s", self._where)
                return True
        self._wait_until_gone(self._patience.gone)
        return False

    def create(self) -> None:
        """Create the job; one that is there already is ours, because its creation was repeated."""
        try:
            self._cluster.create(self._path.rpartition("/")[0], self._manifest)
        except ExistsError:
            self._own()
        trainer = self._manifest["spec"]["trainer"]
        logger.info("submitted %s nodes=%d", self._where, trainer["numNodes"])

    def wait_until_complete(self) -> None:
        """Watch the job and its pods.

        `failed` in jobsStatus is no end: it flickers whenever the set is started again.

        Raises:
            TrainingError: it failed, did not start in time, or stalled.
        """
        clock = Clock(self._patience)
        attempt = 0
        while True:
            live = self._cluster.get(self._path)
            if live is None:
                raise TrainingError(self._where, "somebody has deleted it", "it to end by itself")
            complete, failed = condition_of(live, COMPLETE), condition_of(live, FAILED)
            # At the end once more, for what the last pods wrote.
            self._ranks.look(0.1 if complete or failed else self._patience.poll)
            if complete:
                return
            if failed:
                raise TrainingError(self._where, self._ranks.cause() or failed["message"])
            if self._ranks.attempt > attempt:
                attempt = self._ranks.attempt
                cause = self._ranks.cause() or "a pod was lost"
                logger.warning("started again attempt=%d cause=%r", attempt + 1, cause)
                clock.restart()
            self._check_time(live, clock)

    def clean_up(self) -> None:
        """Delete the job and wait until no pod is left; failures are only logged."""
        try:
            self._cluster.delete(self._path)
            self._wait_until_gone(self._patience.ending)
        except SegmentorError as error:
            logger.warning("%s was not removed: %s", self._where, error)

    def _check_time(self, live: dict[str, Any], clock: Clock) -> None:
        if live["spec"].get("suspend") or condition_of(live, SUSPENDED):
            clock.restart()
            clock.report("waiting for=%r", f"a queue: {self._where} is suspended")
            return
        waiting = self._ranks.waiting_for()
        if not waiting:
            clock.restart()
            quiet = time.monotonic() - self._ranks.progressed
            if quiet > self._patience.stall:
                raise TrainingError(
                    self._where,
                    f"no line from any rank for {quiet:.0f} s, after {self._ranks.last_line()!r}",
                    "progress",
                    "a process hangs; the same step run again goes on from the mirror",
                )
            return
        clock.report("waiting for=%r", waiting)
        self._ranks.progressed = time.monotonic()
        clock.note_hopeless(self._ranks.is_hopeless())
        if clock.is_over():
            found = f"did not start in {clock.waited:.0f} s: {waiting}"
            raise TrainingError(self._where, found, remedy=_starting_remedy(waiting))

    def _own(self) -> bool:
        """Make this pod the owner, so that the job outlives the first one; False if it is gone."""
        owner = _own_pod()
        if owner is None:
            return True
        try:
            change = {"metadata": {"ownerReferences": [owner_reference(owner)]}}
            self._cluster.merge(self._manifest, change)
        except MissingError:
            return False
        return True

    def _wait_until_gone(self, seconds: float) -> None:
        started = reported = time.monotonic()
        while not (self._ranks.are_gone() and self._cluster.get(self._path) is None):
            now = time.monotonic()
            if now - started > seconds:
                found = f"pods of an earlier attempt are still there after {seconds:.0f} s"
                raise TrainingError(self._where, found, "them to end", "delete them")
            if now - reported > self._patience.report:
                logger.info("waiting for='pods of an earlier attempt to end'")
                reported = now
            time.sleep(min(0.5, self._patience.poll))


def condition_of(live: dict[str, Any], kind: str) -> dict[str, Any] | None:
    """Return a condition if it is true: one that was true once stays in the list."""
    for condition in live.get("status", {}).get("conditions", []):
        if condition["type"] == kind and condition["status"] == "True":
            return dict(condition)
    return None


def _require_reachable(dataset: Dataset) -> None:
    """Refuse a data set whose pixels no node would find: they are outside of the artifact.

    Raises:
        ConfigError: they lie in another folder of this machine.
    """
    shards = dataset.shard_list
    if not shards.is_remote and Path(shards.location) != Path("."):
        raise ConfigError(
            str(dataset.folder),
            "shards in another folder of this machine",
            "shards in the object store, where several nodes find them",
            "run the pipeline on the cluster, or set train_nodes=1",
        )


def _starting_remedy(waiting: str) -> str:
    parameters = {
        "cannot be pulled": "trainer_image",
        "Insufficient cpu": "train_cpu",
        "Insufficient memory": "train_memory",
        "Insufficient": "train_accelerators",
        "affinity": "train_node_selector",
        "taint": "train_tolerations",
    }
    named = next((name for text, name in parameters.items() if text in waiting), "")
    return f"change parameter {named}" if named else "see the events of the namespace"


def _own_pod() -> dict[str, str] | None:
    """Return this pod as KFP describes it to its container."""
    name, uid = os.environ.get("KFP_POD_NAME"), os.environ.get("KFP_POD_UID")
    return {"name": name, "uid": uid} if name and uid else None


def _identity(arguments: argparse.Namespace) -> str:
    """Return what tells this task from others, and is the same when its pod is started again."""
    text = getattr(arguments, "executor_input", "")
    if not text:
        return str(Path(arguments.checkpoint).absolute())
    # With the run and the task in it.
    artifacts = json.loads(text)["outputs"]["artifacts"]
    return str(artifacts["checkpoint"]["artifacts"][0]["uri"])


def _flags(arguments: argparse.Namespace) -> Sequence[str]:
    """Return train's flags as a node gets them: all but paths, and what only the step reads."""
    given = {
        "--train-overrides": arguments.train_overrides,
        "--destination": arguments.destination,
        "--cache-salt": arguments.cache_salt,
    }
    return [*(f"{flag}={value}" for flag, value in given.items()), *arguments.override]
