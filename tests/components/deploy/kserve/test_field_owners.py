"""One owner a field: overlays are applied at any time, and the deployed version stays."""

import functools
from dataclasses import replace

import pytest
import yaml

from components.deploy.deployment import deploy
from components.deploy.kserve.caller import DEPLOYER
from components.deploy.kserve.field_owners import earlier_values, leave_to_others
from components.deploy.kserve.inference_service import Target, render_inference_service
from components.kubernetes_api import Cluster
from segmentor.errors import DeployError
from tests.components.deploy.conftest import NAMESPACE, ApiServer
from tests.components.deploy.deploy_builders import scaled, serving_runtime, write_artifacts
from tests.emulators.fake_pods import MISSING_IMAGE
from tests.manifests.overlays import OVERLAYS

SERVICES = f"/apis/serving.kserve.io/v1beta1/namespaces/{NAMESPACE}/inferenceservices"
TARGET = Target("segmentation", NAMESPACE, "segmentor-predictor")


def _live(server: ApiServer) -> dict:
    return server.request("GET", f"{SERVICES}/segmentation").json()


def _model(server: ApiServer) -> dict:
    return _live(server)["spec"]["predictor"]["model"]


def _apply_overlay(server: ApiServer, documents: dict) -> dict[tuple[str, str], str]:
    """Apply as `kubectl apply --server-side` does; return the resource versions."""
    versions = {}
    for key, document in documents.items():
        response = server.apply(document)
        assert response.status_code == 200, (key, response.text)
        # The fake KServe may write the status of an InferenceService in between.
        metadata = response.json()["metadata"]
        is_service = key[0] == "InferenceService"
        versions[key] = metadata["generation" if is_service else "resourceVersion"]
    return versions


def _require_twice_alike(server: ApiServer, documents: dict) -> None:
    before = _live(server)
    first = _apply_overlay(server, documents)
    assert _apply_overlay(server, documents) == first
    after = _live(server)
    assert after["spec"] == before["spec"]
    assert after["metadata"]["managedFields"] == before["metadata"]["managedFields"]


def _owned(live: dict, manager: str) -> set[str]:
    def paths(tree: dict, above: str):
        for field, below in tree.items():
            path = f"{above}.{field.removeprefix('f:')}"
            yield from paths(below, path) if below else [path]

    entries = [e for e in live["metadata"]["managedFields"] if e["manager"] == manager]
    return {path for entry in entries for path in paths(entry["fieldsV1"], "")}


def test_the_local_overlay_is_applied_at_any_time(api_server, plan, rendered, tmp_path):
    documents = rendered("local")
    _apply_overlay(api_server, documents)
    # Before the first deployment: no pod, no Deployment.
    _require_twice_alike(api_server, documents)
    assert "storageUri" not in _model(api_server)
    deployments = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
    assert api_server.request("GET", f"{deployments}/segmentation-predictor").status_code == 404
    runtime = api_server.runtime()

    here = replace(plan, target=TARGET)
    deploy(*write_artifacts(tmp_path / "v1"), replace(here, version="v1"))
    _require_twice_alike(api_server, documents)
    served = _model(api_server)
    assert served["storageUri"] == f"{plan.destination}/segmentation/v1/"
    assert served["image"] == "segmentor-predictor:0.1.0"

    with pytest.raises(DeployError, match="segmentation/v1/, which is ready"):
        deploy(
            *write_artifacts(tmp_path / "v2", gain=0.9, fault="noise"),
            replace(here, version="v2", predictor_image="segmentor-predictor:0.2.0"),
        )
    _require_twice_alike(api_server, documents)
    assert _model(api_server) == served

    # As `kubectl label` does where the restricted standard is enforced.
    label = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
    path = f"/api/v1/namespaces/{NAMESPACE}"
    assert api_server.patch(path, "kubectl-label", label).status_code == 200
    _require_twice_alike(api_server, documents)
    # The step has touched nothing but its InferenceService.
    assert api_server.runtime() == runtime


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_each_overlay_and_the_step_own_different_fields(api_server, rendered, overlay):
    documents = rendered(overlay)
    _apply_overlay(api_server, documents)
    cluster = Cluster(DEPLOYER)
    render = functools.partial(
        render_inference_service, TARGET, "s3://m/segmentation/v1/", "v1", "sha256:ab", "image:1"
    )
    cluster.apply(leave_to_others(render({"git_revision": "a"}), _live(api_server)))
    _require_twice_alike(api_server, documents)
    live = _live(api_server)
    model = ".spec.predictor.model"
    assert _owned(live, "segmentor-deploy") == {
        *(f"{model}.{field}" for field in ("storageUri", "runtime", "image", "args")),
        *(
            f".metadata.annotations.segmentor.io/{name}"
            for name in (
                *("version", "model-digest", "test-dataset-digest"),
                *("predictor-image", "git-revision"),
            )
        ),
    }
    assert not _owned(live, "segmentor-deploy") & _owned(live, "kubectl")

    # A rollback removes what the failed version had brought, and brings back what it had removed.
    failed = render_inference_service(
        TARGET, "s3://m/segmentation/v2/", "v2", "sha256:cd", "", {"config_digest": "b"}
    )
    applied = leave_to_others(failed, live)
    cluster.apply(applied)
    assert "image" not in _model(api_server)
    cluster.apply(earlier_values(applied, live))
    _require_twice_alike(api_server, documents)
    again = _live(api_server)
    assert _owned(again, "segmentor-deploy") == _owned(live, "segmentor-deploy")
    for part in ("annotations", "labels"):
        assert again["metadata"][part] == live["metadata"][part]
    assert again["spec"] == live["spec"]


