"""The InferenceService of a published model, as a manifest."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from segmentor.errors import ConfigError

API_VERSION = "serving.kserve.io/v1beta1"
MODEL_FORMAT = "onnx-segmentation"
PREFIX = "segmentor.io"
STOP = "serving.kserve.io/stop"
# What is said for an InferenceService that this step makes, and left to whoever else says it.
DEFAULTS = ("terminationGracePeriodSeconds", "deploymentStrategy", "securityContext")
# Facts of the contract's provenance that an operator looks for on the cluster.
_PROVENANCE = ("git_revision", "config_digest", "checkpoint_digest", "train_dataset_digest")

_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


@dataclass(frozen=True)
class Target:
    """Which InferenceService, where, and whose secret reads the object store."""

    name: str
    namespace: str
    service_account: str

    def __post_init__(self) -> None:
        for flag, value, pattern in (
            ("--name", self.name, _NAME),
            ("--namespace", self.namespace, _NAMESPACE),
        ):
            if not pattern.fullmatch(value):
                raise ConfigError(flag, f"'{value}'", f"a name that matches {pattern.pattern}")
        # KServe makes a host name's label of the first, and of the second a label of the pods.
        for label in (f"{self.name}-predictor-{self.namespace}", f"isvc.{self.name}-predictor"):
            if len(label) > 63:
                raise ConfigError(
                    "--name",
                    f"'{label}', {len(label)} characters",
                    "at most 63",
                    "choose a shorter name",
                )

    @property
    def reference(self) -> dict[str, Any]:
        """The InferenceService's kind, name and namespace, as a manifest has them."""
        return {
            "apiVersion": API_VERSION,
            "kind": "InferenceService",
            "metadata": {"name": self.name, "namespace": self.namespace},
        }


def digest_argument(model_digest: str) -> str:
    """The predictor's argument that names its model: it tells one version's pods from another's."""
    return f"--model_digest={model_digest}"


def render_inference_service(
    target: Target,
    storage_uri: str,
    version: str,
    model_digest: str,
    provenance: dict[str, Any],
    test_digest: str,
) -> dict[str, Any]:
    """Returns the manifest: what this step decides, and defaults of the pods and their rollout.

    Replicas, resources and scaling are not in it: with server-side apply they stay with whoever
    owns them (manifests/), and a deployment never resets them.

    Args:
        target: Name, namespace, service account.
        storage_uri: Of the published version, with its trailing slash.
        version: Of the model.
        model_digest: Of model.onnx.
        provenance: Of the model's contract.
        test_digest: Of the data set that the model was evaluated on.
    """
    annotations = {
        # Always said: the default differs between KServe's chart and its manifests, and the mode
        # cannot be changed afterwards.
        "serving.kserve.io/deploymentMode": "Standard",
        f"{PREFIX}/version": version,
        f"{PREFIX}/model-digest": model_digest,
        f"{PREFIX}/test-dataset-digest": test_digest,
    }
    for key in _PROVENANCE:
        if provenance.get(key):
            annotations[f"{PREFIX}/{key.replace('_', '-')}"] = str(provenance[key])
    return {
        **target.reference,
        "metadata": {
            **target.reference["metadata"],
            "labels": {"app.kubernetes.io/part-of": "segmentor"},
            "annotations": annotations,
        },
        "spec": {"predictor": _predictor(target, storage_uri, version, model_digest)},
    }


def _predictor(target: Target, storage_uri: str, version: str, model_digest: str) -> dict[str, Any]:
    predictor: dict[str, Any] = {
        "model": {
            "modelFormat": {"name": MODEL_FORMAT, "version": "1"},
            "runtime": MODEL_FORMAT,
            "protocolVersion": "v2",
            "storageUri": storage_uri,
            # Put behind the runtime's own: the predictor refuses to start with any other model.
            "args": [f"--model_version={version}", digest_argument(model_digest)],
        },
        # More than the runtime's preStop pause (5 s) and the server's own grace (30 s).
        "terminationGracePeriodSeconds": 45,
        # Without it the old pod would go before the new one can answer.
        "deploymentStrategy": {
            "type": "RollingUpdate",
            "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1},
        },
        # KServe's init container has no context of its own, and takes the pod's.
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
    }
    if target.service_account:
        predictor["serviceAccountName"] = target.service_account
    return predictor


def without_what_others_set(
    manifest: dict[str, Any], live: dict[str, Any] | None, manager: str
) -> dict[str, Any]:
    """Leaves out of the manifest the defaults that another field manager has set in its own way.

    A predictor with one GPU, for example, must end its old pod first: overlays/gpu says so, and
    applying our default over it would leave the new pod waiting for a second device.

    Args:
        manifest: Of render_inference_service.
        live: The object on the cluster; None when there is none.
        manager: Whose fields do not count: this step's.
    """
    owned = {
        field.removeprefix("f:")
        for entry in (live or {}).get("metadata", {}).get("managedFields", [])
        if entry.get("manager") != manager
        for field in entry.get("fieldsV1", {}).get("f:spec", {}).get("f:predictor", {})
    }
    predictor = {
        key: value
        for key, value in manifest["spec"]["predictor"].items()
        if key not in DEFAULTS or key not in owned
    }
    return {**manifest, "spec": {"predictor": predictor}}


def stopped(manifest: dict[str, Any]) -> dict[str, Any]:
    """Returns the manifest with the mark at which KServe ends an InferenceService's pods."""
    annotations = {**manifest["metadata"]["annotations"], STOP: "true"}
    return {**manifest, "metadata": {**manifest["metadata"], "annotations": annotations}}


class _Dumper(yaml.SafeDumper):
    """Quotes what a YAML 1.2 or Go parser could take for a number, as version 12e456789012."""


def _represent_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    style = '"' if re.match(r"[-+.]?\d", text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def to_yaml(manifest: dict[str, Any]) -> str:
    """Returns the manifest's text."""
    return yaml.dump(manifest, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def render_serving_runtime(namespace: str, image: str) -> dict[str, Any]:
    """Returns the ServingRuntime of manifests/, in a namespace, with a container image."""
    text = Path(__file__).with_name("serving_runtime.yaml").read_text(encoding="utf-8")
    manifest: dict[str, Any] = yaml.safe_load(text)
    manifest["metadata"]["namespace"] = namespace
    manifest["spec"]["containers"][0]["image"] = image
    return manifest
