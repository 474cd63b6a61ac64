"""What the deploy step applies, and what its neighbours read, agree with the manifests."""

import yaml

from components.deploy.inference_service import DEFAULTS, Target, render_inference_service
from tests.manifests.overlays import OVERLAYS, service_of
from tests.manifests.schemas import problems


def test_the_deploy_step_and_the_manifests_agree(rendered):
    """Where both say something they say the same, so neither takes a field from the other."""
    applied = render_inference_service(
        Target("segmentation", "segmentor", "segmentor-predictor"),
        "s3://models/segmentation/v2/",
        "v2",
        "sha256:ab",
        {},
        "sha256:cd",
    )
    ours = service_of(rendered("production"))
    assert problems(applied) == []
    model = applied["spec"]["predictor"].pop("model")
    theirs = ours["spec"]["predictor"]["model"]
    assert {key: theirs[key] for key in ("modelFormat", "runtime", "protocolVersion")} == {
        key: model[key] for key in ("modelFormat", "runtime", "protocolVersion")
    }
    for overlay in OVERLAYS:
        theirs = service_of(rendered(overlay))["spec"]["predictor"]
        for key, value in applied["spec"]["predictor"].items():
            # Of what is a default, the manifests may say otherwise: the step leaves it alone.
            assert theirs[key] == value or (overlay, key) == ("gpu", "deploymentStrategy")
    assert set(DEFAULTS) <= set(applied["spec"]["predictor"])
    mode = "serving.kserve.io/deploymentMode"
    assert applied["metadata"]["annotations"][mode] == ours["metadata"]["annotations"][mode]


def test_the_deploy_steps_runtime_is_the_manifests_runtime(repository):
    ours = (repository / "manifests/base/serving_runtime.yaml").read_bytes()
    assert (repository / "components/deploy/serving_runtime.yaml").read_bytes() == ours


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