def test_a_service_that_only_this_step_applies_is_whole(api_server, plan, tmp_path):
    deploy(*write_artifacts(tmp_path / "v1"), plan)
    predictor = api_server.service()["spec"]["predictor"]
    assert predictor["serviceAccountName"] == "segmentor-predictor"
    assert predictor["model"]["modelFormat"]["name"] == "onnx-segmentation"


def test_an_image_that_fails_is_taken_back_with_its_version(api_server, plan, tmp_path):
    deploy(*write_artifacts(tmp_path / "v1"), replace(plan, version="v1"))
    before = api_server.service()["spec"]
    with pytest.raises(DeployError) as failure:
        deploy(
            *write_artifacts(tmp_path / "v2", gain=0.9),
            replace(plan, version="v2", predictor_image=MISSING_IMAGE),
        )
    said = f"segmentor/road: the image {MISSING_IMAGE} cannot be pulled (Back-off pulling image"
    assert said in str(failure.value)
    assert "road/v1/, which is ready" in str(failure.value)
    assert api_server.service()["spec"] == before


def test_the_image_belongs_to_one_model(api_server, plan, tmp_path):
    """The same model under another image gets new pods, and another model's pods stay."""
    deploy(*write_artifacts(tmp_path / "v1"), plan)
    other = replace(plan, target=replace(plan.target, name="lake"), predictor_image="")
    deploy(*write_artifacts(tmp_path / "lake"), other)
    lake = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/lake-predictor"
    before = api_server.request("GET", lake).json()
    newer = replace(plan, predictor_image="segmentor-predictor:0.2.0")
    deploy(*write_artifacts(tmp_path / "again"), newer)
    assert api_server.deployed_image() == "segmentor-predictor:0.2.0"
    assert api_server.request("GET", lake).json() == before
    # Without an image of its own it is served by the runtime's.
    assert api_server.request("GET", lake).json()["metadata"]["generation"] == 1
    deploy(*write_artifacts(tmp_path / "last"), replace(plan, predictor_image=""))
    assert api_server.deployed_image() == "segmentor-predictor:0.1.0"


def test_a_manifest_that_is_refused_leaves_everything_as_it_was(api_server, plan, tmp_path):
    deploy(*write_artifacts(tmp_path / "v1"), replace(plan, version="v1"))
    before = api_server.service()

    class Refusing(Cluster):
        def apply(self, manifest):
            raise DeployError("road", "HTTP 400 from the API server", remedy="ask it")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("components.deploy.deployment.Cluster", Refusing)
        with pytest.raises(DeployError, match="ask it; the InferenceService is as it was before"):
            deploy(*write_artifacts(tmp_path / "v2", gain=0.9), replace(plan, version="v2"))
    assert api_server.service()["spec"] == before["spec"]


