"""The Indexed Job by which many pods predict: each index has a range of the plan's parts.

The step's pod submits the Job, watches it and deletes it on every way out, SIGTERM included. What
its pods have finished stays finished: whoever starts the step again makes another Job for the rest.
"""

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from components.kubernetes_api import Cluster, object_path
from components.kubernetes_connection import Caller, ExistsError
from components.pod_troubles import find_troubles
from components.predict_batch.job_manifest import job_manifest
from components.predict_batch.options import PredictBatchOptions
from components.predict_batch.plan import Plan, finished_parts
from components.predict_batch.step import PredictAll
from segmentor.digests import digest_json
from segmentor.errors import DeployError
from segmentor.object_store import ObjectStore
from segmentor.object_uri import ObjectUri
from segmentor.onnx_model import OnnxModel
from segmentor.progress import track

logger = logging.getLogger(__name__)

_NOBODY = "segmentor-check"
_SUBMITTER = Caller(
    "segmentor-predict-batch",
    {
        403: "apply manifests/batch in this namespace, and bind its Role to the pipeline's service "
        "account (docs/scale.md), or set predict_workers=1",
        422: "the Job does not fit this Kubernetes: 1.31 or later is needed",
    },
    "set predict_workers=1",
)


@dataclass(frozen=True)
class Patience:
    """How long to wait, in seconds.

    `start`: with no pod running, whatever the reason. `poll`: between two looks. `gone`: until a
    deleted Job is gone.
    """

    start: float = 1800.0
    poll: float = 10.0
    gone: float = 60.0


def predict_in_pods(options: PredictBatchOptions, patience: Patience | None = None) -> PredictAll:
    """Return what predicts a plan by an Indexed Job, once the cluster would accept one.

    Raises:
        DeployError: the cluster does not answer or refuses.
    """
    cluster = Cluster(_SUBMITTER)
    rehearse(cluster, options)

    def predict_all(store: ObjectStore, output: ObjectUri, plan: Plan, _model: OnnxModel) -> None:
        name = f"predict-{digest_json([str(output), plan.images_digest]).split(':')[1][:10]}"
        indexes = min(options.predict_workers, plan.parts)
        manifest = job_manifest(name, cluster.namespace, options, indexes)
        job = _Job(cluster, manifest, store, output, patience or Patience())
        try:
            job.create()
            for _part in track(job.finished_parts(), "predict parts", plan.parts):
                pass
        finally:
            cluster.delete(job.path)

    return predict_all


def rehearse(cluster: Cluster, options: PredictBatchOptions) -> None:
    """Ask the cluster for all that the Job will need, and keep nothing.

    Raises:
        DeployError: a right is missing, or an admission webhook or a quota refuses.
    """
    manifest = job_manifest(_NOBODY, cluster.namespace, options, options.predict_workers)
    path = object_path(manifest)
    cluster.create(path.rpartition("/")[0], manifest, dry_run=True)
    cluster.get(path)
    cluster.delete(path, dry_run=True)
    for kind in ("pods", "events"):
        cluster.items(f"/api/v1/namespaces/{cluster.namespace}/{kind}", limit="1")
    logger.info("would be submitted kind=Job pods=%d", options.predict_workers)


