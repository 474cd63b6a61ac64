"""A Kubernetes API server for tests, as a process: the REST API of the kinds that steps touch.

Stands for kube-apiserver; read at Kubernetes 1.34, with KServe's CRDs and webhooks of
kserve/kserve after 0.20.0 (aaac4e2).

    main(PORT_FILE, TOKEN)

A test begins with `POST /role`, which forgets everything and takes the rules of a Role; `GET /used`
lists what the step has asked for since. The server demands the step's token or the
administrator's (401), allows the step what the Role allows and nothing else (403), validates
against KServe's CRDs and admission rules (422, 400), applies server-side with field managers (409),
sends the events of a watch, and runs FakeKServe and FakeTrainer behind it all. `POST /trainer`
gives FakeTrainer another script.

Trouble is made by words in PORT_FILE's twin `.faults`, one a watch: `gone` (its version has
expired), `garbled` (ends in the middle of a line), `closed` (ends at once), `mute` (no word).
"""

import contextlib
import json
import re
import signal
import threading
import time
from dataclasses import dataclass
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

from tests.emulators.fake_kserve import FakeKServe
from tests.emulators.fake_objects import ConflictError, Objects
from tests.emulators.fake_trainer import ABSENT, JOBS, FakeTrainer
from tests.loopback_servers import Handler
from tests.manifests.schemas import KSERVE_KINDS, kserve_problems, problems, webhook_problems


def _pairs(selector: str) -> dict[str, str]:
    return dict(item.split("=") for item in selector.split(",") if item)


ADMINISTRATOR = "administrator"
PATH = re.compile(
    r"/(?:api|apis/(?P<group>[^/]+))/(?P<version>v[^/]+)(?:/namespaces/(?P<namespace>[^/]+))?"
    r"/(?P<resource>[a-z]+)(?:/(?P<name>[^/]+))?(?:/(?P<sub>[a-z]+))?"
)
APPLY, MERGE = "application/apply-patch+yaml", "application/merge-patch+json"


class RefusedError(Exception):
    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code, self.reason = code, reason


@dataclass(frozen=True)
class Watch:
    """One object, or all of a namespace with these labels, from a version on, for some seconds."""

    key: tuple[str, str, str]
    version: int
    seconds: int
    labels: dict[str, str]


