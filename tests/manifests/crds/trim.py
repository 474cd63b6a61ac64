"""Makes the two JSON files beside it from KServe's CRDs: schemas alone, without descriptions.

    python tests/manifests/crds/trim.py FOLDER_OF_THE_CRDS

The files are KServe's (Apache-2.0). Parts of the InferenceService that nothing here uses are left
out (explainer, transformer, canary, the built-in frameworks), so they count as unknown fields.
"""

import json
import sys
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
SOURCES = {"inferenceservices": "v1beta1", "servingruntimes": "v1alpha1"}
FRAMEWORKS = (
    "huggingface lightgbm onnx paddle pmml pytorch sklearn tensorflow triton workerSpec xgboost"
)


def trimmed(folder: Path, name: str) -> dict[str, Any]:
    """Returns the structural schema of one kind."""
    text = (folder / f"serving.kserve.io_{name}.yaml").read_text(encoding="utf-8")
    crd = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    (version,) = [v for v in crd["spec"]["versions"] if v["name"] == SOURCES[name]]
    schema = _without_descriptions(version["schema"]["openAPIV3Schema"])
    if name == "inferenceservices":
        spec = schema["properties"]["spec"]["properties"]
        schema["properties"]["spec"]["properties"] = {"predictor": spec["predictor"]}
        for framework in FRAMEWORKS.split():
            del spec["predictor"]["properties"][framework]
    return schema


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
    for name in SOURCES:
        text = json.dumps(trimmed(Path(sys.argv[1]), name), separators=(",", ":"), sort_keys=True)
        (HERE / f"{name}.json").write_text(text + "\n", encoding="utf-8")
