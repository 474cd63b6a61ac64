"""What deploy will be asked for is checked before anything is trained, and nothing is changed."""

import pytest
import yaml

from components.deploy import rehearsal
from components.deploy.check import main
from components.deploy.cluster import Cluster
from components.deploy.inference_service import STOP
from components.export.__main__ import build_parser as export_parser
from segmentor.errors import DeployError
from tests.components.deploy.conftest import NAMESPACE
from tests.components.deploy.deploy_builders import scaled

RUNTIME = f"/apis/serving.kserve.io/v1alpha1/namespaces/{NAMESPACE}/servingruntimes"


@pytest.fixture
def check(plan, store, capfd):
    """Runs the command; returns its exit code and its last line."""

    def run(*flags: str) -> tuple[int, str]:
        options = {"--name": "road", "--namespace": NAMESPACE, "--destination": plan.destination}
        options |= dict(zip(flags[::2], flags[1::2], strict=True))
        code = main([text for item in options.items() for text in item])
        return code, (capfd.readouterr().err.strip().splitlines() or [""])[-1]

    return run


def test_what_will_be_asked_of_the_cluster_is_asked_and_nothing_is_kept(api_server, check, plan):
    image = ("--predictor-image", "segmentor-predictor:0.1.0")
    assert check("--apply", "true", *image)[0] == 0
    assert api_server.service()["reason"] == "NotFound"
    assert api_server.request("GET", f"{RUNTIME}/onnx-segmentation").status_code == 404

    api_server.apply(scaled(NAMESPACE, 2))
    before = api_server.service()["spec"]
    assert check("--apply", "true", *image)[0] == 0
    assert api_server.service()["spec"] == before

    stopped = scaled(NAMESPACE, 2)
    stopped["metadata"]["annotations"] = {STOP: "true"}
    api_server.apply(stopped)
    code, line = check("--apply", "true")
    assert code == 3
    assert "stopped by kubectl (annotation serving.kserve.io/stop)" in line


@pytest.mark.parametrize(
    ("missing", "asked"), [("inferenceservices", ()), ("servingruntimes", ("p:1",))]
)
def test_a_missing_right_is_found(start_api_server, check, tmp_path, repository, missing, asked):
    role = next(yaml.safe_load_all((repository / "manifests/base/deployer_rbac.yaml").read_text()))
    for rule in role["rules"]:
        if missing in rule["resources"]:
            rule["verbs"] = [verb for verb in rule["verbs"] if verb != "create"]
    (tmp_path / "role.yaml").write_text(yaml.safe_dump(role))
    start_api_server(tmp_path / "role.yaml")
    code, line = check("--apply", "true", *(("--predictor-image", *asked) if asked else ()))
    assert code == 3
    assert f'cannot create resource "{missing}"' in line
    assert "bind the Role segmentor-deployer to the pipeline's service account" in line


def test_a_webhook_that_knows_no_dry_run_refuses_nothing(api_server, check, monkeypatch):

    class Refusing(Cluster):
        message = 'HTTP 400 from the API server (admission webhook "p" does not support dry run)'

        def apply(self, manifest, dry_run=False):
            raise DeployError("road", self.message)

    monkeypatch.setattr(rehearsal, "Cluster", Refusing)
    assert check("--apply", "true")[0] == 0
    Refusing.message = "HTTP 400 from the API server (denied)"
    assert check("--apply", "true") == (3, f"error: road: {Refusing.message}")


@pytest.mark.parametrize(
    ("flag", "value", "said"),
    [
        ("--name", "Road Scenes", "--name: 'Road Scenes', expected a name"),
        ("--namespace", "my_team", "--namespace: 'my_team', expected a name"),
        ("--destination", "models", "models: no object store URI, expected s3://bucket/key"),
        ("--version", "v 1", "--version: 'v 1', expected up to 63 letters"),
        ("--min-iou", "90", "--min-iou: 90.0, expected a value in 0..1"),
        ("--deadline", "0", "--deadline: 0, expected more than 0 seconds"),
    ],
)
def test_a_value_that_deploy_would_refuse_is_one_line(check, flag, value, said):
    code, line = check(flag, value)
    assert code == 3
    assert said in line


@pytest.mark.parametrize(
    ("flag", "value", "said"),
    [
        ("--size-policy", "crop", "argument --size-policy: invalid choice: 'crop'"),
        ("--precision", "fp16", "argument --precision: invalid choice: 'fp16'"),
    ],
)
def test_a_word_that_export_would_refuse_is_refused_before_the_training(
    plan, capfd, flag, value, said
):
    with pytest.raises(SystemExit) as stop:
        main(["--name", "road", "--destination", plan.destination, flag, value])
    assert stop.value.code == 2
    assert said in capfd.readouterr().err
    with pytest.raises(SystemExit) as stop:
        export_parser().parse_args([flag, value])
    assert said in capfd.readouterr().err


def test_without_a_cluster_the_store_alone_is_asked(check, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", "/nowhere")
    assert check()[0] == 0  # its bucket is made by the first publication
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    code, line = check()
    assert code == 3
    assert "SignatureDoesNotMatch" in line