class ApiHandler(Handler):
    server: "Server"

    def answer(self) -> None:
        method, body = self.command, self.body()
        try:
            code, value = 200, self.handle_request(method, body)
            if isinstance(value, Watch):
                self.send_events(value)
                return
        except RefusedError as refused:
            code = refused.code
            value = {
                "kind": "Status",
                "apiVersion": "v1",
                "status": "Failure",
                "code": code,
                "reason": refused.reason,
                "message": str(refused),
            }
        self.reply(code, value)

    def handle_request(self, method: str, body: bytes) -> Any:
        self.user = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if self.user not in (self.server.token, ADMINISTRATOR):
            raise RefusedError(401, "Unauthorized", "Unauthorized")
        parts = urlsplit(self.path)
        if (method, parts.path) == ("POST", "/role"):
            self.server.begin(json.loads(body))
            return {}
        if (method, parts.path) == ("GET", "/used"):
            return sorted(self.server.used)
        if (method, parts.path) == ("GET", "/trainer"):
            return {"overlaps": self.server.trainer.overlaps}
        if (method, parts.path) == ("POST", "/trainer"):
            self.server.trainer.clear(json.loads(body))
            return {}
        match = PATH.fullmatch(parts.path)
        if match is None or match["group"] in self.server.trainer.script.get("absent", []):
            raise RefusedError(404, "NotFound", ABSENT)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        kind = "/".join(filter(None, [match["group"], match["version"], match["resource"]]))
        key = (kind, match["namespace"], match["name"] or "")
        reading = "get" if match["name"] else "list"
        verb = {"GET": reading, "PATCH": "patch", "POST": "create", "DELETE": "delete"}[method]
        if query.get("watch", "").lower() == "true":
            verb = "watch"
        if verb == "patch" and self.server.objects.get(key) is None:
            self.authorize(match, "create")  # an apply that creates needs both
        self.authorize(match, verb)
        if method == "PATCH":
            return self.patch(key, query, body)
        if method == "POST":
            return self.create(kind, match["namespace"], query, json.loads(body))
        if method == "DELETE":
            return self.delete(key, query)
        if verb == "watch":
            name = query.get("fieldSelector", "").removeprefix("metadata.name=")
            version, seconds = int(query["resourceVersion"]), int(query["timeoutSeconds"])
            labels = _pairs(query.get("labelSelector", ""))
            return Watch((kind, match["namespace"], name), version, seconds, labels)
        if match["sub"] == "log":
            return self.log_of(match["name"], query)
        if not match["name"]:
            version = str(self.server.objects.version)
            self.server.trainer.looks += kind == "v1/pods" and self.user != ADMINISTRATOR
            items = self.select(kind, match["namespace"], query)
            return {"metadata": {"resourceVersion": version}, "items": items}
        found = self.server.objects.get(key)
        if found is None:
            raise RefusedError(404, "NotFound", f'{match["resource"]} "{match["name"]}" not found')
        return found

    def send_events(self, watch: "Watch") -> None:
        fault = self.server.next_fault()
        if fault == "mute":
            time.sleep(watch.seconds)
            self.close_connection = True
            return
        self.send_response(200)
        # Announced, because a client may reuse a connection that it believes to be open.
        self.send_header("Connection", "close")
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if fault == "gone":
            status = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}
            self.send_chunk(json.dumps({"type": "ERROR", "object": status}).encode() + b"\n")
        elif fault == "garbled":
            self.send_chunk(b'{"type": "MODIFIED", "obj')
            return
        elif fault != "closed":
            self.follow(watch)
        with contextlib.suppress(OSError):
            self.send_chunk(b"")

    def send_chunk(self, content: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(content), content))

    def follow(self, watch: "Watch") -> None:
        deadline, version = time.monotonic() + watch.seconds, watch.version
        while (left := deadline - time.monotonic()) > 0:
            events = self.server.objects.events_after(version, *watch.key, left)
            for number, kind, value in events:
                version = number
                if not watch.labels.items() <= value["metadata"].get("labels", {}).items():
                    continue
                line = json.dumps({"type": kind, "object": value}).encode() + b"\n"
                try:
                    self.send_chunk(line)
                except OSError:  # it has seen enough
                    return

    def select(self, kind: str, namespace: str, query: dict[str, str]) -> list[dict[str, Any]]:
        wanted, fields = (_pairs(query.get(f"{name}Selector", "")) for name in ("label", "field"))
        return [
            value
            for (_kind, where, _name), value in self.server.objects.all(kind)
            if where == namespace
            and wanted.items() <= value["metadata"].get("labels", {}).items()
            and all(value.get(key) == item for key, item in fields.items())
        ]

    def authorize(self, match: re.Match[str], verb: str) -> None:
        if self.user == ADMINISTRATOR:
            return
        group = match["group"] or ""
        resource = match["resource"] + (f"/{match['sub']}" if match["sub"] else "")
        for rule in self.server.rules:
            covered = group in rule["apiGroups"] and resource in rule["resources"]
            if covered and verb in rule["verbs"]:
                self.server.used.add((group, resource, verb))
                return
        raise RefusedError(
            403, "Forbidden", f'cannot {verb} resource "{resource}" in API group "{group}"'
        )

    def patch(self, key: tuple[str, str, str], query: dict[str, str], body: bytes) -> Any:
        objects, manager = self.server.objects, query["fieldManager"]
        config = yaml.safe_load(body)
        if self.headers["Content-Type"] == MERGE:
            if objects.get(key) is None:
                raise RefusedError(404, "NotFound", f"{key} not found")
            return objects.update(key, manager, config)
        if self.headers["Content-Type"] != APPLY:
            raise RefusedError(415, "UnsupportedMediaType", self.headers["Content-Type"])
        force = query.get("force") == "true"
        with objects.lock:
            try:
                merged, _owners = objects.preview(key, manager, config, force)
            except ConflictError as conflict:
                raise RefusedError(409, "Conflict", str(conflict)) from None
            # The API server validates the merged object, not the manifest.
            self.validate({k: v for k, v in merged.items() if k != "status"})
            if query.get("dryRun") == "All":
                return merged
            return objects.apply(key, manager, config, force)

    def create(self, kind: str, namespace: str, query: dict[str, str], body: Any) -> Any:
        """Create a TrainJob; nothing else is created by POST."""
        key = (kind, namespace, body["metadata"]["name"])
        if kind != JOBS:
            raise RefusedError(405, "MethodNotAllowed", kind)
        if unknown := [item for item in problems(body) if "Additional properties" in item]:
            raise RefusedError(400, "BadRequest", f"strict decoding error: {unknown[0]}")
        self.validate(body)
        if refusal := self.server.trainer.refusal(body):
            raise RefusedError(refusal[0], "Forbidden", refusal[1])
        with self.server.objects.lock:
            if self.server.objects.get(key) is not None:
                message = f'trainjobs.trainer.kubeflow.org "{key[2]}" already exists'
                raise RefusedError(409, "AlreadyExists", message)
            if query.get("dryRun") == "All":
                return body
            created = self.server.trainer.create(key, body)
        if self.server.trainer.script.pop("lost_reply", False):
            raise RefusedError(500, "InternalError", "the reply was lost")
        return created

    def delete(self, key: tuple[str, str, str], query: dict[str, str]) -> Any:
        if self.server.objects.get(key) is None:
            raise RefusedError(404, "NotFound", f"{key[2]} not found")
        if key[0] == JOBS and query.get("propagationPolicy") != "Background":
            # Trainer makes the JobSet again while the job waits for it.
            raise RefusedError(400, "BadRequest", "delete TrainJobs in the background")
        if query.get("dryRun") != "All":
            self.server.objects.delete(key)
        return {"kind": "Status", "status": "Success"}

    def log_of(self, name: str, query: dict[str, str]) -> str:
        text = self.server.trainer.log_of(name, query.get("sinceTime", ""))
        if text is None and name in self.server.trainer.pods or not name.strip("-"):
            raise RefusedError(404, "NotFound", f'pods "{name}" not found')
        if text is None:
            text = self.server.kserve.log_of(name, query["container"])
        if text is None:
            message = f'container "{query["container"]}" in pod "{name}" is waiting to start'
            raise RefusedError(400, "BadRequest", message)
        return text

    def validate(self, merged: dict[str, Any]) -> None:
        kind = (merged["apiVersion"], merged["kind"])
        if kind[1] == "Event":
            return
        if kind not in KSERVE_KINDS:
            found = problems(merged)
            denied = []
        else:
            found = kserve_problems(merged)
            denied = list(webhook_problems(merged))
        if found:
            raise RefusedError(422, "Invalid", "; ".join(found))
        if denied:
            message = f"admission webhook denied the request: {'; '.join(denied)}"
            raise RefusedError(400, "BadRequest", message)


