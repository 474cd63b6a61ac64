"""A server on loopback that speaks KFP's REST API as far as submitting goes, and forgives nothing.

Requests are read with kfp-server-api's own models and KFP's own protos: a field that they do not
know, a query parameter that the operation does not have, or a parameter that the uploaded pipeline
does not declare, is refused with 400.
"""

import contextlib
import email
import itertools
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import kfp_server_api
import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

PREFIX = "/apis/v2beta1"
# Of each operation, as kfp-server-api's methods send them.
QUERIES = {
    "pipelines": {"namespace", "page_token", "page_size", "sort_by", "filter"},
    "experiments": {"namespace", "page_token", "page_size", "sort_by", "filter"},
    "versions": {"page_token", "page_size", "sort_by", "filter"},
    "upload_version": {"name", "display_name", "pipelineid", "description", "tags"},
}
KINDS = {"STRING": str, "NUMBER_INTEGER": int, "NUMBER_DOUBLE": (int, float), "BOOLEAN": bool}


class RefusedError(Exception):
    """The request is answered with a status and a message."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(message)


@dataclass
class Records:
    """What the server has been told; `run_states` is what it says of a run, look by look."""

    pipelines: list[dict] = field(default_factory=list)
    versions: list[dict] = field(default_factory=list)
    experiments: list[dict] = field(default_factory=list)
    runs: list[dict] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    headers: list[dict] = field(default_factory=list)
    refuse: tuple[int, str] | None = None
    login_page: bool = False
    answers_to_lose: int = 0  # of looks at a run
    multi_user: bool = False
    proxy: str = ""  # the path before KFP's own, where it is behind kubectl's API server
    run_states: list[dict] = field(default_factory=lambda: [{"state": "SUCCEEDED"}])
    ids: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def next_id(self, kind: str) -> str:
        return f"{kind}-{next(self.ids)}"


@contextlib.contextmanager
def kfp_server() -> Iterator[tuple[str, Records]]:
    """Yields the server's address and what it records."""
    records = Records()
    handler = type("Handler", (_Handler,), {"records": records})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", records
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    records: Records
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def _answer(self, method: str) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        self.records.requests.append(f"{method} {parts.path}")
        self.records.headers.append(dict(self.headers))
        status, content, kind = 200, b"", "application/json"
        try:
            if self.records.refuse:
                raise RefusedError(*self.records.refuse)
            if self.records.login_page:
                content, kind = b"<!doctype html><title>Log in</title>", "text/html"
            else:
                prefix = self.records.proxy + PREFIX
                if not parts.path.startswith(prefix):
                    raise RefusedError(404, f"no such path: {parts.path}")
                answer = self._route(method, parts.path.removeprefix(prefix), query, body)
                content = json.dumps(answer).encode()
        except RefusedError as error:
            status = error.status
            content = json.dumps({"error": str(error), "code": 3, "message": str(error)}).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _route(self, method: str, path: str, query: dict[str, str], body: bytes) -> dict:
        records = self.records
        match [method, *path.strip("/").split("/")]:
            case ["GET", "healthz"]:
                return {"multi_user": records.multi_user, "pipeline_store": "database"}
            case ["GET", "pipelines"]:
                return {"pipelines": _selected(records.pipelines, query, "pipelines")}
            case ["POST", "pipelines"]:
                pipeline = _body(body, "V2beta1Pipeline")
                _require_unused(records.pipelines, pipeline["display_name"])
                return _added(records.pipelines, pipeline, "pipeline_id", records)
            case ["GET", "pipelines", pipeline_id, "versions"]:
                own = [item for item in records.versions if item["pipeline_id"] == pipeline_id]
                return {"pipeline_versions": _selected(own, query, "versions")}
            case ["POST", "pipelines", "upload_version"]:
                return self._upload(query, body)
            case ["GET", "experiments"]:
                return {"experiments": _selected(records.experiments, query, "experiments")}
            case ["POST", "experiments"]:
                experiment = _body(body, "V2beta1Experiment")
                return _added(records.experiments, experiment, "experiment_id", records)
            case ["POST", "runs"]:
                return self._run(_body(body, "V2beta1Run"))
            case ["GET", "runs", run_id]:
                if records.answers_to_lose:
                    records.answers_to_lose -= 1
                    raise RefusedError(503, "restarting")
                run = next(item for item in records.runs if item["run_id"] == run_id)
                states = records.run_states
                return {**run, **(states.pop(0) if len(states) > 1 else states[0])}
        raise RefusedError(404, f"no such route: {method} {path}")

    def _upload(self, query: dict[str, str], body: bytes) -> dict:
        _require_known(query, QUERIES["upload_version"])
        _require_unused(self.records.versions, query["display_name"])
        if not any(item["pipeline_id"] == query["pipelineid"] for item in self.records.pipelines):
            raise RefusedError(404, f"no pipeline {query['pipelineid']}")
        for text in itertools.chain(*json.loads(query.get("tags", "{}")).items()):
            if not 0 < len(text) <= 20:  # Source: kubeflow/pipelines#12999
                raise RefusedError(400, f"tag '{text}' is not 1 to 20 characters long")
        header = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        parts = list(email.message_from_bytes(header + body, policy=HTTP).iter_parts())
        files = [part for part in parts if part.get_param("name", header="content-disposition")]
        content = files[0].get_payload(decode=True)
        documents = list(yaml.safe_load_all(content))
        json_format.ParseDict(documents[0], pipeline_spec_pb2.PipelineSpec())
        for document in documents[1:]:
            json_format.ParseDict(document, pipeline_spec_pb2.PlatformSpec())
        version = {
            "pipeline_id": query["pipelineid"],
            "display_name": query["display_name"],
            "pipeline_spec": documents[0],
        }
        return _added(self.records.versions, version, "pipeline_version_id", self.records)

    def _run(self, run: dict) -> dict:
        reference = run["pipeline_version_reference"]
        version = next(
            item
            for item in self.records.versions
            if item["pipeline_version_id"] == reference["pipeline_version_id"]
        )
        declared = version["pipeline_spec"]["root"]["inputDefinitions"]["parameters"]
        values = run["runtime_config"].get("parameters", {})
        for name, value in values.items():
            if name not in declared:
                raise RefusedError(400, f"unknown parameter {name}")
            kind = KINDS.get(declared[name]["parameterType"], object)
            if not isinstance(value, kind):
                raise RefusedError(400, f"parameter {name} is not {kind}")
        missing = [
            name
            for name, item in declared.items()
            if name not in values and "defaultValue" not in item and not item.get("isOptional")
        ]
        if missing:
            raise RefusedError(400, f"missing parameters {missing}")
        return _added(self.records.runs, {**run, "state": "PENDING"}, "run_id", self.records)


