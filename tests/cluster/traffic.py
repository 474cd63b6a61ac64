"""A pod that asks the predictor for a mask every half second, and logs what came of it.

A forwarded port would not do: it ends with the pod that it leads to.
"""

import base64
import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

from tests.cluster.installation import MODEL, NAMESPACE, Installation, wait_for

SCRIPT = """
import pathlib, time, urllib.request
body = pathlib.Path("/photograph/photograph.jpg").read_bytes()
url = "http://MODEL-predictor.NAMESPACE.svc/v1/models/MODEL:predict"
while True:
    request = urllib.request.Request(url, body, {"Content-Type": "image/jpeg"})
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
            print("answered", reply.headers.get("X-Segmentor-Digest"), flush=True)
    except Exception as error:
        print("lost", time.ctime(), repr(error), flush=True)
    time.sleep(0.5)
""".replace("MODEL", MODEL).replace("NAMESPACE", NAMESPACE)


@dataclass
class Traffic:
    """The pod, with what it logs."""

    installation: Installation
    photograph: bytes
    name: str = "traffic"

    def start(self) -> None:
        self.stop()
        items = [self._photograph(), self._pod()]
        manifest = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
        self.installation.kubectl("apply", "--server-side", "--filename=-", text=manifest)
        wait_for("traffic", lambda: "answered" in self._log())

    def stop(self) -> None:
        self._last = self._log()
        flags = ("--namespace", NAMESPACE, "--ignore-not-found", "--grace-period=1")
        self.installation.kubectl("delete", f"pod/{self.name}", f"configmap/{self.name}", *flags)

    def lost(self) -> list[str]:
        """Return the requests that failed, once the traffic has stopped."""
        return [line for line in self._last.splitlines() if line.startswith("lost")]

    def answered(self) -> Counter[str]:
        """Return how often each model has answered so far, by digest."""
        lines = [line.split() for line in self._log().splitlines()]
        return Counter(words[1] for words in lines if words[0] == "answered")

    def _log(self) -> str:
        words = ("logs", self.name, "--namespace", NAMESPACE)
        return self.installation.kubectl(*words, check=False)

    def _metadata(self) -> dict[str, str]:
        return {"name": self.name, "namespace": NAMESPACE}

    def _photograph(self) -> dict[str, Any]:
        content = base64.b64encode(self.photograph).decode()
        data = {"binaryData": {"photograph.jpg": content}}
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": self._metadata(), **data}

    def _pod(self) -> dict[str, Any]:
        container = {
            "name": "traffic",
            "image": self.installation.image("data"),
            "command": ["python", "-u", "-c", SCRIPT],
            "volumeMounts": [{"name": "photograph", "mountPath": "/photograph"}],
            "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}},
            # As the restricted standard demands.
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
                "runAsNonRoot": True,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
        }
        spec = {
            "containers": [container],
            "restartPolicy": "Never",
            "volumes": [{"name": "photograph", "configMap": {"name": self.name}}],
        }
        return {"apiVersion": "v1", "kind": "Pod", "metadata": self._metadata(), "spec": spec}
