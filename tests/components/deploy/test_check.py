"""What deploy will be asked for is checked before anything is trained, and nothing is changed."""

import datetime

import pytest
import yaml
from small_export import write_small_export

from components.convert_labels.__main__ import main as convert_labels
from components.deploy import rehearsal
from components.deploy.check import main
from components.deploy.kserve.inference_service import STOP
from components.export.__main__ import build_parser as export_parser
from components.kubernetes_api import Cluster
from segmentor.dataset import Dataset
from segmentor.dataset_store import datasets_of
from segmentor.errors import DeployError
from segmentor.training_mirror import mirrors_of
from tests.components.deploy.conftest import NAMESPACE
from tests.components.deploy.deploy_builders import scaled


@pytest.fixture
def check(plan, store, capfd):
    """Run the command; return its exit code and its last line."""

    def run(*flags: str) -> tuple[int, str]:
        options = {
            "--model-name": "road",
            "--namespace": NAMESPACE,
            "--destination": plan.destination,
        }
        options |= dict(zip(flags[::2], flags[1::2], strict=True))
        code = main([text for item in options.items() for text in item])
        return code, (capfd.readouterr().err.strip().splitlines() or [""])[-1]

    return run


def test_what_will_be_asked_of_the_cluster_is_asked_and_nothing_is_kept(api_server, check, plan):
    image = ("--predictor-image", "segmentor-predictor:0.1.0")
    assert check("--apply", "true", *image)[0] == 0
    assert api_server.service()["reason"] == "NotFound"

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


def test_copies_of_trainings_that_nobody_writes_are_removed(check, plan, store, monkeypatch):
    copy = mirrors_of(plan.destination).child("key/training_state.pt")
    store.ensure_bucket(copy.bucket)
    store.write(copy, b"state")
    assert check()[0] == 0
    assert store.exists(copy)
    monkeypatch.setattr("segmentor.training_mirror.STALE_AFTER", datetime.timedelta(0))
    assert check()[0] == 0
    assert not store.exists(copy)


def test_a_missing_right_is_found(start_api_server, check, tmp_path, repository):
    role = next(yaml.safe_load_all((repository / "manifests/base/deployer_rbac.yaml").read_text()))
    for rule in role["rules"]:
        if "inferenceservices" in rule["resources"]:
            rule["verbs"] = [verb for verb in rule["verbs"] if verb != "create"]
    (tmp_path / "role.yaml").write_text(yaml.safe_dump(role))
    start_api_server(tmp_path / "role.yaml")
    code, line = check("--apply", "true")
    assert code == 3
    assert 'cannot create resource "inferenceservices"' in line
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
        ("--model-name", "Road Scenes", "--model-name: 'Road Scenes', expected a name"),
        ("--namespace", "my_team", "--namespace: 'my_team', expected a name"),
        ("--destination", "models", "models: no object store URI, expected s3://bucket/key"),
        ("--version", "v 1", "--version: 'v 1', expected up to 63 letters"),
        ("--min-iou", "90", "--min-iou: 90.0, expected a value in 0..1"),
        ("--deploy-deadline", "0", "--deploy-deadline: 0, expected more than 0 seconds"),
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
        ("--export-precision", "fp16", "argument --export-precision: invalid choice: 'fp16'"),
    ],
)
def test_a_word_that_export_would_refuse_is_refused_before_the_training(
    plan, capfd, flag, value, said
):
    with pytest.raises(SystemExit) as stop:
        main(["--model-name", "road", "--destination", plan.destination, flag, value])
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


@pytest.fixture
def pod(monkeypatch):
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")


@pytest.mark.usefixtures("pod")
def test_in_a_pod_without_credentials_the_secret_is_named(check, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    code, line = check("--object-store-secret", "team-a-store")
    assert code == 3
    assert "Secret team-a-store: no credentials of the object store" in line
    assert "create Secret team-a-store in this namespace" in line


@pytest.mark.usefixtures("pod")
def test_in_a_pod_the_secret_of_refused_credentials_is_named(check, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    code, line = check()
    assert code == 3
    assert "SignatureDoesNotMatch" in line
    assert "they come from Secret segmentor-object-store" in line


@pytest.mark.usefixtures("pod")
def test_a_data_set_whose_shards_are_gone_is_converted_again_and_found_after_that(
    check, plan, store, tmp_path, capfd
):
    write_small_export(tmp_path / "task.zip")
    source = datasets_of(plan.destination).parent().child("exports/task.zip")
    store.ensure_bucket(source.bucket)
    store.upload_file(tmp_path / "task.zip", source)

    def state() -> str:
        path = tmp_path / "state"
        code, line = check("--source", str(source), "--source-state", str(path))
        assert code == 0, line
        return path.read_text()

    def convert(expected: str) -> Dataset:
        outputs = ("dataset", "label-report", "label-metrics")
        flags = [part for name in outputs for part in (f"--{name}", str(tmp_path / name))]
        flags += ["--source-state", expected, "--destination", plan.destination]
        assert convert_labels(["--source", str(source), *flags]) == 0
        return Dataset(tmp_path / "dataset")

    first = state()
    dataset = convert(first)
    images = [dataset.image_content(sample) for sample in dataset.samples]
    assert state() == first
    # The record in the store is a data set as well.
    (record,) = [
        uri.parent()
        for uri in store.list_keys(datasets_of(plan.destination))
        if uri.key.endswith("/samples.jsonl.gz")
    ]
    store.download(record, tmp_path / "record")
    assert list(Dataset(tmp_path / "record")) == list(dataset)
    # KFP's cache would go on returning the data set.
    for uri in list(store.list_keys(datasets_of(plan.destination).child("shards"))):
        store.remove(uri)
    capfd.readouterr()
    lost = state()
    assert lost == f"{first} {dataset.digest}"
    again = convert(lost)
    assert again.digest == dataset.digest
    assert [again.image_content(sample) for sample in again.samples] == images
    assert state() == first
