"""Each alert fires on what it is for, and stays silent otherwise: promtool runs the rules."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

RULES = Path(__file__).resolve().parents[2] / "manifests" / "monitoring" / "predictor_rules.yaml"
MODEL = 'segmentor_model_info{namespace="ns", model="road", digest="sha256:1", engine="fast"}'
BUCKET = 'segmentor_request_seconds_bucket{{namespace="ns", route="/predict", le="{}"}}'

# For each alert: series that make it fire, when to look, and the labels that identify it.
FIRES = {
    "SegmentorPredictorErrors": (
        {'segmentor_requests_total{namespace="ns", code="500"}': "0+1x60"},
        "10m",
        {"namespace": "ns"},
    ),
    "SegmentorPredictorSheds": (
        {
            'segmentor_requests_total{namespace="ns", code="503"}': "0+10x60",
            'segmentor_refused_total{namespace="ns", reason="busy"}': "0+1x60",
        },
        "15m",
        {"namespace": "ns"},
    ),
    "SegmentorPredictorSlow": (
        {
            BUCKET.format(5): "0x60",
            BUCKET.format(10): "0+9x60",
            BUCKET.format("+Inf"): "0+9x60",
        },
        "20m",
        {"namespace": "ns"},
    ),
    "SegmentorPredictorAbsent": ({}, "10m", {}),
    "SegmentorPredictorTwoModels": (
        {MODEL: "1x90", MODEL.replace("sha256:1", "sha256:2"): "1x90"},
        "70m",
        {"namespace": "ns", "model": "road"},
    ),
    "SegmentorPredictorFellBack": (
        {'segmentor_engine_refused_total{namespace="ns", engine="fast"}': "1x60"},
        "5m",
        {"namespace": "ns", "engine": "fast"},
    ),
    "SegmentorClassVanished": (
        {
            'segmentor_class_coverage_sum{namespace="ns", label="road"}': "0+6x1440 8640x240",
            'segmentor_class_coverage_count{namespace="ns", label="road"}': "0+10x1680",
        },
        "27h50m",
        {"namespace": "ns", "label": "road"},
    ),
    "SegmentorPredictorDrift": (
        {
            'segmentor_drift_index{namespace="ns", signal="brightness", pod="a"}': "0.6x60",
            'segmentor_drift_index{namespace="ns", signal="coverage road", pod="a"}': "0.2x60",
        },
        "40m",
        {"namespace": "ns", "signal": "brightness"},
    ),
}
HEALTHY = {
    MODEL: "1x60",
    'segmentor_requests_total{namespace="ns", code="200"}': "0+100x60",
    'segmentor_requests_total{namespace="ns", code="400"}': "0+50x60",
    'segmentor_refused_total{namespace="ns", reason="busy"}': "0+1x60",
    BUCKET.format(5): "0+100x60",
    BUCKET.format("+Inf"): "0+100x60",
    'segmentor_class_coverage_sum{namespace="ns", label="road"}': "0+5x60",
    'segmentor_class_coverage_count{namespace="ns", label="road"}': "0+10x60",
    'segmentor_drift_index{namespace="ns", signal="brightness"}': "0.1x60",
}


@pytest.fixture(scope="module")
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None and os.environ.get("CI") == "true":
        pytest.fail("promtool is not installed; .ci/run installs it with prometheus")
    if found is None:
        pytest.skip("promtool is not installed: apt-get install prometheus")
    return found


@pytest.fixture
def rules(tmp_path) -> dict:
    """The rules as Prometheus reads them, beside which a test's file may be written."""
    content = yaml.safe_load(RULES.read_text())["spec"]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(content))
    return content


def run(promtool: str, folder: Path, *arguments: str) -> None:
    done = subprocess.run(
        [promtool, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def names(rules: dict) -> list[str]:
    return [rule["alert"] for group in rules["groups"] for rule in group["rules"]]


def check_alerts(
    promtool: str, folder: Path, series: dict, moment: str, expected: dict[str, list]
) -> None:
    tests = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": k, "values": v} for k, v in series.items()],
                "alert_rule_test": [
                    {"eval_time": moment, "alertname": name, "exp_alerts": alerts}
                    for name, alerts in expected.items()
                ],
            }
        ],
    }
    (folder / "tests.yaml").write_text(yaml.safe_dump(tests))
    run(promtool, folder, "test", "rules", "tests.yaml")


def test_prometheus_accepts_the_rules(promtool, rules, tmp_path):
    run(promtool, tmp_path, "check", "rules", "rules.yaml")


def test_every_alert_is_tried(rules):
    assert set(names(rules)) == set(FIRES)


@pytest.mark.parametrize("name", FIRES)
def test_an_alert_fires_on_what_it_is_for(promtool, rules, tmp_path, name):
    series, moment, labels = FIRES[name]
    rule = next(r for group in rules["groups"] for r in group["rules"] if r["alert"] == name)
    annotations = {
        key: text.replace("{{ $labels.label }}", "road").replace(
            "{{ $labels.signal }}", "brightness"
        )
        for key, text in rule["annotations"].items()
    }
    fired = {"exp_labels": {**labels, **rule["labels"]}, "exp_annotations": annotations}
    check_alerts(promtool, tmp_path, series, moment, {name: [fired]})


def test_a_healthy_predictor_raises_no_alert(promtool, rules, tmp_path):
    check_alerts(promtool, tmp_path, HEALTHY, "50m", {name: [] for name in names(rules)})
