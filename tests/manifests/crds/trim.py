"""Makes JSON files beside it from CRDs of KServe and Kubeflow Trainer: schemas, no descriptions.

    python tests/manifests/crds/trim.py FOLDER_OF_KSERVES_CRDS FOLDER_OF_TRAINERS_CRDS

The files are KServe's, and those of Kubeflow Trainer 2.3 (both Apache-2.0, whose text is this
repository's LICENSE too). Parts that nothing here uses are left out, so they count as unknown
fields: of the InferenceService explainer, transformer, canary and the built-in frameworks; of
Trainer's kinds initializers, other frameworks than torch, and most of a pod.
"""

import json
import sys
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
SOURCES = {"inferenceservices": "v1beta1", "servingruntimes": "v1alpha1"}
TRAINER_SOURCES = {"trainjobs": "v1alpha1", "trainingruntimes": "v1alpha1"}
FRAMEWORKS = (
    "huggingface lightgbm onnx paddle pmml pytorch sklearn tensorflow triton workerSpec xgboost"
)


# Of a pod, and of what a TrainJob patches of it.
NEVER_USED = {
    *("initContainers", "ephemeralContainers", "affinity", "schedulingGates", "resourceClaims"),
    *("topologySpreadConstraints", "dnsConfig", "hostAliases", "readinessGates", "lifecycle"),
    *("livenessProbe", "readinessProbe", "startupProbe", "volumeClaimTemplates", "initializer"),
    *("volumeClaimPolicies", "podGroupPolicy", "flux", "jax", "mpi", "xgboost", "coordinator"),
}
VOLUMES = {"name", "emptyDir", "configMap", "secret", "persistentVolumeClaim"}


def trimmed(folder: Path, name: str) -> dict[str, Any]:
    """Return the structural schema of one kind."""
    group = "serving.kserve.io" if name in SOURCES else "trainer.kubeflow.org"
    text = (folder / f"{group}_{name}.yaml").read_text(encoding="utf-8")
    crd = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    wanted = {**SOURCES, **TRAINER_SOURCES}[name]
    (version,) = [v for v in crd["spec"]["versions"] if v["name"] == wanted]
    schema = _without_descriptions(version["schema"]["openAPIV3Schema"])
    if name in TRAINER_SOURCES:
        schema = _without_unused(schema)
    if name == "inferenceservices":
        spec = schema["properties"]["spec"]["properties"]
        schema["properties"]["spec"]["properties"] = {"predictor": spec["predictor"]}
        for framework in FRAMEWORKS.split():
            del spec["predictor"]["properties"][framework]
    return schema


def _without_unused(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_without_unused(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {}
    for key, value in schema.items():
        if key != "properties":
            kept[key] = _without_unused(value)
            continue
        names = set(value) - NEVER_USED
        if "emptyDir" in value:
            names &= VOLUMES
        kept[key] = {name: _without_unused(value[name]) for name in value if name in names}
    return kept


def _without_descriptions(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_without_descriptions(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: {name: _without_descriptions(item) for name, item in value.items()}
        if key == "properties"
        else _without_descriptions(value)
        for key, value in schema.items()
        if not (key == "description" and isinstance(value, str))
    }


if __name__ == "__main__":
    for folder, names in zip(sys.argv[1:], (SOURCES, TRAINER_SOURCES), strict=True):
        for name in names:
            text = json.dumps(trimmed(Path(folder), name), separators=(",", ":"), sort_keys=True)
            (HERE / f"{name}.json").write_text(text + "\n", encoding="utf-8")
