"""A Kubernetes API server for tests that runs Indexed Jobs: each pod is a real process.

Stands for kube-apiserver and the Job controller; read at Kubernetes 1.34 (pkg/controller/job,
pkg/apis/batch/validation) and at the API reference of batch/v1.

The server demands the step's token (401), allows what the Role allows and nothing else (403),
refuses unknown fields and wrong specifications (400, 422). The controller keeps one pod for each
index that is not done, with JOB_COMPLETION_INDEX and the Secret's variables, and writes the status
of pods and Job as Kubernetes does. Pods that it deletes end by SIGTERM.

`pods_wait` is the reason for which no container starts; `denial` is the message with which
admission refuses every pod.
"""

import contextlib
import copy
import json
import os
import random
import signal
import string
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.loopback_servers import Handler, RefusedError, running
from tests.manifests.schemas import problems

REPOSITORY = Path(__file__).parents[2]
JOBS = "/apis/batch/v1/namespaces/{namespace}/jobs"
# Kubernetes keeps so much of a log as the message of a container that has ended.
MESSAGE_BYTES = 2048
JOB_NAME = "batch.kubernetes.io/job-name"
INDEX = "batch.kubernetes.io/job-completion-index"


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class Pod:
    """A pod of a Job, and its process unless it waits."""

    name: str
    job: str
    index: int
    process: "subprocess.Popen[bytes] | None"
    log: Path
    waits: str = ""
    is_evicted: bool = False
    is_counted: bool = False
    ended: str = ""

    def exit_code(self) -> int | None:
        code = self.process.poll() if self.process else None
        if code is not None and not self.ended:
            self.ended = _now()
        return None if code is None else (128 - code if code < 0 else code)

    def as_object(self, image: str) -> dict[str, Any]:
        code = self.exit_code()
        state: dict[str, Any] = {"running": {}}
        phase = "Running"
        if self.waits:
            message = f'Back-off pulling image "{image}"'
            phase, state = "Pending", {"waiting": {"reason": self.waits, "message": message}}
        if code is not None:
            phase = "Succeeded" if code == 0 else "Failed"
            text = self.log.read_bytes()[-MESSAGE_BYTES:].decode(errors="replace")
            terminated = {
                "exitCode": code,
                "reason": "Completed" if code == 0 else "Error",
                "finishedAt": self.ended,
                "message": "" if code == 0 else text,
            }
            state = {"terminated": terminated}
        status = {"name": "predict", "ready": phase == "Running", "image": image, "state": state}
        target = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}
        return {
            "metadata": {
                "name": self.name,
                "labels": {JOB_NAME: self.job, INDEX: str(self.index)},
            },
            "spec": {"containers": [{"name": "predict", "image": image}]},
            "status": {
                "phase": phase,
                "containerStatuses": [status],
                "conditions": [target] if self.is_evicted else [],
            },
        }


@dataclass
class Job:
    """A Job and the pods of its indexes."""

    manifest: dict[str, Any]
    pods: list[Pod] = field(default_factory=list)
    done: set[int] = field(default_factory=set)
    failures: dict[int, int] = field(default_factory=dict)
    conditions: list[dict[str, str]] = field(default_factory=list)

    @property
    def is_over(self) -> bool:
        return bool(self.conditions)

    def end(self, kind: str, reason: str, message: str) -> None:
        before = "SuccessCriteriaMet" if kind == "Complete" else "FailureTarget"
        for name in (before, kind):
            condition = {"type": name, "status": "True", "reason": reason, "message": message}
            self.conditions.append(condition)

    def as_object(self) -> dict[str, Any]:
        status = {
            "active": sum(pod.exit_code() is None for pod in self.pods),
            "succeeded": len(self.done),
            "failed": sum(self.failures.values()),
            "completedIndexes": ",".join(map(str, sorted(self.done))),
            "conditions": self.conditions,
        }
        return {**copy.deepcopy(self.manifest), "status": status}


