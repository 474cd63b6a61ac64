"""Makes the JSON files beside it of the Prometheus Operator's kinds: schemas alone.

    pip install cloudcoil-models-prometheus-operator==0.80.1.0
    python tests/manifests/crds/monitoring.py

That package (Apache-2.0) is made from the CRDs of Prometheus Operator 0.80 (Apache-2.0). It is not
a dependency: its import takes seconds, and the schemas do not change with this project.
"""

import json
from pathlib import Path
from typing import Any

KINDS = {
    "servicemonitors": "ServiceMonitor",
    "prometheusrules": "PrometheusRule",
}


def strict(schema: Any) -> Any:
    """Refuse unknown fields and nulls, as the API server does; drop what only people read."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {
        key: {name: strict(item) for name, item in value.items()}
        if key in ("properties", "$defs")
        else strict(value)
        for key, value in schema.items()
        if not (key in ("title", "description", "default") and not isinstance(value, dict))
    }
    if "properties" in kept:
        kept.setdefault("additionalProperties", False)
    alternatives = [item for item in kept.pop("anyOf", []) if item != {"type": "null"}]
    if len(alternatives) == 1:
        return {**kept, **alternatives[0]}
    return {**kept, "anyOf": alternatives} if alternatives else kept


def main() -> None:
    """Write the files."""
    from cloudcoil.models.prometheus_operator import v1

    for name, kind in KINDS.items():
        schema = strict(getattr(v1, kind).model_json_schema(by_alias=True))
        schema["properties"]["metadata"] = {"type": "object", "required": ["name"]}
        schema["required"] = ["apiVersion", "kind", "metadata", "spec"]
        text = json.dumps(schema, separators=(",", ":"), sort_keys=True)
        Path(__file__).with_name(f"{name}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
