"""A real Prometheus scrapes a real predictor: every panel and every rule has data."""

import json
import math
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml
from free_ports import free_port
from refused import V1

from tests.waiting import answers, wait_for

MONITORING = Path(__file__).resolve().parents[2] / "manifests" / "monitoring"
# What a healthy predictor of a model without a reference rightly has no data for.
EMPTY = {"Refused to protect the server", "Drift against the training images"}
# A rate takes two scrapes.
SCRAPES = 4

pytestmark = pytest.mark.slow


def panels() -> list[dict]:
    return json.loads((MONITORING / "predictor_dashboard.json").read_text())["panels"]


@pytest.fixture(scope="module")
def prometheus(predictor, scene_png, tmp_path_factory) -> Iterator[httpx.Client]:
    """Prometheus with our rules, after some scrapes of a predictor that has predicted."""
    program = shutil.which("prometheus")
    if program is None:
        message = "prometheus is not installed: apt-get install prometheus"
        pytest.fail(message) if os.environ.get("CI") == "true" else pytest.skip(message)
    folder = tmp_path_factory.mktemp("prometheus")
    rules = yaml.safe_load((MONITORING / "predictor_rules.yaml").read_text())["spec"]
    (folder / "rules.yaml").write_text(yaml.safe_dump(rules))
    # As a ServiceMonitor would label them.
    target = {"targets": [f"127.0.0.1:{predictor.http_port}"]}
    target["labels"] = {"namespace": "models", "pod": "scene-0"}
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": ["rules.yaml"],
        "scrape_configs": [{"job_name": "predictor", "static_configs": [target]}],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    port = free_port()
    command = [program, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, f"--web.listen-address=127.0.0.1:{port}"], stderr=log, cwd=folder
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1", timeout=10) as client:
            wait_for(lambda: answers(f"http://127.0.0.1:{port}/-/ready"), process)
            end = time.monotonic() + 60
            while scrapes(client) < SCRAPES:
                assert time.monotonic() < end, (folder / "log").read_text()
                predictor.client.post(V1, content=scene_png)
                time.sleep(0.3)
            yield client
    finally:
        process.terminate()
        process.wait(20)


def scrapes(client: httpx.Client) -> float:
    try:
        found = query(client, "count_over_time(segmentor_model_info[5m])")
    except httpx.TransportError:
        return 0
    return max(found, default=0)


def query(client: httpx.Client, expression: str) -> list[float]:
    reply = client.get("/query", params={"query": expression}).json()
    assert reply["status"] == "success", (expression, reply)
    return [float(series["value"][1]) for series in reply["data"]["result"]]


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: panel["title"])
def test_every_panel_shows_something(prometheus, panel):
    for target in panel["targets"]:
        expression = target["expr"].replace("$namespace", "models").replace("$pod", "scene-.*")
        values = query(prometheus, expression)
        assert bool(values) != (panel["title"] in EMPTY), expression
        # Routes without requests have no value.
        shown = [value for value in values if math.isfinite(value)]
        assert bool(shown) == bool(values), (expression, values)


def test_the_dashboards_choices_are_filled(prometheus):
    for label, value in (("namespace", "models"), ("pod", "scene-0")):
        reply = prometheus.get(f"/label/{label}/values", params={"match[]": "segmentor_model_info"})
        assert reply.json()["data"] == [value]


def test_prometheus_evaluates_every_rule_and_none_fires(prometheus):
    groups = prometheus.get("/rules").json()["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) >= 8
    assert {(rule["health"], rule["state"]) for rule in rules} == {("ok", "inactive")}
