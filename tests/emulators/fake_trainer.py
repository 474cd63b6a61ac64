"""Kubeflow Trainer and JobSet, as far as the submitter of a TrainJob notices them.

Stands for Trainer 2.3 and JobSet 0.12 on Kubernetes 1.34, seen there: the admission webhooks'
texts, the order and texts of TrainJob.status, pods with their labels, reasons and logs, restarts by
the TrainingRuntime's own policies, deletion in the background, and garbage collection.

A test says by a script how it goes, times `scale` of the real ones:

    {"scale": 0.1, "start": "image", "attempts": [[{...rank 0...}, {...rank 1...}], ...]}

`start`: run, image, unschedulable, refused, unnamed, queued or dead (the webhook is away). A rank:
`log` and `seconds` (or `until`, a file that ends it by being there), then `exit` (with `reason`),
`evicted`, `hangs`, or `run`, which is the job's own command as a process; `kill_at` kills it with
SIGKILL once rank 0 has written these words. The last attempt is repeated. `lost_reply`: the first
creation is kept and answered with 500.
"""

import re
import threading
import uuid
from pathlib import Path
from typing import Any

from tests.emulators.fake_objects import Key, Objects
from tests.emulators.trainer_job_life import GROUP, RUNTIMES, GoneError, Life
from tests.emulators.trainer_pods import Pod

JOBS = f"{GROUP}/v1alpha1/trainjobs"
RESERVED = {f"PET_{name}" for name in ("NNODES", "NPROC_PER_NODE", "NODE_RANK", "MASTER_ADDR",
                                       "MASTER_PORT")}  # fmt: skip
LONGEST_NAME = 63
ABSENT = "the server could not find the requested resource"
WEBHOOK_AWAY = (
    'Internal error occurred: failed calling webhook "defaulter.trainjob.trainer.kubeflow.org": '
    "connect: connection refused"
)


class FakeTrainer:
    """The controllers; a thread a job."""

    def __init__(self, objects: Objects, folder: Path) -> None:
        self.objects, self.folder = objects, folder
        self.script: dict[str, Any] = {}
        self.pods: dict[str, Pod] = {}
        # Jobs that were created while pods of an earlier one of their name were there.
        self.overlaps = 0
        # How often the submitter has listed pods.
        self.looks = 0
        self._lives: list[threading.Thread] = []
        self._collecting = threading.Thread(target=self._collect, daemon=True)
        self._stopping = threading.Event()

    def start(self) -> None:
        self._collecting.start()

    def clear(self, script: dict[str, Any] | None = None) -> None:
        """End all jobs, and take another script."""
        for key, _value in self.objects.all(JOBS):
            self.objects.delete(key)
        for life in self._lives:
            life.join(60)
        self._lives.clear()
        for (_kind, namespace, name), _value in self.objects.all("v1/pods"):
            if name in self.pods:
                self.objects.delete(("v1/pods", namespace, name))
        self.pods.clear()
        self.overlaps = 0
        self.script = script or {}

    def stop(self) -> None:
        self._stopping.set()
        self.clear()

    def refusal(self, job: dict[str, Any]) -> tuple[int, str] | None:
        """Return status and message where an admission webhook, or the absence of it, refuses."""
        name, reference = job["metadata"]["name"], job["spec"]["runtimeRef"]
        denied = 'admission webhook "validator.trainjob.trainer.kubeflow.org" denied the request: '
        if self.script.get("start") == "dead":
            return 500, WEBHOOK_AWAY
        if len(name) > LONGEST_NAME:
            return 422, "metadata.name must be no more than 63 characters"
        if not re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name):
            return 422, "metadata.name must match RFC 1035 DNS label format"
        key = (RUNTIMES, job["metadata"]["namespace"], reference["name"])
        if reference.get("kind") != "TrainingRuntime" or self.objects.get(key) is None:
            return 403, (
                f"{denied}spec.runtimeRef: Invalid value: {{...}}: TrainingRuntime.{GROUP} "
                f'"{reference["name"]}" not found: specified trainingRuntime must be created '
                "before the TrainJob is created"
            )
        names = {item["name"] for item in job["spec"]["trainer"].get("env", [])}
        if names & RESERVED:
            found = " ".join(sorted(names & RESERVED))
            return 403, (
                f"{denied}spec.trainer.env: Invalid value: [...]: must not have reserved envs, "
                f"invalid envs configured: [{found}]"
            )
        return None

    def create(self, key: Key, job: dict[str, Any]) -> dict[str, Any]:
        job["metadata"] |= {"uid": str(uuid.uuid4())}
        job["spec"] = {"managedBy": f"{GROUP}/trainjob-controller", "suspend": False, **job["spec"]}
        if self.script.get("start") == "queued":
            job["spec"]["suspend"] = True  # by Kueue's webhook
        names = [value["metadata"].get("labels", {}).get("jobset.sigs.k8s.io/jobset-name")
                 for _key, value in self.objects.all("v1/pods")]  # fmt: skip
        self.overlaps += key[2] in names
        self.objects.put(key, job)
        life = threading.Thread(target=self._live, args=[key], daemon=True)
        self._lives.append(life)
        life.start()
        return self.objects.get(key) or {}

    def log_of(self, name: str, since: str) -> str | None:
        """Return the log of a pod with timestamps; None where the API server has 404."""
        if name not in self.pods or self.objects.get(self.pods[name].key) is None:
            return None
        return "".join(
            f"{moment} {line}\n" for moment, line in list(self.pods[name].log) if moment >= since
        )

    def _collect(self) -> None:
        """Garbage collection: a job goes with its owner."""
        while not self._stopping.wait(0.05):
            for key, job in self.objects.all(JOBS):
                owners = job["metadata"].get("ownerReferences", [])
                pods = [self.objects.get(("v1/pods", key[1], owner["name"])) for owner in owners]
                if owners and not any(
                    pod and pod["metadata"].get("uid") == owner["uid"]
                    for pod, owner in zip(pods, owners, strict=True)
                ):
                    self.objects.delete(key)

    # The life of one job.
    def _live(self, key: Key) -> None:
        life = Life(
            self.objects, key, self.script, self.pods, self.folder, looks=lambda: self.looks
        )
        try:
            life.run()
        except GoneError:
            pass
        finally:
            life.end_pods()