@dataclass(frozen=True)
class _Job:
    """A Job, and where its parts appear."""

    cluster: Cluster
    manifest: dict[str, Any]
    store: ObjectStore
    output: ObjectUri
    patience: Patience

    @property
    def path(self) -> str:
        return object_path(self.manifest)

    def create(self) -> None:
        """Create the Job, in place of one that an earlier pod of the step has left behind."""
        self.cluster.delete(self.path)
        deadline = time.monotonic() + self.patience.gone
        while self.cluster.get(self.path) is not None and time.monotonic() < deadline:
            time.sleep(1)
        try:
            self.cluster.create(self.path.rpartition("/")[0], self.manifest)
        except ExistsError:
            logger.info("the reply to its creation was lost job=%s", self.path)

    def finished_parts(self) -> Iterator[str]:
        """Yield each part as it is finished, until the Job has ended well.

        Raises:
            DeployError: it failed, was deleted, or no pod of it has run for long.
        """
        seen = set[str]()
        last_run = time.monotonic()
        said = ""
        while True:
            # First: what is finished before the look at the Job is seen after it.
            job = self.cluster.get(self.path)
            for uri in finished_parts(self.store, self.output):
                if uri.key not in seen:
                    seen.add(uri.key)
                    yield uri.key
            if job is None:
                raise DeployError(self.path, "deleted meanwhile", "a Job", "start the step again")
            pods = self._pods()
            if _has_condition(job, "Complete"):
                return
            if _has_condition(job, "Failed"):
                raise self._failure(job, pods)
            if any(pod.get("status", {}).get("phase") == "Running" for pod in pods):
                last_run = time.monotonic()
            trouble = self._trouble(pods)
            if trouble != said:
                logger.info("waiting job=%s for=%r", self.manifest["metadata"]["name"], trouble)
                said = trouble
            if time.monotonic() - last_run > self.patience.start:
                found = f"no pod has run for {self.patience.start:.0f} s ({trouble})"
                raise DeployError(self.path, found, "running pods", "what is finished is kept")
            time.sleep(self.patience.poll)

    def _pods(self) -> list[dict[str, Any]]:
        namespace, name = (self.manifest["metadata"][key] for key in ("namespace", "name"))
        selector = f"batch.kubernetes.io/job-name={name}"
        path = f"/api/v1/namespaces/{namespace}/pods"
        return self.cluster.items(path, labelSelector=selector)

    def _trouble(self, pods: list[dict[str, Any]]) -> str:
        """Return why pods do not run; without any, why there are none."""
        alive = [pod for pod in pods if pod.get("status", {}).get("phase") == "Pending"]
        for trouble in find_troubles(alive):
            return f"pod {trouble.pod}: {trouble.clause}"
        if pods:
            return ""
        metadata = self.manifest["metadata"]
        events = self.cluster.items(
            f"/api/v1/namespaces/{metadata['namespace']}/events",
            fieldSelector=f"type=Warning,involvedObject.name={metadata['name']}",
        )
        return str(events[-1].get("message", "")) if events else "pods"

    def _failure(self, job: dict[str, Any], pods: list[dict[str, Any]]) -> DeployError:
        """Return the error of the pod that failed first, which ended the others."""
        ended = sorted(
            (item for pod in pods for item in _endings(pod) if item.code),
            key=lambda item: item.time,
        )
        reason = next(
            str(item.get("message", "")) for item in _conditions(job) if item["type"] == "Failed"
        )
        # A killed container has no last words; one that ended by itself says why.
        known = [item for item in ended if item.code in (1, 2, 3)] or ended
        if known:
            reason = f"pod {known[0].pod} ended with exit code {known[0].code}: {known[0].said}"
        return DeployError(self.path, reason, remedy="what is finished is kept: start it again")


@dataclass(frozen=True)
class _Ending:
    pod: str
    code: int
    time: str
    said: str


def _endings(pod: dict[str, Any]) -> Iterator[_Ending]:
    for container in pod.get("status", {}).get("containerStatuses", []):
        if ended := container.get("state", {}).get("terminated"):
            said = str(ended.get("message") or ended.get("reason") or "").strip().splitlines()
            last = said[-1].removeprefix("error: ") if said else ""
            name, time_ = pod["metadata"]["name"], str(ended.get("finishedAt", ""))
            yield _Ending(name, int(ended.get("exitCode", 0)), time_, last)


def _conditions(job: dict[str, Any]) -> list[dict[str, Any]]:
    return list(job.get("status", {}).get("conditions", []))


def _has_condition(job: dict[str, Any], kind: str) -> bool:
    return any(item["type"] == kind and item["status"] == "True" for item in _conditions(job))
