import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from components.deploy.kserve.inference_service import Target, render_inference_service, to_yaml

TARGET = Target("road", "vision", "segmentor-predictor")


def _render(version="v1", target=TARGET, provenance=None):
    return render_inference_service(
        target, f"s3://models/road/{version}/", version, "sha256:ab", "", provenance, "sha256:cd"
    )


@given(st.text("0123456789abcdef", min_size=12, max_size=12))
def test_every_version_stays_text_for_any_yaml_reader(version):
    text = to_yaml(_render(version))
    assert yaml.safe_load(text) == _render(version)
    (line,) = [line for line in text.splitlines() if "segmentor.io/version" in line]
    value = line.split(": ", 1)[1]
    assert value in (f'"{version}"', f"'{version}'") or value[0] in "abcdef"


@pytest.mark.parametrize("version", ["12e456789012", "123456789012", "0x12", ".5", "-1"])
def test_what_looks_like_a_number_is_quoted(version):
    assert f'"{version}"' in to_yaml(_render(version))


def test_provenance_becomes_annotations():
    annotations = _render(provenance={"config_digest": 7, "git_revision": "abc", "metrics": {}})[
        "metadata"
    ]["annotations"]
    assert annotations["segmentor.io/config-digest"] == "7"
    assert annotations["segmentor.io/git-revision"] == "abc"
    assert all(isinstance(value, str) for value in annotations.values())


def test_no_service_account_means_the_namespaces_default():
    manifest = _render(target=Target("road", "vision", ""))
    assert "serviceAccountName" not in manifest["spec"]["predictor"]


def test_pods_of_any_name_may_run_where_the_restricted_standard_is_enforced():
    """No overlay knows this InferenceService, so the step sets every field."""
    context = _render()["spec"]["predictor"]["securityContext"]
    assert context == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