class JobServer(ThreadingHTTPServer):
    def __init__(
        self, token: str, rules: list[dict[str, Any]], secrets: Mapping[str, Mapping[str, str]]
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.token, self.rules, self.secrets = token, rules, secrets
        self.jobs: dict[str, Job] = {}
        self.leaving: list[Pod] = []
        self.created: list[dict[str, Any]] = []
        self.used: set[tuple[str, str, str]] = set()
        self.pods_wait = self.denial = ""
        self.lock = threading.RLock()
        self.stopping = threading.Event()
        self.folder = Path(tempfile.mkdtemp(prefix="fake-jobs-"))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def running(self) -> list[Pod]:
        """The pods whose process is at work."""
        with self.lock:
            pods = [pod for job in self.jobs.values() for pod in job.pods]
            return [pod for pod in pods if pod.process and pod.exit_code() is None]

    def evict(self, pod: Pod) -> None:
        with self.lock:
            pod.is_evicted = True
            pod.process.send_signal(signal.SIGTERM)

    def control(self) -> None:
        """Do what the Job controller does, until stopped."""
        while not self.stopping.wait(0.03):
            with self.lock:
                for job in self.jobs.values():
                    self._reconcile(job)
                self.leaving = [pod for pod in self.leaving if pod.exit_code() is None]

    def _reconcile(self, job: Job) -> None:
        spec = job.manifest["spec"]
        for pod in job.pods:
            code = pod.exit_code()
            if code is None or pod.is_counted:
                continue
            pod.is_counted = True
            if code == 0:
                job.done.add(pod.index)
            else:
                self._count_failure(job, pod, code)
        if job.is_over:
            return
        for index in range(spec["completions"]):
            alive = any(p.index == index and p.exit_code() is None for p in job.pods)
            spent = job.failures.get(index, 0) > spec["backoffLimitPerIndex"]
            if index not in job.done and not alive and not spent and not self.denial:
                job.pods.append(self._start(job, index))
        given_up = {i for i, n in job.failures.items() if n > spec["backoffLimitPerIndex"]}
        if len(job.done | given_up) == spec["completions"]:
            if given_up:
                job.end("Failed", "FailedIndexes", "Job has failed indexes")
            else:
                job.end(
                    "Complete", "CompletionsReached", "Reached expected number of succeeded pods"
                )

    def _count_failure(self, job: Job, pod: Pod, code: int) -> None:
        for rule in job.manifest["spec"]["podFailurePolicy"]["rules"]:
            if "onPodConditions" in rule and pod.is_evicted and rule["action"] == "Ignore":
                return
            codes = rule.get("onExitCodes", {}).get("values", [])
            if code in codes and rule["action"] == "FailJob" and not job.is_over:
                message = (
                    f"Container predict for pod default/{pod.name} failed with exit code {code} "
                    "matching FailJob rule at index 1"
                )
                job.end("Failed", "PodFailurePolicy", message)
                for other in job.pods:
                    _terminate(other)
                return
        job.failures[pod.index] = job.failures.get(pod.index, 0) + 1

    def _start(self, job: Job, index: int) -> Pod:
        job_name = job.manifest["metadata"]["name"]
        letters = "".join(random.choices(string.ascii_lowercase, k=5))
        name = f"{job_name}-{index}-{letters}"
        log = self.folder / name
        if self.pods_wait:
            return Pod(name, job_name, index, None, log, self.pods_wait)
        (container,) = job.manifest["spec"]["template"]["spec"]["containers"]
        command = [*container["command"], *container["args"]]
        assert command[0] == "python"
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "PYTHONPATH": str(REPOSITORY),
            "OMP_NUM_THREADS": "1",
            "JOB_COMPLETION_INDEX": str(index),
            **dict(self._variables(container)),
        }
        with log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, *command[1:]], cwd=self.folder, env=environment, stderr=file
            )
        return Pod(name, job_name, index, process, log)

    def _variables(self, container: dict[str, Any]) -> Iterator[tuple[str, str]]:
        for item in container["env"]:
            reference = item["valueFrom"]["secretKeyRef"]
            secret = self.secrets.get(reference["name"], {})
            if reference["key"] in secret:
                yield item["name"], secret[reference["key"]]
            else:
                assert reference["optional"]


