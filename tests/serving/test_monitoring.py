"""Dashboard and alerts ask for metrics that the predictor really has."""

import json
import re
import time
from pathlib import Path

import pytest
import yaml

MONITORING = Path(__file__).resolve().parents[2] / "manifests" / "monitoring"


@pytest.fixture(scope="module")
def exposed(predictor, scene_png):
    predictor.client.post("/v1/models/scene:predict", content=scene_png)
    text = predictor.client.get("/metrics").text
    names = set(re.findall(r"^# TYPE (\w+) ", text, re.MULTILINE))
    return names | {f"{name}_{part}" for name in names for part in ("sum", "count", "bucket")}


def expressions() -> list[str]:
    dashboard = json.loads((MONITORING / "predictor_dashboard.json").read_text())
    rules = yaml.safe_load((MONITORING / "predictor_rules.yaml").read_text())
    found = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    found += [rule["expr"] for group in rules["spec"]["groups"] for rule in group["rules"]]
    return found


@pytest.mark.parametrize("expression", expressions())
def test_every_metric_asked_for_is_exposed(exposed, expression):
    names = set(re.findall(r"\b(?:segmentor|process)_\w+", expression))
    assert names
    assert names <= exposed
    assert expression.count("(") == expression.count(")")
    assert expression.count("{") == expression.count("}")


def test_every_alert_says_what_is_wrong_and_what_to_do():
    rules = yaml.safe_load((MONITORING / "predictor_rules.yaml").read_text())
    for group in rules["spec"]["groups"]:
        for rule in group["rules"]:
            assert set(rule["annotations"]) == {"summary", "description"}
            assert rule["labels"]["severity"] in ("warning", "critical")


def test_metrics_name_the_model_and_count_by_route_and_code(predictor, scene_png):
    reply = predictor.client.post("/v1/models/scene:predict", content=scene_png)
    text = predictor.client.get("/metrics").text
    assert f'digest="{reply.headers["x-segmentor-digest"]}"' in text
    assert 'segmentor_requests_total{code="200",route="/v1/models/{model_name}:predict"}' in text
    for stage in ("decode", "infer", "mask", "encode"):
        assert f'segmentor_stage_seconds_count{{stage="{stage}"}}' in text
    assert 'segmentor_class_coverage_count{label="road"}' in text


def test_paths_that_do_not_exist_share_one_label(predictor):
    for number in range(5):
        predictor.client.get(f"/nowhere/{number}")
    assert "/nowhere/" not in predictor.client.get("/metrics").text


def test_each_request_is_one_line_of_json_with_its_id(predictor, scene_png):
    reply = predictor.client.post("/predict", files={"file": scene_png})
    mine: list[dict] = []
    deadline = time.monotonic() + 60
    # The line is written after the reply, which a busy machine may take a moment for.
    while not mine and time.monotonic() < deadline:
        time.sleep(0.02)
        lines = [json.loads(line) for line in predictor.log.read_text().splitlines()]
        mine = [line for line in lines if line.get("request_id") == reply.headers["x-request-id"]]
    assert len(mine) == 1
    assert (mine[0]["event"], mine[0]["route"], mine[0]["status"]) == ("request", "/predict", 200)
