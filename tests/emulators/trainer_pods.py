"""Pods of the fake Kubeflow Trainer: what Kubernetes says of them, and what they wrote.

Stands for the kubelet's pod status; seen on Kubernetes 1.34.
"""

import subprocess
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.emulators.fake_objects import Key


@dataclass
class Pod:
    """A pod of a rank, what it does, and what it wrote."""

    key: Key
    rank: int
    script: dict[str, Any]
    labels: dict[str, str]
    image: str
    log: list[tuple[str, str]] = field(default_factory=list)
    process: subprocess.Popen[str] | None = None
    ended: dict[str, Any] | None = None
    conditions: list[dict[str, Any]] = field(default_factory=list)
    state: dict[str, Any] = field(default_factory=dict)
    deleted: str = ""
    ends_at: float = 0.0

    def write(self, line: str) -> None:
        self.log.append((datetime.now(UTC).isoformat().replace("+00:00", "000Z"), line))

    def says(self, words: str) -> bool:
        return any(words in line for _moment, line in self.log)

    def is_over(self) -> bool:
        if "until" in self.script:
            return Path(self.script["until"]).exists()
        return time.monotonic() >= self.ends_at

    def end(self, code: int, reason: str = "") -> None:
        if self.ended is None:
            tail = "\n".join(line for _moment, line in self.log)[-2048:]
            self.ended = {
                "exitCode": code,
                "reason": reason or ("Completed" if code == 0 else "Error"),
                "finishedAt": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                **({"message": f"{tail}\n"} if code else {}),
            }
            self.state = {"terminated": self.ended}

    def to_object(self) -> dict[str, Any]:
        status = {
            "name": "node", "image": self.image, "imageID": "", "restartCount": 0,
            "ready": "running" in self.state, "state": self.state,
        }  # fmt: skip
        stamp = {"deletionTimestamp": self.deleted} if self.deleted else {}
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": self.key[2], "namespace": self.key[1], "labels": self.labels,
                         **stamp},
            "spec": {"containers": [{"name": "node", "image": self.image}]},
            "status": {
                "phase": "Running" if "running" in self.state else "Pending",
                "conditions": self.conditions,
                **({"containerStatuses": [status]} if self.state else {}),
            },
        }  # fmt: skip


def code_of(process: subprocess.Popen[str]) -> int:
    """Return the exit code of a process that is about to end."""
    try:
        code = process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        code = process.wait()
    return code if code >= 0 else 128 - code
