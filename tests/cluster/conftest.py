"""Runs against the cluster that KUBECONFIG points at; says what ran and what did not."""

import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.demo.cvat_export import write_cvat_export
from pipelines.demo.scenes import draw_scenes
from segmentor.image_io import encode_jpeg
from tests.cluster.installation import MODEL, NAMESPACE, OVERLAY, Installation, wait_for
from tests.cluster.traffic import Traffic

# Without these the others prove little.
REQUIRED = ("submit", "predict", "gate", "rollback", "apply_twice")
_outcomes: dict[str, Counter[str]] = {}


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if call.when == "call" or report.outcome != "passed":
        marker = item.get_closest_marker("covers")
        name = marker.args[0] if marker else item.name
        _outcomes.setdefault(name, Counter())[report.outcome] += 1


def pytest_configure(config):
    config.addinivalue_line("markers", "covers(name): what of docs/cluster/ a test covers")


def _missing() -> list[str]:
    return [name for name in REQUIRED if not _outcomes.get(name, Counter())["passed"]]


def pytest_sessionfinish(session, exitstatus):
    if _outcomes and exitstatus == 0 and _missing():
        session.exitstatus = 1


def pytest_terminal_summary(terminalreporter):
    if not _outcomes:
        return
    terminalreporter.section("on the cluster")
    for name, counts in _outcomes.items():
        said = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
        terminalreporter.line(f"{name:<24} {said}")
    if missing := _missing():
        terminalreporter.line(f"required, but did not pass: {', '.join(missing)}", red=True)


@pytest.fixture(scope="session")
def installation(kubectl) -> Iterator[Installation]:
    """The cluster with an empty namespace, which is deleted afterwards."""
    if not os.environ.get("KUBECONFIG"):
        pytest.fail("set KUBECONFIG: docs/cluster/kind.md makes a cluster")
    kfp_namespace = os.environ.get("SEGMENTOR_TEST_KFP_NAMESPACE", "kubeflow")
    registry = os.environ.get("SEGMENTOR_TEST_REGISTRY", "")
    cluster = Installation(kubectl, kfp_namespace, registry)
    if cluster.get("namespace", NAMESPACE):
        pytest.fail(f"the namespace {NAMESPACE} exists: these tests start without it")
    secret = ("secret", "segmentor-object-store")
    had_secret = bool(cluster.get(*secret, namespace=kfp_namespace))
    cluster.parameters = {
        "model_name": MODEL,
        "namespace": NAMESPACE,
        "predictor_image": cluster.image("predictor"),
        "apply": "true",
        "classes": "road=road+lane_mark",
        "group_pattern": r"^(.+)_\d+$",
        "ratios": "0.7,0.15,0.15",
        "seed": "3",
    }
    try:
        with cluster.forwarded("ml-pipeline-ui", 80, kfp_namespace) as cluster.endpoint:
            yield cluster
    finally:
        flags = ("--ignore-not-found", "--wait=true", "--timeout=300s")
        cluster.kubectl("delete", "--kustomize", str(OVERLAY), *flags, check=False)
        if not had_secret:
            cluster.kubectl("delete", *secret, "--namespace", kfp_namespace, check=False)


@pytest.fixture(scope="session")
def export(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("export") / "road-scenes.zip"
    write_cvat_export(draw_scenes(), path)
    return path


@pytest.fixture(scope="session")
def prepared(installation: Installation, export: Path) -> Installation:
    """The overlay is applied, the pipelines have the store's secret, the export is uploaded."""
    installation.apply_overlay()
    secret = installation.get("secret", "segmentor-object-store")
    metadata = secret["metadata"]
    for key in ("namespace", "resourceVersion", "uid", "creationTimestamp", "managedFields"):
        metadata.pop(key, None)
    installation.kubectl(
        *("apply", "--server-side", "--namespace", installation.kfp_namespace, "--filename=-"),
        text=json.dumps(secret),
    )
    wait_for(
        "the object store",
        lambda: installation.get("deployment", "object-store")["status"].get("availableReplicas"),
    )
    installation.upload(export)
    return installation


@pytest.fixture(scope="session")
def deployed(prepared: Installation) -> Installation:
    """A first version is served."""
    result = prepared.submit()
    assert result.returncode == 0, result.stdout + result.stderr
    return prepared


@pytest.fixture(scope="session")
def photograph() -> bytes:
    return encode_jpeg(next(iter(draw_scenes())).image, quality=95)


@pytest.fixture
def traffic(deployed: Installation, photograph: bytes) -> Iterator[Traffic]:
    """A request every half second, of a pod beside the predictor; none may be lost."""
    flow = Traffic(deployed, photograph)
    flow.start()
    yield flow
    flow.stop()
    assert flow.lost() == []
