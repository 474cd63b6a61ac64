"""One TrainJob of the fake Kubeflow Trainer, from its creation to its last pod.

Stands for Trainer 2.3 and JobSet 0.12 on Kubernetes 1.34: the order and texts of TrainJob.status,
restarts by the TrainingRuntime's own policies, and the end of pods. Seen there.
"""

import os
import re
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.emulators.fake_objects import Key, Objects
from tests.emulators.trainer_pods import Pod, code_of
from tests.free_ports import free_port

GROUP = "trainer.kubeflow.org"
RUNTIMES = f"{GROUP}/v1alpha1/trainingruntimes"
LONGEST_WORKING_NAME = 48
# How long to wait for a submitter that is slow or gone.
LONGEST_LOOK_SECONDS = 20.0
_LOST = "RuntimeError: [gloo] Connection closed by peer [10.0.0.7]:1234"


class GoneError(Exception):
    """The job was deleted."""


class Life:
    """`started`: every pod that any job has started, by name; `folder`: their temporary files.

    `looks` tells how often the submitter has listed pods.
    """

    def __init__(
        self, objects: Objects, key: Key, script: dict[str, Any], started: dict[str, Pod],
        folder: Path, looks: Callable[[], int],
    ) -> None:  # fmt: skip
        self.objects, self.key, self.script, self.looks = objects, key, script, looks
        self.started, self.folder = started, folder
        self.identity = (objects.get(key) or {"metadata": {"uid": ""}})["metadata"]["uid"]
        self.scale = self.script.get("scale", 0.1)
        self.pods: list[Pod] = []
        self.conditions: list[dict[str, Any]] = []

    @property
    def job(self) -> dict[str, Any]:
        live = self.objects.get(self.key)
        if live is None or live["metadata"]["uid"] != self.identity:
            raise GoneError
        return live

    def sleep(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds * self.scale
        while True:
            _ = self.job
            if (left := deadline - time.monotonic()) <= 0:
                return
            time.sleep(min(0.02, left))

    def wait_for_looks(self, before: int) -> None:
        """Wait until the submitter has seen the pods as they are now; a real cluster is slower.

        It fetches their logs after it has listed them; its next list says that this is done.
        """
        deadline = time.monotonic() + LONGEST_LOOK_SECONDS
        while self.looks() < before + 2 and time.monotonic() < deadline:
            self.sleep(0)
            time.sleep(0.02)

    def status(self, **counts: int) -> None:
        zeros = dict.fromkeys(("ready", "succeeded", "failed", "active", "suspended"), 0)
        with self.objects.lock:
            _ = self.job
            status = {"jobsStatus": [{"name": "node", **zeros, **counts}]}
            if self.conditions:
                status["conditions"] = self.conditions
            self.objects.set_status(self.key, status)

    def condition(self, kind: str, value: str, reason: str, message: str) -> None:
        self.conditions = [item for item in self.conditions if item["type"] != kind]
        moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self.conditions.append({"type": kind, "status": value, "reason": reason,
                                "message": message, "lastTransitionTime": moment})  # fmt: skip

    def warn(self, kind: str, name: str, reason: str, message: str) -> None:
        key = ("v1/events", self.key[1], f"{name}.{uuid.uuid4().hex[:8]}")
        self.objects.put(key, {
            "apiVersion": "v1", "kind": "Event", "type": "Warning", "reason": reason,
            "message": message, "involvedObject": {"kind": kind, "name": name},
            "lastTimestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "metadata": {"name": key[2], "namespace": key[1]},
        })  # fmt: skip

    def run(self) -> None:
        name, start = self.key[2], self.script.get("start", "run")
        if len(name) > LONGEST_WORKING_NAME or start == "unnamed":
            self.warn("TrainJob", name, "TrainJobResourcesCreationFailed", (
                'admission webhook "vjobset.kb.io" denied the request: JobSet name is too long, '
                "pod names generated for this JobSet will exceed 63 characters"
            ))  # fmt: skip
            self.sleep(1e6)
        self.sleep(0.1)
        self.status()
        counted = attempt = 0
        while True:
            self.wait_in_queue()
            reason, message = self.attempt(attempt)
            if reason == "Complete":
                self.status(active=1)
                self.sleep(1)
                self.status(ready=1)
                self.condition("Complete", "True", "AllJobsCompleted",
                               "jobset completed successfully")  # fmt: skip
                self.status(succeeded=1)
                self.sleep(1e6)
            if reason == "Suspended":
                continue
            action = self.action(reason, message)
            first = f"(first failed job: {name}-node-0)"
            runtime_policy = self.runtime["spec"]["template"]["spec"]["failurePolicy"]
            counted += action != "RestartJobSetAndIgnoreMaxRestarts"
            if action == "FailJobSet":
                self.fail("FailJobSetFailurePolicyAction",
                          f"applying FailJobSet failure policy action {first}")  # fmt: skip
            if counted > runtime_policy["maxRestarts"]:
                said = f"jobset failed due to reaching max number of restarts {first}"
                self.fail("ReachedMaxRestarts", said)
            seen = self.looks()
            self.status()
            self.sleep(0.8)
            self.status(failed=1)
            self.sleep(0.1)
            self.status()
            self.wait_for_looks(seen)
            self.end_pods()
            attempt += 1

    def fail(self, reason: str, message: str) -> None:
        # Pods that have failed by themselves stay with their logs; the others go.
        self.end_pods(only=[pod for pod in self.pods if pod.ended is None])
        self.condition("Failed", "True", reason, message)
        self.status(failed=1)
        self.sleep(1e6)

    def wait_in_queue(self) -> None:
        if not self.job["spec"].get("suspend"):
            return
        self.condition("Suspended", "True", "Suspended", "TrainJob is suspended")
        self.end_pods()
        self.status(suspended=1)
        while self.job["spec"].get("suspend"):
            time.sleep(0.02)
        self.condition("Suspended", "False", "Resumed", "TrainJob is resumed")
        self.status()

    @property
    def runtime(self) -> dict[str, Any]:
        name = self.job["spec"]["runtimeRef"]["name"]
        runtime = self.objects.get((RUNTIMES, self.key[1], name))
        assert runtime is not None
        return runtime

    def action(self, reason: str, message: str) -> str:
        policy = self.runtime["spec"]["template"]["spec"]["failurePolicy"]
        for rule in policy.get("rules", []):
            if reason in rule["onJobFailureReasons"] and any(
                re.search(pattern, message) for pattern in rule["onJobFailureMessagePatterns"]
            ):
                return str(rule["action"])
        return "RestartJobSet"

    def attempt(self, number: int) -> tuple[str, str]:
        """Run all ranks once; return how it ended, as the Job says it."""
        start = self.script.get("start", "run")
        self.status(active=1)
        if start == "refused":
            self.warn("Job", f"{self.key[2]}-node-0", "FailedCreate", (
                f'Error creating: pods "{self.key[2]}-node-0-0-x" is forbidden: violates '
                'PodSecurity "restricted:latest"'
            ))  # fmt: skip
            self.sleep(1e6)
        self.pods = [self.make_pod(rank, number) for rank in range(self.nodes)]
        self.sleep(1)
        if start in ("image", "unschedulable"):
            self.wait_for_ever(start)
        for pod in self.pods:
            self.begin(pod)
        self.sleep(1)
        self.status(active=1, ready=1)
        while any(pod.ended is None for pod in self.pods):
            if self.job["spec"].get("suspend"):
                return "Suspended", ""
            for pod in self.pods:
                self.advance(pod)
            failed = [pod for pod in self.pods if pod.ended and pod.ended["exitCode"]]
            if failed:
                self.status(active=1)
                return self.fail_with(failed[0])
            time.sleep(0.02)
        return "Complete", ""

    @property
    def nodes(self) -> int:
        return int(self.job["spec"]["trainer"]["numNodes"])

    def make_pod(self, rank: int, number: int) -> Pod:
        attempts = self.script.get("attempts") or [[{"run": True}]]
        ranks = attempts[min(number, len(attempts) - 1)]
        name = f"{self.key[2]}-node-0-{rank}-{uuid.uuid4().hex[:5]}"
        labels = {
            "jobset.sigs.k8s.io/jobset-name": self.key[2],
            "jobset.sigs.k8s.io/restart-attempt": str(number),
            "batch.kubernetes.io/job-completion-index": str(rank),
        }
        image = self.job["spec"]["trainer"]["image"]
        script = ranks[min(rank, len(ranks) - 1)]
        pod = Pod(("v1/pods", self.key[1], name), rank, script, labels, image)
        self.started[name] = pod
        self.put(pod)
        return pod

    def put(self, pod: Pod) -> None:
        if self.objects.get(pod.key) is not None or not (pod.state or pod.deleted):
            self.objects.put(pod.key, pod.to_object())

    def wait_for_ever(self, start: str) -> None:
        if start == "image":
            for pod in self.pods:
                pod.state = {"waiting": {"reason": "ErrImagePull", "message": (
                    f'failed to pull and unpack image "{pod.image}": not found')}}  # fmt: skip
                self.put(pod)
            self.sleep(10)
            for pod in self.pods:
                message = f'Back-off pulling image "{pod.image}"'
                pod.state = {"waiting": {"reason": "ImagePullBackOff", "message": message}}
                self.put(pod)
        else:
            # No gang: the first holds its place alone.
            self.begin(self.pods[0])
            message = "0/1 nodes are available: 1 Insufficient cpu."
            for pod in self.pods[1:]:
                pod.conditions = [{"type": "PodScheduled", "status": "False",
                                   "reason": "Unschedulable", "message": message}]  # fmt: skip
                self.put(pod)
                self.warn("Pod", pod.key[2], "FailedScheduling", message)
        self.sleep(1e6)

    def begin(self, pod: Pod) -> None:
        pod.state = {"running": {"startedAt": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}}
        pod.ends_at = time.monotonic() + pod.script.get("seconds", 1) * self.scale
        for line in pod.script.get("log", []):
            pod.write(line)
        if pod.script.get("run"):
            self.start_process(pod)
        self.put(pod)

    def start_process(self, pod: Pod) -> None:
        trainer = self.job["spec"]["trainer"]
        if pod.rank == 0:
            self.port = free_port()
        job_template = self.runtime["spec"]["template"]["spec"]["replicatedJobs"][0]["template"]
        container = job_template["spec"]["template"]["spec"]["containers"][0]
        secret = self.script["secret"]
        given = {item["name"]: item for item in [*container["env"], *trainer["env"]]}
        variables = {
            name: item["value"] if "value" in item
            else secret.get(item["valueFrom"]["secretKeyRef"]["key"], "")
            for name, item in given.items()
        }  # fmt: skip
        temporary = self.folder / pod.key[2]
        temporary.mkdir(parents=True)
        variables |= {
            "PET_NNODES": str(self.nodes), "PET_NODE_RANK": str(pod.rank),
            "PET_NPROC_PER_NODE": str(trainer["numProcPerNode"]),
            "PET_MASTER_ADDR": "127.0.0.1", "PET_MASTER_PORT": str(self.port),
            "KUBERNETES_SERVICE_HOST": "127.0.0.1", "TMPDIR": str(temporary),
            "PATH": os.environ["PATH"], "HOME": str(temporary), "OMP_WAIT_POLICY": "PASSIVE",
        }  # fmt: skip
        command = [*trainer["command"], *(text.replace("$$(", "$(") for text in trainer["args"])]
        assert command[0] == "python"
        pod.process = subprocess.Popen(
            [sys.executable, *command[1:]],
            env={name: value for name, value in variables.items() if value},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        threading.Thread(target=self.read_output, args=[pod], daemon=True).start()

    def read_output(self, pod: Pod) -> None:
        assert pod.process is not None
        assert pod.process.stdout is not None
        with pod.process.stdout as output:
            for line in output:
                pod.write(line.rstrip("\n"))

    def advance(self, pod: Pod) -> None:
        """End a rank when its time has come."""
        script = pod.script
        if pod.ended is not None:
            return
        if pod.process is not None:
            if (words := script.get("kill_at")) and self.pods[0].says(words):
                pod.process.kill()
            if (code := pod.process.poll()) is not None:
                time.sleep(0.1)  # its last lines
                pod.end(code if code >= 0 else 128 - code)
        elif not script.get("hangs") and pod.is_over():
            if script.get("evicted"):
                pod.conditions = [{"type": "DisruptionTarget", "status": "True",
                                   "reason": "EvictionByEvictionAPI",
                                   "message": "Eviction API: evicting"}]  # fmt: skip
                pod.end(143)
            else:
                pod.end(script.get("exit", 0), script.get("reason", ""))
        if pod.ended is not None:
            self.put(pod)

    def fail_with(self, first: Pod) -> tuple[str, str]:
        """The others die of it; return what the Job's own policy makes of the first."""
        self.sleep(0.6)
        for pod in self.pods:
            if pod.process is not None:
                pod.end(code_of(pod.process))
            elif pod.ended is None and not pod.script.get("survives"):
                pod.write(_LOST)
                pod.end(1)
            self.put(pod)
        job_template = self.runtime["spec"]["template"]["spec"]["replicatedJobs"][0]["template"]
        where = f"{self.key[1]}/{first.key[2]}"
        assert first.ended is not None
        for index, rule in enumerate(job_template["spec"]["podFailurePolicy"]["rules"]):
            codes = rule.get("onExitCodes", {}).get("values", [])
            kinds = [item["type"] for item in rule.get("onPodConditions", [])]
            if first.ended["exitCode"] in codes:
                return "PodFailurePolicy", (
                    f"Container node for pod {where} failed with exit code "
                    f"{first.ended['exitCode']} matching FailJob rule at index {index}"
                )
            if any(item["type"] in kinds for item in first.conditions):
                return "PodFailurePolicy", (
                    f"Pod {where} has condition {kinds[0]} matching FailJob rule at index {index}"
                )
        return "BackoffLimitExceeded", "Job has reached the specified backoff limit"

    def end_pods(self, only: list[Pod] | None = None) -> None:
        """Delete pods: SIGTERM, some time to end, then the objects."""
        pods = self.pods if only is None else only
        for pod in pods:
            pod.deleted = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            if pod.process is not None and pod.process.poll() is None:
                pod.process.terminate()
            self.put(pod)
        # The whole grace for one that hangs.
        time.sleep((20 if any(pod.script.get("hangs") for pod in pods) else 4) * self.scale)
        for pod in pods:
            code = code_of(pod.process) if pod.process is not None else 143
            pod.end(code)
            self.put(pod)
            self.objects.delete(pod.key)
        self.pods = [pod for pod in self.pods if pod not in pods]
