"""The checker itself: what it must refuse, else the tests of the manifests prove nothing."""

import copy
import importlib.util
import json

import pytest
import yaml

from tests.manifests.schemas import CRDS, problems

DEPLOYMENT = yaml.safe_load("""
apiVersion: apps/v1
kind: Deployment
metadata: {name: a}
spec:
  selector: {matchLabels: {a: b}}
  template:
    metadata: {labels: {a: b}}
    spec:
      containers:
        - {name: c, image: i, ports: [{containerPort: 80}], livenessProbe: {httpGet: {port: http}}}
""")
SERVICE = yaml.safe_load("""
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {name: road}
spec:
  predictor:
    minReplicas: 1
    model: {modelFormat: {name: onnx-segmentation}, storageUri: s3://m/road/1/}
""")
CLASS = "serving.kserve.io/autoscalerClass"
MODE = "serving.kserve.io/deploymentMode"
MONITOR = yaml.safe_load("""
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata: {name: road}
spec:
  selector: {matchLabels: {a: b}}
  endpoints: [{port: http1, path: /metrics, interval: 15s}]
""")


def _changed(document, path, value):
    document = copy.deepcopy(document)
    *parents, last = path
    target = document
    for key in parents:
        target = target[key]
    target[last] = value
    return document


def test_good_documents_pass():
    assert problems(DEPLOYMENT) == []
    assert problems(SERVICE) == []
    assert problems(MONITOR) == []


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (["spec", "replica"], 2, "Deployment.spec.replica: unknown field of V1DeploymentSpec"),
        (["spec", "replicas"], "2", "expected int"),
        (["spec", "replicas"], True, "expected int"),
        (["spec", "template", "spec", "containers", 0, "nam"], "x", "unknown field of V1Container"),
        (["spec", "template", "spec", "containers"], {}, "expected a list"),
        (["spec", "selector"], None, "expected V1LabelSelector"),
        (["metadata", "labels"], {"a": 1}, "expected str"),
        (["kind"], "Deploiement", "no kind V1Deploiement"),
    ],
)
def test_a_core_kind_is_refused_for(path, value, expected):
    found = problems(_changed(DEPLOYMENT, path, value))
    assert any(expected in problem for problem in found), found


def test_a_missing_required_field_is_refused():
    document = copy.deepcopy(DEPLOYMENT)
    del document["spec"]["selector"]
    assert any("must not be `None`" in problem for problem in problems(document))


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (["spec", "predictor", "minReplica"], 1, "minReplica"),
        (["spec", "predictor", "minReplicas"], "1", "is not of type 'integer'"),
        (["spec", "predictor", "scaleMetric"], "gpu", "is not one of"),
        (["spec", "predictor", "maxReplicas"], 0.5, "is not of type 'integer'"),
        (["spec", "predictor", "model", "modelFormat"], {}, "'name' is a required property"),
        (["spec", "predictor", "model", "name"], "x", "model.name: not allowed"),
        (["spec", "predictor", "containers"], [{"name": "a"}], "exactly one of"),
        (["spec", "predictor", "minReplicas"], -1, "minReplicas -1"),
        (["spec", "predictor", "storageUris"], [{"uri": "s3://a"}], "exclude each other"),
        (["metadata", "name"], "Road", "metadata.name"),
        (["spec", "predictor", "model", "env"], [{"name": "PYTHONPATH", "value": "/x"}], "PYTHON"),
        (["apiVersion"], "serving.kserve.io/v1", "no kind"),
        (["spec", "predictor", "model", "env"], [{"name": "A"}, {"name": "A"}], "('A',) twice"),
        (["metadata", "annotations"], {CLASS: "hpah"}, "autoscalerClass hpah"),
        (["spec", "predictor", "scaleMetric"], "cpu", "refused in any mode but Standard"),
        (["spec", "predictor", "deploymentStrategy"], {"type": "Recreate"}, "any mode but"),
    ],
)
def test_an_inference_service_is_refused_for(path, value, expected):
    found = problems(_changed(SERVICE, path, value))
    assert any(expected in problem for problem in found), found


@pytest.mark.parametrize(
    ("predictor", "expected"),
    [({"scaleMetric": "rps"}, "is not one of an HPA's"), ({"scaleTarget": 700}, "no percentage")],
)
def test_an_autoscaler_that_kserve_refuses_is_refused(predictor, expected):
    service = copy.deepcopy(SERVICE)
    service["metadata"]["annotations"] = {CLASS: "hpa", MODE: "Standard"}
    service["spec"]["predictor"] |= {"scaleMetric": "cpu", "scaleTarget": 70, "maxReplicas": 2}
    assert problems(service) == []
    service["spec"]["predictor"] |= predictor
    assert any(expected in problem for problem in problems(service))


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (["spec", "endpoints", 0, "prot"], "x", "Additional properties are not allowed ('prot'"),
        (["spec", "endpoints", 0, "interval"], "15 s", "does not match"),
        (["spec", "endpoints", 0, "port"], 8080, "is not of type 'string'"),
        (["spec", "endpoints", 0, "path"], None, "None is not of type 'string'"),
        (["spec"], {"endpoints": []}, "'selector' is a required property"),
        (["kind"], "ServiceMonitors", "no kind"),
    ],
)
def test_a_service_monitor_is_refused_for(path, value, expected):
    found = problems(_changed(MONITOR, path, value))
    assert any(expected in problem for problem in found), found


@pytest.mark.parametrize(
    ("folder", "sources"), [("kserve-crds", "SOURCES"), ("trainer-crds", "TRAINER_SOURCES")]
)
def test_the_committed_schemas_are_the_projects_own(shared_data, folder, sources):
    crds = shared_data.parent / folder
    if not crds.is_dir():
        pytest.skip(f"no CRDs at {crds}")
    spec = importlib.util.spec_from_file_location("trim", CRDS / "trim.py")
    trim = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(trim)
    for name in getattr(trim, sources):
        assert json.loads((CRDS / f"{name}.json").read_text()) == trim.trimmed(crds, name)