class _Handler(Handler):
    server: JobServer

    def answer(self) -> None:
        body = self.body()
        try:
            with self.server.lock:
                code, value = 200, self.handle_request(body)
        except RefusedError as refused:
            code, value = refused.status, {"kind": "Status", "message": str(refused)}
        self.reply(code, value)

    def handle_request(self, body: bytes) -> Any:
        if self.headers.get("Authorization") != f"Bearer {self.server.token}":
            raise RefusedError(401, "Unauthorized")
        parts = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        words = parts.path.strip("/").split("/")
        group = words[1] if words[0] == "apis" else ""
        *_, namespace, resource = words[: 6 if group else 5]
        name = words[6] if group and len(words) > 6 else ""
        verb = {"GET": "get" if name else "list", "POST": "create", "DELETE": "delete"}
        self.authorize(group, resource, verb[self.command])
        is_dry = query.get("dryRun") == "All"
        if self.command == "POST":
            return self.create(json.loads(body), namespace, is_dry)
        if resource == "jobs":
            job = self.server.jobs.get(name)
            if job is None:
                raise RefusedError(404, f'jobs.batch "{name}" not found')
            if self.command == "DELETE" and not is_dry:
                assert query["propagationPolicy"] == "Background"
                for pod in self.server.jobs.pop(name).pods:
                    _terminate(pod)
                    self.server.leaving.append(pod)
            return job.as_object()
        if resource == "events":
            return {"items": self.events(query)}
        wanted = query.get("labelSelector", "").removeprefix(f"{JOB_NAME}=")
        found = [job for name, job in self.server.jobs.items() if name == wanted]
        return {"items": [_seen(job, pod) for job in found for pod in job.pods]}

    def create(self, manifest: dict[str, Any], namespace: str, is_dry: bool) -> Any:
        name = manifest["metadata"]["name"]
        if found := [*problems(manifest), *_invalid(manifest)]:
            raise RefusedError(422, "; ".join(found))
        if name in self.server.jobs:
            raise RefusedError(409, f'jobs.batch "{name}" already exists')
        if manifest["metadata"]["namespace"] != namespace:
            raise RefusedError(400, "the namespace of the object does not match the request")
        if not is_dry:
            self.server.created.append(manifest)
            self.server.jobs[name] = Job(manifest)
        return manifest

    def events(self, query: dict[str, str]) -> list[dict[str, str]]:
        name = query.get("fieldSelector", "").rpartition("involvedObject.name=")[2]
        denial = self.server.denial
        if not (denial and name in self.server.jobs):
            return []
        return [{"reason": "FailedCreate", "message": f"Error creating: pods {denial}"}]

    def authorize(self, group: str, resource: str, verb: str) -> None:
        for rule in self.server.rules:
            covered = group in rule["apiGroups"] and resource in rule["resources"]
            if covered and verb in rule["verbs"]:
                self.server.used.add((group, resource, verb))
                return
        message = f'cannot {verb} resource "{resource}" in API group "{group}"'
        raise RefusedError(403, message)


def _seen(job: Job, pod: Pod) -> dict[str, Any]:
    (container,) = job.manifest["spec"]["template"]["spec"]["containers"]
    return pod.as_object(container["image"])


def _invalid(manifest: dict[str, Any]) -> Iterator[str]:
    """Yield what batch/v1 refuses beyond unknown fields."""
    spec, pod = manifest["spec"], manifest["spec"]["template"]["spec"]
    if pod["restartPolicy"] != "Never" and "podFailurePolicy" in spec:
        yield "spec.template.spec.restartPolicy: only Never with a podFailurePolicy"
    if "backoffLimitPerIndex" in spec and spec.get("completionMode") != "Indexed":
        yield "spec.backoffLimitPerIndex: only with Indexed"
    if len(manifest["metadata"]["name"]) + len(f"-{spec['completions'] - 1}") > 63:
        yield "metadata.name: pods would have host names above 63 characters"
    names = {container["name"] for container in pod["containers"]}
    for rule in spec["podFailurePolicy"]["rules"]:
        codes = rule.get("onExitCodes")
        if codes and (
            codes["containerName"] not in names or codes["values"] != sorted(codes["values"])
        ):
            yield "spec.podFailurePolicy.rules.onExitCodes"


def _terminate(pod: Pod) -> None:
    if pod.process and pod.process.poll() is None:
        pod.process.terminate()


@contextlib.contextmanager
def job_server(
    token: str, rules: list[dict[str, Any]], secrets: Mapping[str, Mapping[str, str]]
) -> Iterator[JobServer]:
    with JobServer(token, rules, secrets) as server:
        control = threading.Thread(target=server.control)
        control.start()
        try:
            with running(server):
                yield server
        finally:
            server.stopping.set()
            control.join()
            for pod in [*server.leaving, *(p for job in server.jobs.values() for p in job.pods)]:
                if pod.process:
                    pod.process.kill()
                    pod.process.wait()
