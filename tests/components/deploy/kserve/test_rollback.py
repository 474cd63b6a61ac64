"""What a deployment leaves behind when it ends early, for whatever reason."""

import functools
from dataclasses import replace

import pytest
import requests

from components.deploy.deployment import deploy
from components.deploy.kserve import rollout as kserve_rollout
from components.deploy.kserve.live_service import served_now
from components.deploy.kserve.waiting import Patience
from segmentor.errors import DeployError, ImageError
from segmentor.object_store import ObjectStore
from segmentor.object_uri import ObjectUri
from tests.components.deploy.conftest import NAMESPACE
from tests.components.deploy.deploy_builders import scaled, write_artifacts

STOP = "serving.kserve.io/stop"


def _served(server) -> str:
    """The version that is to be served, '' when the service is stopped."""
    live = server.service()
    if live["metadata"]["annotations"].get(STOP) == "true":
        return ""
    return live["spec"]["predictor"]["model"]["storageUri"].rstrip("/").rsplit("/", 1)[-1]


@pytest.fixture
def instead_of_the_golden_request(monkeypatch):
    """Run something in its place, once."""
    real = kserve_rollout.check_served

    def place(action):
        def once(*_arguments):
            monkeypatch.setattr(kserve_rollout, "check_served", real)
            action()

        monkeypatch.setattr(kserve_rollout, "check_served", once)

    return place


def test_failures_leave_it_stopped_until_a_good_version_starts_it(api_server, plan, tmp_path):
    """A version that was stopped is neither rolled back to, nor a champion to be beaten."""
    best = {f"image-{index}": 0.99 for index in range(8)}
    for version, gain in (("v1", 1.0), ("v2", 0.9)):
        artifacts = write_artifacts(tmp_path / version, best, fault="noise", gain=gain)
        with pytest.raises(DeployError, match="so it is stopped .annotation serving.kserve.io/sto"):
            deploy(*artifacts, replace(plan, version=version))
        assert _served(api_server) == ""
    poorer = {f"image-{index}": 0.8 for index in range(8)}
    deploy(*write_artifacts(tmp_path / "v3", poorer), replace(plan, version="v3"))
    assert _served(api_server) == "v3"
    url = api_server.service()["status"]["address"]["url"]
    assert requests.get(f"{url}/v1/models/road", timeout=10).status_code == 200


def test_whatever_ends_a_deployment_early_is_rolled_back_and_raised(
    api_server, plan, tmp_path, instead_of_the_golden_request, caplog
):
    deploy(*write_artifacts(tmp_path / "v1"), replace(plan, version="v1"))
    for error, message, waited in (
        (ImageError("0.png", "x", "y", "mend it"), "mend it; rolled back to .*ready", "is ready"),
        (ZeroDivisionError("a bug"), "a bug", "is ready"),
        (KeyboardInterrupt("stop"), "stop", "not waited for"),
        (SystemExit(143), "143", "not waited for"),
    ):
        instead_of_the_golden_request(functools.partial(_raise, error))
        caplog.clear()
        with pytest.raises(type(error), match=message):
            deploy(*write_artifacts(tmp_path / "v2", gain=0.9), replace(plan, version="v2"))
        assert _served(api_server) == "v1"
        assert waited in caplog.text


def _raise(error):
    raise error


def test_a_rollback_leaves_a_newer_deployment_alone(
    api_server, plan, tmp_path, instead_of_the_golden_request
):
    deploy(*write_artifacts(tmp_path / "v1"), replace(plan, version="v1"))

    def overtake():
        deploy(*write_artifacts(tmp_path / "v3", gain=0.8), replace(plan, version="v3"))
        raise DeployError("golden", "an answer of another model")

    instead_of_the_golden_request(overtake)
    said = r"road/v3/ \(version v3\) was deployed meanwhile, and nothing of it"
    with pytest.raises(DeployError, match=said):
        deploy(
            *write_artifacts(tmp_path / "v2", gain=0.9),
            replace(plan, version="v2", predictor_image="segmentor-predictor:0.2.0"),
        )
    assert _served(api_server) == "v3"


