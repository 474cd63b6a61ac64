"""A server on loopback that speaks KFP's REST API as far as submitting goes, and forgives nothing.

Stands for KFP's API server and the UI server before it; read at kubeflow/pipelines 2.17.0
(7b70c7b), and kfp-server-api 2.17.3.

Requests are read with kfp-server-api's own models and KFP's own protos: a field that they do not
know, a query parameter that the operation does not have, or a parameter that the uploaded pipeline
does not declare, is refused with 400.
"""

import contextlib
import email
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.policy import HTTP
from typing import Any
from urllib.parse import parse_qs, urlsplit

import kfp_server_api
import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from tests.emulators.kfp_pods import Pod, pod_answer
from tests.loopback_servers import Handler, RefusedError, serving

PREFIX = "/apis/v2beta1"
# Parameters of each operation, as kfp-server-api's methods send them.
QUERIES = {
    "pipelines": {"namespace", "page_token", "page_size", "sort_by", "filter"},
    "recurring runs": {
        "namespace",
        "experiment_id",
        "page_token",
        "page_size",
        "sort_by",
        "filter",
    },
    "experiments": {"namespace", "page_token", "page_size", "sort_by", "filter"},
    "versions": {"page_token", "page_size", "sort_by", "filter"},
    "upload_version": {"name", "display_name", "pipelineid", "description", "tags"},
}
KINDS = {"STRING": str, "NUMBER_INTEGER": int, "NUMBER_DOUBLE": (int, float), "BOOLEAN": bool}


@dataclass
class Records:
    """What the server has been told; `run_states` is what it says of a run, look by look."""

    pipelines: list[dict] = field(default_factory=list)
    versions: list[dict] = field(default_factory=list)
    experiments: list[dict] = field(default_factory=list)
    runs: list[dict] = field(default_factory=list)
    recurring: list[dict] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    headers: list[dict] = field(default_factory=list)
    refuse: tuple[int, str] | None = None
    login_page: bool = False
    answers_to_lose: int = 0  # of looks at a run
    multi_user: bool = False
    proxy: str = ""  # the path before KFP's own, where it is behind kubectl's API server
    # A look may have `pods` (kfp_pods.Workflow.look), which the UI server then knows.
    run_states: list[dict] = field(default_factory=lambda: [{"state": "SUCCEEDED"}])
    pods: dict[str, Pod] = field(default_factory=dict)
    pods_namespace: str = "kubeflow"
    has_ui: bool = True  # else it is the API server alone
    ids: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def next_id(self, kind: str) -> str:
        return f"{kind}-{next(self.ids)}"


@contextlib.contextmanager
def kfp_server() -> Iterator[tuple[str, Records]]:
    """Yield the server's address and what it records."""
    records = Records()
    handler = type("Handler", (_Handler,), {"records": records})
    with serving(handler) as url:
        yield url, records


class _Handler(Handler):
    records: Records

    def answer(self) -> None:
        method, body = self.command, self.body()
        parts = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        self.records.requests.append(f"{method} {parts.path}")
        self.records.headers.append(dict(self.headers))
        try:
            if self.records.refuse:
                raise RefusedError(*self.records.refuse)
            if self.records.login_page:
                login = "<!doctype html><title>Log in</title>"
                return self.reply(200, login, {"Content-Type": "text/html"})
            if self.records.has_ui and parts.path.startswith("/k8s/pod"):
                status, kind, answer = pod_answer(
                    self.records.pods, self.records.pods_namespace, parts.path, query
                )
                return self.reply(status, answer, {"Content-Type": kind})
            prefix = self.records.proxy + PREFIX
            if not parts.path.startswith(prefix):
                raise RefusedError(404, f"no such path: {parts.path}")
            self.reply(200, self._route(method, parts.path.removeprefix(prefix), query, body))
        except RefusedError as error:
            value = {"error": str(error), "code": 3, "message": str(error)}
            self.reply(error.status, value)

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
            case ["GET", "recurringruns"]:
                return self._recurring_page(query)
            case ["POST", "recurringruns"]:
                return self._recur(_body(body, "V2beta1RecurringRun"))
            case [("POST" | "DELETE"), "recurringruns", name]:
                return self._change_recurring(method, *name.partition(":")[::2])
            case ["GET", "runs", run_id]:
                if records.answers_to_lose:
                    records.answers_to_lose -= 1
                    raise RefusedError(503, "restarting")
                run = next((item for item in records.runs if item["run_id"] == run_id), None)
                if run is None:
                    raise RefusedError(404, f"no run {run_id}")
                states = records.run_states
                look = dict(states.pop(0) if len(states) > 1 else states[0])
                records.pods = look.pop("pods", records.pods)
                return {**run, **look}
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

    def _recurring_page(self, query: dict[str, str]) -> dict:
        """Answer two at a time, whatever is asked for: pages are the server's to make."""
        found = _selected(self.records.recurring, query, "recurring runs")
        start = int(query.get("page_token") or 0)
        more = {"next_page_token": str(start + 2)} if start + 2 < len(found) else {}
        return {"recurringRuns": found[start : start + 2], "total_size": len(found), **more}

    def _recur(self, recurring: dict) -> dict:
        self._check_parameters(recurring)
        cron = recurring["trigger"]["cron_schedule"]["cron"]
        if len(cron.split()) != 6:
            raise RefusedError(400, f"expected exactly 6 fields, found {cron}")
        recurring = {**recurring, "status": f"{recurring['mode']}D"}
        return _added(self.records.recurring, recurring, "recurring_run_id", self.records)

    def _change_recurring(self, method: str, name: str, change: str) -> dict:
        recurring = self.records.recurring
        item = next((item for item in recurring if item["recurring_run_id"] == name), None)
        if item is None:
            raise RefusedError(404, f"no recurring run {name}")
        if method == "DELETE":
            recurring.remove(item)
        else:
            item["status"] = {"enable": "ENABLED", "disable": "DISABLED"}[change]
        return {}

    def _run(self, run: dict) -> dict:
        self._check_parameters(run)
        return _added(self.records.runs, {**run, "state": "PENDING"}, "run_id", self.records)

    def _check_parameters(self, run: dict) -> None:
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


def _body(body: bytes, model_name: str) -> dict:
    """Read a body with kfp-server-api's model; unknown fields are refused at every depth."""
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
