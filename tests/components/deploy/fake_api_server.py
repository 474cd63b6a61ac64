"""A Kubernetes API server for tests, as a process: the REST API of the kinds that deploy touches.

    main(PORT_FILE, TOKEN)

A test begins with `POST /role`, which forgets everything and takes the rules of a Role; `GET /used`
lists what was asked for since. For the rest
it asks for the token (401), allows what the Role allows and nothing else (403), validates against
KServe's CRDs and admission rules (422, 400), applies server-side with field managers (409), sends
the events of a watch, and runs FakeKServe behind it all.

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
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

from tests.components.deploy.fake_kserve import FakeKServe
from tests.components.deploy.fake_objects import ConflictError, Objects
from tests.manifests.schemas import KSERVE_KINDS, kserve_problems, webhook_problems

PATH = re.compile(
    r"/(?:api|apis/(?P<group>[^/]+))/(?P<version>v[^/]+)/namespaces/(?P<namespace>[^/]+)"
    r"/(?P<resource>[a-z]+)(?:/(?P<name>[^/]+))?(?:/(?P<sub>[a-z]+))?"
)
SERVED = {
    "serving.kserve.io/v1beta1/inferenceservices",
    "serving.kserve.io/v1alpha1/servingruntimes",
    "apps/v1/deployments",
    "v1/pods",
    "v1/events",
}


class RefusedError(Exception):
    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code, self.reason = code, reason


@dataclass(frozen=True)
class Watch:
    """One object, from a version on, for some seconds."""

    key: tuple[str, str, str]
    version: int
    seconds: int


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "Server"

    def do_GET(self) -> None:
        self.answer("GET")

    def do_POST(self) -> None:
        self.answer("POST")

    def do_PATCH(self) -> None:
        self.answer("PATCH")

    def log_message(self, *_: Any) -> None:
        pass

    def answer(self, method: str) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
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
        text = isinstance(value, str)
        content = (value if text else json.dumps(value)).encode()
        self.send_response(code)
        self.send_header("Content-Type", "text/plain" if text else "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def handle_request(self, method: str, body: bytes) -> Any:
        if self.headers.get("Authorization") != f"Bearer {self.server.token}":
            raise RefusedError(401, "Unauthorized", "Unauthorized")
        parts = urlsplit(self.path)
        if (method, parts.path) == ("POST", "/role"):
            self.server.begin(json.loads(body))
            return {}
        if (method, parts.path) == ("GET", "/used"):
            return sorted(self.server.used)
        match = PATH.fullmatch(parts.path)
        if match is None:
            raise RefusedError(404, "NotFound", "the server could not find the requested resource")
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        kind = "/".join(filter(None, [match["group"], match["version"], match["resource"]]))
        key = (kind, match["namespace"], match["name"] or "")
        verb = {"GET": "get" if match["name"] else "list", "PATCH": "patch"}[method]
        if query.get("watch") == "True":
            verb = "watch"
        if verb == "patch" and self.server.objects.get(key) is None:
            self.authorize(match, "create")  # an apply that creates needs both
        self.authorize(match, verb)
        if kind not in SERVED:
            raise RefusedError(404, "NotFound", "the server could not find the requested resource")
        if method == "PATCH":
            return self.apply(key, query, body)
        if verb == "watch":
            name = query["fieldSelector"].removeprefix("metadata.name=")
            version, seconds = int(query["resourceVersion"]), int(query["timeoutSeconds"])
            return Watch((kind, match["namespace"], name), version, seconds)
        if match["sub"] == "log":
            return self.server.kserve.log_of(match["name"], query["container"])
        if not match["name"]:
            return {"items": self.select(kind, match["namespace"], query)}
        found = self.server.objects.get(key)
        if found is None:
            raise RefusedError(404, "NotFound", f'{match["resource"]} "{match["name"]}" not found')
        return found

    def send_events(self, watch: "Watch") -> None:
        fault = self.server.next_fault()
        self.close_connection = True
        if fault == "mute":
            time.sleep(watch.seconds)
            return
        self.send_response(200)
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
                line = json.dumps({"type": kind, "object": value}).encode() + b"\n"
                try:
                    self.send_chunk(line)
                except OSError:  # it has seen enough
                    return

    def select(self, kind: str, namespace: str, query: dict[str, str]) -> list[dict[str, Any]]:
        wanted = dict(item.split("=") for item in query.get("labelSelector", "").split(",") if item)
        return [
            value
            for (_kind, where, _name), value in self.server.objects.all(kind)
            if where == namespace and wanted.items() <= value["metadata"].get("labels", {}).items()
        ]

    def authorize(self, match: re.Match[str], verb: str) -> None:
        group = match["group"] or ""
        resource = match["resource"] + (f"/{match['sub']}" if match["sub"] else "")
        self.server.used.add((group, resource, verb))
        for rule in self.server.rules:
            covered = group in rule["apiGroups"] and resource in rule["resources"]
            if covered and verb in rule["verbs"]:
                return
        raise RefusedError(
            403, "Forbidden", f'cannot {verb} resource "{resource}" in API group "{group}"'
        )

    def apply(self, key: tuple[str, str, str], query: dict[str, str], body: bytes) -> Any:
        if self.headers["Content-Type"] != "application/apply-patch+yaml":
            raise RefusedError(415, "UnsupportedMediaType", self.headers["Content-Type"])
        config = yaml.safe_load(body)
        force = query.get("force") == "true"
        objects = self.server.objects
        kind = (config["apiVersion"], config["kind"])
        if kind not in KSERVE_KINDS:
            raise RefusedError(400, "BadRequest", f"unexpected kind {kind}")
        found = kserve_problems(config)
        if found:
            raise RefusedError(422, "Invalid", "; ".join(found))
        with objects.lock:
            try:
                _applied, merged = objects.preview(key, query["fieldManager"], config, force)
            except ConflictError as conflict:
                raise RefusedError(409, "Conflict", f"Apply failed with 1 {conflict}") from None
            denied = list(webhook_problems(merged))
            if denied:
                message = f"admission webhook denied the request: {'; '.join(denied)}"
                raise RefusedError(400, "BadRequest", message)
            if query.get("dryRun") == "All":
                return merged
            return objects.apply(key, query["fieldManager"], config, force)


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, token: str, faults: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.rules: list[dict[str, Any]] = []
        self.token, self.faults = token, faults
        self.objects = Objects()
        self.kserve = FakeKServe(self.objects, faults.with_suffix(".address"))
        self.used: set[tuple[str, str, str]] = set()

    def begin(self, rules: list[dict[str, Any]]) -> None:
        """Forgets what was, and grants these rules."""
        self.kserve.clear()
        # After it: with no object left, its thread reads none of them.
        for suffix in (".faults", ".address", ".late"):
            self.faults.with_suffix(suffix).unlink(missing_ok=True)
        self.rules = rules
        self.used.clear()

    def next_fault(self) -> str:
        """Takes the first word of the file of faults."""
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
    threading.Thread(target=server.serve_forever, daemon=True).start()
    partial = path.with_suffix(".partial")
    partial.write_text(str(server.server_port))
    partial.rename(path)
    stop.wait()
    server.kserve.stop()