class Server(ThreadingHTTPServer):
    def __init__(self, token: str, faults: Path) -> None:
        super().__init__(("127.0.0.1", 0), ApiHandler)
        self.rules: list[dict[str, Any]] = []
        self.token, self.faults = token, faults
        self.objects = Objects()
        self.kserve = FakeKServe(self.objects, faults.with_suffix(".address"))
        self.trainer = FakeTrainer(self.objects, faults.parent / "trainer-pods")
        self.used: set[tuple[str, str, str]] = set()

    def begin(self, rules: list[dict[str, Any]]) -> None:
        """Forget what was, and grant these rules."""
        self.trainer.clear()
        self.kserve.clear()
        # After clearing, because its thread reads these files while there are objects.
        for suffix in (".faults", ".address"):
            self.faults.with_suffix(suffix).unlink(missing_ok=True)
        self.rules = rules
        self.used.clear()

    def next_fault(self) -> str:
        """Take the first word of the file of faults."""
        with self.objects.lock:
            words = self.faults.read_text().split() if self.faults.exists() else []
            if words:
                self.faults.write_text(" ".join(words[1:]))
            return words[0] if words else ""


def main(port_file: str, token: str) -> None:
    path = Path(port_file)
    server = Server(token, path.with_suffix(".faults"))
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    server.kserve.start()
    server.trainer.start()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    partial = path.with_suffix(".partial")
    partial.write_text(str(server.server_port))
    partial.rename(path)
    stop.wait()
    server.trainer.stop()
    server.kserve.stop()
