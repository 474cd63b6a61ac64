"""What a Kubernetes API server with KServe refuses: unknown fields, wrong types, webhook rules."""

import copy
import functools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes.client
from jsonschema import Draft202012Validator

CRDS = Path(__file__).parent / "crds"
KSERVE_KINDS = {
    ("serving.kserve.io/v1beta1", "InferenceService"): "inferenceservices",
    ("serving.kserve.io/v1alpha1", "ServingRuntime"): "servingruntimes",
}
TRAINER_KINDS = {
    ("trainer.kubeflow.org/v1alpha1", "TrainJob"): "trainjobs",
    ("trainer.kubeflow.org/v1alpha1", "TrainingRuntime"): "trainingruntimes",
}
SCALARS = {"str": str, "int": int, "bool": bool, "float": (int, float), "datetime": str}
MONITORING_KINDS = {
    ("monitoring.coreos.com/v1", "ServiceMonitor"): "servicemonitors",
    ("monitoring.coreos.com/v1", "PrometheusRule"): "prometheusrules",
}


def problems(document: dict[str, Any]) -> list[str]:
    """Return all that a cluster would refuse; empty when it takes the document."""
    kind = (document["apiVersion"], document["kind"])
    if kind in KSERVE_KINDS:
        return [*kserve_problems(document), *webhook_problems(document)]
    if kind in TRAINER_KINDS:
        schema = custom_schema(*kind)
        return [*_schema_problems(document, schema), *_repeated_keys(document, schema, "$")]
    if kind in MONITORING_KINDS:
        return _schema_problems(document, raw_schema(MONITORING_KINDS[kind]))
    if kind[0] == "kustomize.config.k8s.io/v1beta1":
        return []
    return list(core_problems(document, _model_of(document), document["kind"]))


def kserve_problems(document: dict[str, Any]) -> list[str]:
    """Return what the CRD's schema refuses."""
    schema = custom_schema(document["apiVersion"], document["kind"])
    return [*_schema_problems(document, schema), *_repeated_keys(document, schema, "$")]


