"""The InferenceService of a published model, as a manifest."""

import re
from dataclasses import dataclass
from typing import Any

import yaml

from segmentor.errors import ConfigError

API_VERSION = "serving.kserve.io/v1beta1"
MODEL_FORMAT = "onnx-segmentation"
PREFIX = "segmentor.io"
STOP = "serving.kserve.io/stop"
AUTOSCALER = "serving.kserve.io/autoscalerClass"
# The fields of `spec.predictor.model` that this step alone sets. All other fields of the manifest
# are defaults: whoever else sets them owns them.
MODEL_FIELDS = ("storageUri", "runtime", "image", "args")
# Keys of the contract's provenance that an operator looks for on the cluster.
_PROVENANCE = ("git_revision", "config_digest", "checkpoint_digest", "train_dataset_digest")

_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


@dataclass(frozen=True)
class Target:
    """Name and namespace of an InferenceService, and the service account that reads the store."""

    name: str
    namespace: str
    service_account: str

    def __post_init__(self) -> None:
        for flag, value, pattern in (
            ("--model-name", self.name, _NAME),
            ("--namespace", self.namespace, _NAMESPACE),
        ):
            if not pattern.fullmatch(value):
                raise ConfigError(flag, f"'{value}'", f"a name that matches {pattern.pattern}")
        # KServe uses the first as a label of a host name and the second as a label of the pods.
        for label in (f"{self.name}-predictor-{self.namespace}", f"isvc.{self.name}-predictor"):
            if len(label) > 63:
                raise ConfigError(
                    "--model-name",
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


def render_inference_service(
    target: Target,
    storage_uri: str,
    version: str,
    model_digest: str,
    image: str = "",
    provenance: dict[str, Any] | None = None,
    test_digest: str = "",
) -> dict[str, Any]:
    """Return the manifest: what this step decides, and defaults of the pods and their rollout.

    It does not name replicas, resources or scaling: with server-side apply they stay with whoever
    owns them (manifests/), and a deployment never resets them.

    Args:
        target: Name, namespace, service account.
        storage_uri: Address of the published version, with its trailing slash.
        version: The model's version.
        model_digest: Digest of model.onnx.
        image: Container image of the predictor; '' takes the ServingRuntime's.
        provenance: The contract's provenance.
        test_digest: Digest of the data set that the model was evaluated on.
    """
    annotations = {
        # The default differs between KServe's chart and its manifests, and the mode cannot be
        # changed afterwards.
        "serving.kserve.io/deploymentMode": "Standard",
        # One replica needs no HorizontalPodAutoscaler.
        AUTOSCALER: "none",
        # KServe copies these to the pods: they tell this deployment's pods from an earlier one's.
        f"{PREFIX}/version": version,
        f"{PREFIX}/model-digest": model_digest,
        f"{PREFIX}/test-dataset-digest": test_digest,
    }
    if image:
        annotations[f"{PREFIX}/predictor-image"] = image
    for key in _PROVENANCE:
        if provenance and provenance.get(key):
            annotations[f"{PREFIX}/{key.replace('_', '-')}"] = str(provenance[key])
    return {
        **target.reference,
        "metadata": {
            **target.reference["metadata"],
            "labels": {"app.kubernetes.io/part-of": "segmentor"},
            "annotations": annotations,
        },
        "spec": {"predictor": _predictor(target, storage_uri, version, model_digest, image)},
    }


def _predictor(
    target: Target, storage_uri: str, version: str, model_digest: str, image: str
) -> dict[str, Any]:
    predictor: dict[str, Any] = {
        "model": {
            "modelFormat": {"name": MODEL_FORMAT, "version": "1"},
            "runtime": MODEL_FORMAT,
            "protocolVersion": "v2",
            "storageUri": storage_uri,
            # KServe takes it in place of the runtime's image.
            **({"image": image} if image else {}),
            # KServe appends them to the runtime's: the predictor refuses any other model.
            "args": [f"--model_version={version}", f"--model_digest={model_digest}"],
        },
        # Longer than the runtime's preStop pause (5 s) and the server's own grace (30 s).
        "terminationGracePeriodSeconds": 45,
        # Otherwise the old pod would end before the new one can answer.
        "deploymentStrategy": {
            "type": "RollingUpdate",
            "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1},
        },
        # KServe's init container has no context of its own and takes the pod's.
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
    }
    if target.service_account:
        predictor["serviceAccountName"] = target.service_account
    return predictor


def stopped(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return the manifest with the annotation at which KServe ends the pods."""
    annotations = {**manifest["metadata"]["annotations"], STOP: "true"}
    return {**manifest, "metadata": {**manifest["metadata"], "annotations": annotations}}


class _Dumper(yaml.SafeDumper):
    """Quotes text that a YAML 1.2 or Go parser could take for a number, such as 12e456789012."""


def _represent_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    style = '"' if re.match(r"[-+.]?\d", text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def to_yaml(manifest: dict[str, Any]) -> str:
    """Return the manifest as YAML."""
    return yaml.dump(manifest, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