def _body(body: bytes, model_name: str) -> dict:
    """Reads a body with kfp-server-api's model; unknown fields are refused at every depth."""
    content = json.loads(body)
    _require_model(content, model_name)
    return content


def _require_model(content: Any, model_name: str) -> None:
    model = getattr(kfp_server_api, model_name, None)
    if model is None or not hasattr(model, "openapi_types") or not isinstance(content, dict):
        return
    names = {value: key for key, value in model.attribute_map.items()}
    _require_known(content, set(names))
    for name, value in content.items():
        _require_model(value, model.openapi_types[names[name]])
    model(**{names[name]: value for name, value in content.items()})  # its own validation


def _require_known(given: dict, known: set[str]) -> None:
    if unknown := set(given) - known:
        raise RefusedError(400, f"unknown fields {sorted(unknown)}")


def _require_unused(items: list[dict], name: str) -> None:
    if any(item["display_name"] == name for item in items):
        raise RefusedError(409, f"{name} already exists")


def _selected(items: list[dict], query: dict[str, str], operation: str) -> list[dict]:
    _require_known(query, QUERIES[operation])
    predicates = json.loads(query.get("filter") or "{}").get("predicates", [])
    for predicate in predicates:
        if (predicate["operation"], predicate["key"]) not in (
            ("EQUALS", "display_name"),
            (1, "display_name"),
        ):
            raise RefusedError(400, f"unknown predicate {predicate}")
        items = [item for item in items if item["display_name"] == predicate["stringValue"]]
    return items


def _added(items: list[dict], item: dict, key: str, records: Records) -> dict:
    item = {**item, key: records.next_id(key)}
    items.append(item)
    return item