def tighten(schema: Any) -> Any:
    """Turn a structural schema into JSON Schema: unknown fields are errors, nullable honoured."""
    if isinstance(schema, list):
        return [tighten(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    result = {
        key: {name: tighten(item) for name, item in value.items()}
        if key == "properties"
        else tighten(value)
        for key, value in schema.items()
    }
    preserve = result.get("x-kubernetes-preserve-unknown-fields")
    if "properties" in result and "additionalProperties" not in result and not preserve:
        result["additionalProperties"] = False
    if result.pop("nullable", False) and isinstance(result.get("type"), str):
        result["type"] = [result["type"], "null"]
    if result.pop("x-kubernetes-int-or-string", False):
        result.pop("type", None)
        result.setdefault("anyOf", [{"type": "integer"}, {"type": "string"}])
    return result


@functools.cache
def raw_schema(name: str) -> dict[str, Any]:
    """Return a CRD's structural schema, as the API server has it."""
    schema: dict[str, Any] = json.loads((CRDS / f"{name}.json").read_text(encoding="utf-8"))
    return schema


@functools.cache
def custom_schema(api_version: str, kind: str) -> dict[str, Any]:
    """Return the strict schema of one of KServe's or Trainer's kinds."""
    name = {**KSERVE_KINDS, **TRAINER_KINDS}[api_version, kind]
    schema: dict[str, Any] = tighten(copy.deepcopy(raw_schema(name)))
    schema["properties"].update(
        apiVersion={"const": api_version},
        kind={"const": kind},
        metadata={"type": "object", "required": ["name"]},
    )
    return schema


def _schema_problems(value: Any, schema: dict[str, Any]) -> list[str]:
    errors = Draft202012Validator(schema).iter_errors(value)
    return [f"{error.json_path}: {error.message[:200]}" for error in errors]


def _repeated_keys(value: Any, schema: dict[str, Any], where: str) -> Iterator[str]:
    """Yield lists that are maps to the API server and have one key twice: two equal ports."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _repeated_keys(
                item, schema.get("properties", {}).get(key, {}), f"{where}.{key}"
            )
    elif isinstance(value, list):
        if names := schema.get("x-kubernetes-list-map-keys"):
            keys = [tuple(item.get(name) for name in names) for item in value]
            yield from (f"{where}: {key} twice" for key in set(keys) if keys.count(key) > 1)
        for index, item in enumerate(value):
            yield from _repeated_keys(item, schema.get("items", {}), f"{where}[{index}]")


def webhook_problems(document: dict[str, Any]) -> Iterator[str]:
    """KServe's admission rules that its schemas cannot say.

    Source: kserve, pkg/apis/serving/v1beta1/inference_service_validation.go, component.go;
    pkg/validation/env_policy.go.
    """
    if document["kind"] == "InferenceService":
        if not re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", document["metadata"]["name"]):
            yield "metadata.name: must match [a-z]([-a-z0-9]*[a-z0-9])?"
        predictor = document["spec"].get("predictor", {})
        model = predictor.get("model") or {}
        if bool(model) == bool(predictor.get("containers")):
            yield "spec.predictor: exactly one of model and containers"
        least, most = predictor.get("minReplicas", 1), predictor.get("maxReplicas", 0)
        numbers = isinstance(least, int) and isinstance(most, int)  # else the schema says it
        if numbers and (least < 0 or most < 0 or (most and least > most)):
            yield f"spec.predictor: minReplicas {least}, maxReplicas {most}"
        yield from _scaling_problems(document["metadata"].get("annotations", {}), predictor)
        if "name" in model:
            yield "spec.predictor.model.name: not allowed"
        if "storageUri" in model and "storageUris" in predictor:
            yield "spec.predictor: storageUri and storageUris exclude each other"
        containers = [*predictor.get("containers", []), *predictor.get("initContainers", []), model]
    else:
        containers = document["spec"].get("containers", [])
        if not any(container.get("name") == "kserve-container" for container in containers):
            yield "spec.containers: needs one named kserve-container"
    for container in containers:
        if any(variable["name"] == "PYTHONPATH" for variable in container.get("env", [])):
            yield "env: PYTHONPATH is refused"


def _scaling_problems(annotations: dict[str, str], predictor: dict[str, Any]) -> Iterator[str]:
    """KServe makes the HorizontalPodAutoscaler itself, in Standard mode, from these fields."""
    autoscaler = annotations.get("serving.kserve.io/autoscalerClass")
    if autoscaler not in (None, "hpa", "keda", "none", "external"):
        yield f"autoscalerClass {autoscaler}"
    if annotations.get("serving.kserve.io/deploymentMode") != "Standard":
        # Knative's rules, which the default mode may be.
        if "deploymentStrategy" in predictor:
            yield "deploymentStrategy is refused in any mode but Standard"
        if predictor.get("scaleMetric", "rps") not in ("rps", "concurrency"):
            yield f"scaleMetric {predictor['scaleMetric']} is refused in any mode but Standard"
    elif autoscaler == "hpa":
        if predictor.get("scaleMetric", "cpu") not in ("cpu", "memory"):
            yield f"scaleMetric {predictor['scaleMetric']} is not one of an HPA's"
        if not 1 <= predictor.get("scaleTarget", 80) <= 100:
            yield f"scaleTarget {predictor['scaleTarget']} is no percentage"


def _model_of(document: dict[str, Any]) -> str:
    version = document["apiVersion"].rsplit("/", 1)[-1]
    return f"{version[0].upper()}{version[1:]}{document['kind']}"


def core_problems(value: Any, expected: str, where: str) -> Iterator[str]:
    """Check a value against a model of the Kubernetes client, made from Kubernetes' OpenAPI."""
    if expected in SCALARS:
        kind = SCALARS[expected]
        if not isinstance(value, kind) or (isinstance(value, bool) and expected != "bool"):
            yield f"{where}: found {value!r}, expected {expected}"
    elif expected == "object":  # int-or-string, and free JSON
        return
    elif match := re.fullmatch(r"list\[(.+)\]", expected):
        if not isinstance(value, list):
            yield f"{where}: found {value!r}, expected a list"
            return
        for index, item in enumerate(value):
            yield from core_problems(item, match[1], f"{where}[{index}]")
    elif match := re.fullmatch(r"dict\(str, (.+)\)", expected):
        if not isinstance(value, dict):
            yield f"{where}: found {value!r}, expected a mapping"
            return
        for key, item in value.items():
            yield from core_problems(item, match[1], f"{where}.{key}")
    else:
        yield from _model_problems(value, expected, where)


def _model_problems(value: Any, expected: str, where: str) -> Iterator[str]:
    model = getattr(kubernetes.client, expected, None)
    if model is None:
        yield f"{where}: no kind {expected}"
        return
    if not isinstance(value, dict):
        yield f"{where}: found {value!r}, expected {expected}"
        return
    names = {json_name: name for name, json_name in model.attribute_map.items()}
    for key, item in value.items():
        if key not in names:
            yield f"{where}.{key}: unknown field of {expected}"
        else:
            yield from core_problems(item, model.openapi_types[names[key]], f"{where}.{key}")
    try:
        model(**{names[key]: item for key, item in value.items() if key in names})
    except ValueError as error:  # a required field is missing, or a value out of range
        yield f"{where}: {error}"