OLDER_RULES = [
    {
        "apiGroups": ["serving.kserve.io"],
        "resources": ["servingruntimes"],
        "verbs": ["get", "create", "patch"],
    }
]


def _older_installation(server: ApiServer, rendered, destination: str) -> None:
    """As 0.1.0 before 2026-12 left it: overlays named the version, the step set the image."""
    for key, document in rendered("local").items():
        if key[0] == "InferenceService":
            model = document["spec"]["predictor"]["model"]
            named = {"storageUri": "s3://models/segmentation/v1/", "runtime": "onnx-segmentation"}
            model = {**model, **named}
            predictor = {**document["spec"]["predictor"], "model": model}
            document = {**document, "spec": {"predictor": predictor}}
        assert server.apply(document).status_code == 200
    image = serving_runtime("registry.example/segmentor-predictor:0.1.0")
    containers = {**image, "spec": {"containers": image["spec"]["containers"]}}
    assert server.apply(containers, "segmentor-deploy", force=True).status_code == 200
    applied = render_inference_service(TARGET, f"{destination}/segmentation/v0/", "v0", "sha256:ab")
    assert server.apply(applied, "segmentor-deploy", force=True).status_code == 200


def test_an_older_installation_is_taken_over_by_the_first_deployment(
    start_api_server, repository, plan, rendered, tmp_path
):
    role = tmp_path / "role.yaml"
    text = (repository / "manifests/base/deployer_rbac.yaml").read_text()
    rules = next(yaml.safe_load_all(text))["rules"]
    role.write_text(yaml.safe_dump({"rules": [*rules, *OLDER_RULES]}))
    server = start_api_server(role)
    _older_installation(server, rendered, plan.destination)
    documents = rendered("local")
    conflict = server.apply(documents["ServingRuntime", "onnx-segmentation"])
    assert "conflict with segmentor-deploy: .spec.containers" in conflict.text

    deploy(*write_artifacts(tmp_path / "v1"), replace(plan, target=TARGET, version="v1"))
    _apply_overlay(server, documents)
    _require_twice_alike(server, documents)
    live = _live(server)
    assert not _owned(live, "segmentor-deploy") & _owned(live, "kubectl")
    assert live["spec"]["predictor"]["model"]["storageUri"].endswith("/segmentation/v1/")
    assert _owned(server.runtime(), "segmentor-deploy") == set()


def test_under_the_new_role_an_older_runtime_is_left_alone(api_server, plan, rendered, tmp_path):
    _older_installation(api_server, rendered, plan.destination)
    before = api_server.runtime()
    deploy(*write_artifacts(tmp_path / "v1"), replace(plan, target=TARGET, version="v1"))
    assert api_server.runtime() == before


def test_without_an_operator_there_is_one_replica_and_no_autoscaler(api_server):
    target = Target("road", NAMESPACE, "segmentor-predictor")
    ours = render_inference_service(target, "s3://m/road/v1/", "v1", "sha256:ab")
    annotation = "serving.kserve.io/autoscalerClass"
    assert leave_to_others(ours, None)["metadata"]["annotations"][annotation] == "none"
    # Whoever sets the number of replicas says how they scale.
    assert api_server.apply(scaled(NAMESPACE, 2)).status_code == 200
    applied = leave_to_others(ours, api_server.service())
    assert annotation not in applied["metadata"]["annotations"]


def test_what_others_set_is_left_to_them(api_server):
    manifest = scaled(NAMESPACE, 1)
    manifest["metadata"]["labels"] = {"app.kubernetes.io/part-of": "vision"}
    manifest["spec"]["predictor"]["serviceAccountName"] = "of-the-team"
    assert api_server.apply(manifest).status_code == 200
    target = Target("road", NAMESPACE, "segmentor-predictor")
    ours = render_inference_service(target, "s3://m/road/v1/", "v1", "sha256:ab")
    Cluster(DEPLOYER).apply(leave_to_others(ours, api_server.service()))
    live = api_server.service()
    assert live["metadata"]["labels"] == {"app.kubernetes.io/part-of": "vision"}
    assert live["spec"]["predictor"]["serviceAccountName"] == "of-the-team"
    assert api_server.apply(manifest).status_code == 200