def test_of_two_versions_of_the_same_bytes_one_is_served_and_the_other_says_so(
    api_server, plan, tmp_path, instead_of_the_golden_request
):
    """Each pod of either would answer with the digest that both wait for."""
    other = write_artifacts(tmp_path / "vb")
    instead_of_the_golden_request(lambda: deploy(*other, replace(plan, version="vb")))
    with pytest.raises(DeployError) as failure:
        deploy(*write_artifacts(tmp_path / "va"), replace(plan, version="va"))
    assert "road/vb/ (version vb) was deployed meanwhile, expected s3://" in str(failure.value)
    assert "road/va/ (version va)" in str(failure.value)
    assert _served(api_server) == "vb"


def test_waiting_ends_at_once_when_another_version_takes_over(api_server, plan, tmp_path, caplog):
    """Its own pods never come: they would be waited for until the deadline."""
    deploy(*write_artifacts(tmp_path / "v1"), replace(plan, version="v1"))
    other = scaled(NAMESPACE, 1)
    other["spec"]["predictor"]["model"]["storageUri"] = "s3://models/road/v9/"
    other["metadata"]["annotations"] = {"segmentor.io/model-digest": "sha256:9"}

    class Overtaken(kserve_rollout.Cluster):
        def apply(self, manifest):
            applied = super().apply(manifest)
            assert api_server.apply(other, force=True).status_code == 200
            return applied

    artifacts = write_artifacts(tmp_path / "v2", gain=0.9)
    patience = Patience(deadline=600, poll=1.0, failure=600)
    overtaken = replace(plan, version="v2", rollout=replace(plan.rollout, patience=patience))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("components.deploy.deployment.Cluster", Overtaken)
        with pytest.raises(DeployError) as failure:
            deploy(*artifacts, overtaken)
    assert "segmentor/road: s3://models/road/v9/ (version v2) was deployed meanwhile" in str(
        failure.value
    )
    assert _served(api_server) == "v9"


def test_a_service_that_somebody_stopped_is_refused_before_anything_is_published(
    api_server, plan, store, tmp_path
):
    stopped = scaled(NAMESPACE, 1)
    stopped["metadata"]["annotations"] = {STOP: "true"}
    assert api_server.apply(stopped).status_code == 200
    with pytest.raises(DeployError) as failure:
        deploy(*write_artifacts(tmp_path), replace(plan, version="v1"))
    assert "stopped by kubectl (annotation serving.kserve.io/stop)" in str(failure.value)
    assert (
        "nothing was published; start it: kubectl annotate inferenceservice road "
        "--namespace segmentor serving.kserve.io/stop-"
    ) in str(failure.value)
    assert not store.exists(ObjectUri.parse(f"{plan.destination}/road/v1/model.onnx"))


@pytest.mark.parametrize("bucket", ["of-nobody", "of-the-plan"])
def test_a_version_that_was_never_there_is_nothing_to_go_back_to(
    api_server, plan, store, tmp_path, bucket
):
    """As an overlay of an earlier release: it named a version that did not exist yet."""
    overlay = scaled(NAMESPACE, 1)
    uri = f"{plan.destination if bucket == 'of-the-plan' else 's3://of-nobody'}/road/v0/"
    store.ensure_bucket(plan.destination.removeprefix("s3://"))
    overlay["spec"]["predictor"]["model"]["storageUri"] = uri
    assert api_server.apply(overlay).status_code == 200
    with pytest.raises(DeployError) as failure:
        deploy(*write_artifacts(tmp_path / "v1", fault="noise"), replace(plan, version="v1"))
    assert f"nothing was served before ({uri} was not served), so it is stopped" in str(
        failure.value
    )
    assert _served(api_server) == ""


def test_a_version_whose_pods_are_away_for_a_moment_is_gone_back_to(api_server, plan, tmp_path):
    """It lies in the store, so it may come back: no reason to stop it."""
    deploy(*write_artifacts(tmp_path / "v1"), replace(plan, version="v1"))
    live = api_server.service()
    live["status"]["conditions"] = [{"type": "Ready", "status": "False"}]

    class Standing:
        def get(self, _path):
            return live

    assert served_now(Standing(), plan.target, ObjectStore.from_environment()).uri.endswith("/v1/")
