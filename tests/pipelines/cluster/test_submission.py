"""Submitting to a server that checks every request against kfp-server-api's own models."""

import io
import json

import pytest
from kubernetes.config import kube_config
from submitting import SOURCE, submitted

from pipelines.cluster import submission
from pipelines.cluster.submission import submit, version_name
from pipelines.compilation import SEGMENTATION_YAML, SWEEP_YAML, with_registry
from pipelines.parameters import load_pipeline, pipeline_parameters
from tests.emulators.kfp_server import Records


def test_a_first_submission_makes_pipeline_version_experiment_and_run(server):
    result, said = submitted(server, {**SOURCE, "seed": "7", "apply": "true"})
    records: Records = server[1]
    assert [item["display_name"] for item in records.pipelines] == ["segmentation"]
    assert [item["display_name"] for item in records.versions] == [version_name(SEGMENTATION_YAML)]
    assert [item["display_name"] for item in records.experiments] == ["segmentation"]
    run = records.runs[0]
    # *Clone run* fills in what was sent and leaves the other fields empty.
    defaults = {name: item.default for name, item in pipeline_parameters(SEGMENTATION_YAML).items()}
    given = {**SOURCE, "seed": 7, "apply": True}
    assert run["runtime_config"]["parameters"] == {**defaults, **given}
    assert run["pipeline_version_reference"] == {
        "pipeline_id": result.pipeline_id,
        "pipeline_version_id": result.version_id,
    }
    assert result.link == f"{server[0]}/#/runs/details/{result.run_id}"
    assert result.link in said


@pytest.mark.parametrize("user", [{}, {"token": "t"}], ids=["anonymous", "token"])
def test_without_an_endpoint_kubectls_cluster_is_asked_for_kfp(server, tmp_path, monkeypatch, user):
    """Whosever namespace the run is for; with a token, kubectl's client sets the address anew."""
    address, records = server
    records.proxy = "/api/v1/namespaces/kubeflow/services/ml-pipeline:http/proxy"
    value = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": address}}],
        "users": [{"name": "u", "user": user}],
    }
    kubeconfig = tmp_path / "config"
    kubeconfig.write_text(json.dumps(value))
    monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(kubeconfig))
    stream = io.StringIO()
    where = {"KUBECONFIG": str(kubeconfig)}
    result = submit(SOURCE, namespace="team-a", environment=where, stream=stream)
    assert records.runs
    assert records.pipelines[0]["namespace"] == "team-a"
    assert result.link == f"http://localhost:8080/#/runs/details/{result.run_id}"
    assert "kubectl port-forward --namespace kubeflow service/ml-pipeline-ui" in stream.getvalue()


def test_what_is_uploaded_is_the_committed_file(server):
    submitted(server)
    assert server[1].versions[0]["pipeline_spec"] == load_pipeline(SEGMENTATION_YAML)


def test_a_second_submission_uploads_nothing_and_runs_again(server):
    first, _ = submitted(server)
    second, _ = submitted(server)
    assert (first.pipeline_id, first.version_id) == (second.pipeline_id, second.version_id)
    assert first.experiment_id == second.experiment_id
    assert len(server[1].runs) == 2


def test_another_file_of_the_same_revision_is_another_version(server, tmp_path):
    submitted(server)
    changed = tmp_path / "changed.yaml"
    changed.write_text(SEGMENTATION_YAML.read_text() + "\n# changed\n")
    submitted(server, pipeline=changed)
    assert len({item["display_name"] for item in server[1].versions}) == 2
    assert len(server[1].pipelines) == 1


def test_with_a_registry_a_run_from_the_ui_starts_with_its_images(server):
    for _ in range(2):
        with with_registry(SEGMENTATION_YAML, "registry.example/vision") as path:
            submitted(server, pipeline=path)
    (version,) = server[1].versions
    declared = version["pipeline_spec"]["root"]["inputDefinitions"]["parameters"]
    for name in ("data", "trainer", "predictor"):
        image = f"registry.example/vision/segmentor-{name}:0.1.0"
        assert declared[f"{name}_image"]["defaultValue"] == image
        assert server[1].runs[0]["runtime_config"]["parameters"][f"{name}_image"] == image


def test_versions_of_two_pipelines_have_two_names(server):
    submitted(server)
    submitted(server, pipeline=SWEEP_YAML)
    one, two = server[1].versions
    assert one["display_name"].startswith("segmentation-0.1.0")
    assert two["display_name"].startswith("segmentation-sweep-0.1.0")


def test_kfp_takes_the_tags_of_a_version_between_releases(server, monkeypatch):
    monkeypatch.setattr(submission, "version", lambda _package: "0.2.0.dev13+g71e72917804b")
    monkeypatch.setattr(submission, "source_revision", lambda: "")
    submitted(server)
    assert len(server[1].versions) == 1


def test_service_account_namespace_experiment_and_name_reach_the_server(server):
    submitted(
        server,
        namespace="team-a",
        experiment="roads",
        run_name="first",
        service_account="default-editor",
    )
    records = server[1]
    assert records.pipelines[0]["namespace"] == "team-a"
    assert records.experiments[0]["namespace"] == "team-a"
    assert records.experiments[0]["display_name"] == "roads"
    assert records.runs[0]["display_name"] == "first"
    assert records.runs[0]["service_account"] == "default-editor"


def test_credentials_come_from_the_environment(server, tmp_path):
    submitted(server, variables={"KF_PIPELINES_TOKEN": "t0ken"})
    assert {item.get("authorization") for item in server[1].headers} == {"Bearer t0ken"}
    server[1].headers.clear()
    submitted(server, variables={"KF_PIPELINES_COOKIES": "authservice_session=abc"})
    assert {item.get("Cookie") for item in server[1].headers} == {"authservice_session=abc"}
    server[1].headers.clear()
    (tmp_path / "token").write_text("pr0jected")
    submitted(server, variables={"KF_PIPELINES_SA_TOKEN_PATH": str(tmp_path / "token")})
    assert {item.get("authorization") for item in server[1].headers} == {"Bearer pr0jected"}


def test_a_rerun_from_the_ui_needs_nothing_of_this_machine(server):
    """What the UI's clone form sends: the version and the shown parameters, as plain values."""
    submitted(server)
    version = server[1].versions[0]
    declared = version["pipeline_spec"]["root"]["inputDefinitions"]["parameters"]
    shown = {name: item.get("defaultValue", "s3://b/x.zip") for name, item in declared.items()}
    text = json.dumps(version["pipeline_spec"])
    assert str(SEGMENTATION_YAML.parent.parent) not in text
    assert all("description" in item for item in declared.values())
    images = [
        item["container"]["image"]
        for item in version["pipeline_spec"]["deploymentSpec"]["executors"].values()
    ]
    assert all(image.startswith("{{$.inputs.parameters['pipelinechannel--") for image in images)
    submitted(server, {name: value for name, value in shown.items() if name != "seed"})
