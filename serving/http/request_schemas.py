"""JSON schemas of V1 and V2 bodies, for the OpenAPI description alone."""

from typing import Any

from segmentor.contract import INPUT_NAME, ModelContract
from segmentor.output_forms import tensor_forms
from serving.json_body import THRESHOLD
from serving.prediction import MAX_IMAGES

_THRESHOLD_SCHEMAS: dict[bool, dict[str, Any]] = {
    True: {
        "type": ["number", "null"],
        "exclusiveMinimum": 0,
        "exclusiveMaximum": 1,
        "description": "Foreground above it. The query's threshold wins.",
    },
    False: {"type": "null", "description": "Only binary models have a threshold."},
}
_BASE64 = {
    "type": "object",
    "required": ["b64"],
    "properties": {
        "b64": {
            "type": "string",
            "format": "byte",
            "minLength": 1,
            "description": "An encoded image, one line.",
        }
    },
}
_PIXELS = {
    "type": "array",
    "minItems": 1,
    "description": "Rows of RGB pixels, all of one length.",
    "items": {
        "type": "array",
        "minItems": 1,
        "items": {
            "type": "array",
            "minItems": 3,
            "maxItems": 3,
            "items": {"type": "integer", "minimum": 0, "maximum": 255},
        },
    },
}
_LENGTH = {"type": "integer", "minimum": 1}
_IMAGES = {**_LENGTH, "maximum": MAX_IMAGES}


def v1_body(contract: ModelContract) -> dict[str, Any]:
    """Return the JSON schema of a V1 body."""
    return {
        "type": "object",
        "required": ["instances"],
        "properties": {
            "instances": {
                "type": "array",
                "minItems": 1,
                "maxItems": MAX_IMAGES,
                "items": {
                    "anyOf": [
                        {
                            "type": "object",
                            "required": ["image"],
                            "properties": {"image": {"anyOf": [_BASE64, _PIXELS]}},
                        },
                        _BASE64,
                        _PIXELS,
                    ]
                },
            },
            "parameters": {
                "type": ["object", "null"],
                "properties": {THRESHOLD: _THRESHOLD_SCHEMAS[contract.is_binary]},
            },
        },
    }


def v2_body(contract: ModelContract) -> dict[str, Any]:
    """Return the JSON schema of a V2 body without binary tensors."""
    return {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": ["string", "null"]},
            "inputs": {
                "type": "array",
                "minItems": 1,
                "maxItems": 1,
                "items": {
                    "type": "object",
                    "required": ["name", "shape", "datatype", "data"],
                    "properties": {
                        "name": {"const": INPUT_NAME},
                    },
                    "oneOf": [
                        _tensor("UINT8", _IMAGES, _LENGTH, _LENGTH, {"const": 3}),
                        _tensor("FP32", _IMAGES, {"const": 3}, _LENGTH, _LENGTH),
                        _tensor("BYTES", _IMAGES),
                        _tensor("BYTES", _IMAGES, {"const": 1}),
                    ],
                },
            },
            "outputs": {
                "type": ["array", "null"],
                "items": {
                    "type": "object",
                    "required": ["name"],
                    "properties": {
                        "name": {"enum": list(tensor_forms())},
                        "parameters": {
                            "type": ["object", "null"],
                            "properties": {"binary_data": {"type": "boolean"}},
                        },
                    },
                },
            },
            "parameters": {
                "type": ["object", "null"],
                "properties": {
                    THRESHOLD: _THRESHOLD_SCHEMAS[contract.is_binary],
                    "binary_data_output": {"type": "boolean"},
                },
            },
        },
    }


def _tensor(datatype: str, *lengths: dict[str, Any]) -> dict[str, Any]:
    count = len(lengths)
    shape = {"type": "array", "prefixItems": lengths, "minItems": count, "maxItems": count}
    data = {
        "type": "array",
        "minItems": 1,
        "items": {"type": ["string" if datatype == "BYTES" else "number", "array"]},
        "description": "As many values as the shape says, flat or nested.",
    }
    return {"properties": {"datatype": {"const": datatype}, "shape": shape, "data": data}}
