"""Refuses, before a run is submitted, values with which KFP or Kubernetes would fail a task."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from segmentor.errors import ConfigError

# Source: k8s.io/apimachinery/pkg/api/resource, ParseQuantity.
_QUANTITY = re.compile(r"\d+(\.\d+)?(m|k|[MGTPE]|[KMGTPE]i)?")
# Source: k8s.io/apimachinery/pkg/util/validation, IsDNS1123Subdomain, IsQualifiedName.
_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_OBJECT_NAME = re.compile(rf"(?=.{{1,253}}$){_LABEL}(\.{_LABEL})*")
_EXTENDED_RESOURCE = re.compile(
    rf"(?=.{{1,253}}/){_LABEL}(\.{_LABEL})*/[A-Za-z0-9]([-\w.]{{0,61}}[A-Za-z0-9])?", re.ASCII
)
# Source: github.com/distribution/reference, regexp.go.
_PATH_PART = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*"
_HOST_PART = r"[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?"
_IMAGE = re.compile(
    rf"({_HOST_PART}(\.{_HOST_PART})*(:\d+)?/)?{_PATH_PART}(/{_PATH_PART})*"
    r"(:[\w][\w.-]{0,127})?(@sha256:[0-9a-f]{64})?",
    re.ASCII,
)
_TOLERATION_KEYS = {"key", "operator", "value", "effect", "tolerationSeconds"}


def check_cluster_values(given: Mapping[str, Any]) -> None:
    """Checks what becomes part of a pod: quantities, names, labels of nodes, tolerations.

    Raises:
        ConfigError: Kubernetes or the driver would refuse a value.
    """
    for name, value in given.items():
        for names, is_right, expected in _RULES:
            if name in names and not is_right(value):
                raise ConfigError(f"parameter {name}", f"{value!r}", expected)


def is_image(value: str) -> bool:
    """True for the name of a container image, with or without its registry, tag and digest."""
    return bool(_IMAGE.fullmatch(value))


def _is_quantity(value: str) -> bool:
    # Zero is one to Kubernetes, but no memory and no CPU is what nothing can train with.
    return bool(_QUANTITY.fullmatch(value)) and bool(re.search(r"[1-9]", value))


def _is_object_name(value: str) -> bool:
    return bool(_OBJECT_NAME.fullmatch(value))


def _is_selector(value: Any) -> bool:
    return all(isinstance(item, str) for item in value.values())


def _are_override_sets(value: Any) -> bool:
    return bool(value) and all(isinstance(item, str) for item in value)


def _are_tolerations(value: Any) -> bool:
    return all(isinstance(item, dict) and set(item) <= _TOLERATION_KEYS for item in value)


_RULES: tuple[tuple[tuple[str, ...], Callable[[Any], bool], str], ...] = (
    (
        ("train_cpu", "train_memory"),
        _is_quantity,
        "a quantity as Kubernetes writes it, above 0 ('2', '500m', '8Gi')",
    ),
    (("train_accelerators",), str.isdecimal, "a whole number ('0' for none)"),
    (
        ("train_accelerator_type",),
        lambda value: bool(_EXTENDED_RESOURCE.fullmatch(value)),
        "the name of a node's resource, with its domain ('nvidia.com/gpu')",
    ),
    (
        ("object_store_secret", "predictor_service_account"),
        _is_object_name,
        "a name as Kubernetes has it: a-z, 0-9, '-' and '.'",
    ),
    (
        ("data_image", "trainer_image"),
        is_image,
        "a container image ('registry.example/vision/segmentor-data:0.1.0')",
    ),
    (
        ("predictor_image",),
        lambda value: not value or is_image(value),
        "a container image, or nothing",
    ),
    (
        ("override_sets",),
        _are_override_sets,
        'a list of one or more texts (["training.epochs=20", "training.epochs=40"])',
    ),
    (("train_node_selector",), _is_selector, 'labels whose values are texts ({"gpu": "true"})'),
    (
        ("train_tolerations",),
        _are_tolerations,
        f"a list of objects with keys among {', '.join(sorted(_TOLERATION_KEYS))}",
    ),
)
