"""What the deploy step applies, and what its neighbours read, agree with the manifests."""

import re

import yaml

from components.deploy.kserve.inference_service import (
    MODEL_FIELDS,
    Target,
    render_inference_service,
)
from tests.manifests.overlays import OVERLAYS, runtime_of, service_of
from tests.manifests.schemas import problems


def test_the_deploy_step_and_the_manifests_agree(rendered):
    """What is a default of the step has the manifests' value; what it decides is not in them."""
    applied = render_inference_service(
        Target("segmentation", "segmentor", "segmentor-predictor"),
        "s3://models/segmentation/v2/",
        "v2",
        "sha256:ab",
        "registry.example/segmentor-predictor:1",
    )
    assert problems(applied) == []
    model = applied["spec"]["predictor"].pop("model")
    for overlay in OVERLAYS:
        service = service_of(rendered(overlay))
        theirs = service["spec"]["predictor"]
        assert not set(MODEL_FIELDS) & set(theirs["model"])
        assert {key: model[key] for key in theirs["model"]} == theirs["model"]
        assert set(MODEL_FIELDS) | set(theirs["model"]) == set(model)
        for key, value in applied["spec"]["predictor"].items():
            # A pod with a GPU must end before the next one starts.
            assert theirs[key] == value or (overlay, key) == ("gpu", "deploymentStrategy")
        mode = "serving.kserve.io/deploymentMode"
        assert applied["metadata"]["annotations"][mode] == service["metadata"]["annotations"][mode]
        runtime = runtime_of(rendered(overlay))
        assert model["runtime"] == runtime["metadata"]["name"]
        formats = runtime["spec"]["supportedModelFormats"]
        assert [item["autoSelect"] for item in formats] == [False]


def test_the_file_for_a_fixed_version_is_whole(repository, rendered):
    """It needs nothing that the deploy step would bring."""
    fixed = yaml.safe_load((repository / "manifests/examples/fixed_version.yaml").read_text())
    assert problems(fixed) == []
    documents = rendered("local")
    ours = service_of(documents)
    assert fixed["metadata"]["name"] != ours["metadata"]["name"]
    predictor, model = fixed["spec"]["predictor"], fixed["spec"]["predictor"]["model"]
    assert predictor["serviceAccountName"] == ours["spec"]["predictor"]["serviceAccountName"]
    assert model["runtime"] == runtime_of(documents)["metadata"]["name"]
    # Without the slash the storage-initializer also fetches every longer neighbour.
    assert re.fullmatch(r"s3://[a-z-]+/segmentation/[^/]+/", model["storageUri"])


def test_the_launcher_example_is_what_the_launcher_reads(repository):
    config = yaml.safe_load((repository / "manifests/examples/kfp_launcher.yaml").read_text())
    assert problems(config) == []
    assert config["metadata"]["name"] == "kfp-launcher"
    provider = yaml.safe_load(config["data"]["providers"])["s3"]["default"]
    # Source: kubeflow/pipelines, backend/src/v2/objectstore/config.go (S3ProviderDefault).
    assert set(provider) <= {
        "endpoint", "region", "disableSSL", "forcePathStyle", "maxRetries", "credentials"
    }  # fmt: skip
    assert set(provider["credentials"]["secretRef"]) == {
        "secretName", "accessKeyKey", "secretKeyKey"
    }  # fmt: skip
