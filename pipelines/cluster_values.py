"""Refuses, before a run is submitted, parameter values at which KFP's driver would fail a task."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from segmentor.errors import ConfigError

# Source: k8s.io/apimachinery/pkg/api/resource, ParseQuantity.
_QUANTITY = re.compile(r"\d+(\.\d+)?(m|k|[MGTPE]|[KMGTPE]i)?")
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


def _is_selector(value: Any) -> bool:
    return all(isinstance(item, str) for item in value.values())


def _are_tolerations(value: Any) -> bool:
    return all(isinstance(item, dict) and set(item) <= _TOLERATION_KEYS for item in value)


_RULES: tuple[tuple[tuple[str, ...], Callable[[Any], bool], str], ...] = (
    (
        ("train_cpu", "train_memory"),
        lambda value: bool(_QUANTITY.fullmatch(value)),
        "a quantity as Kubernetes writes it ('2', '500m', '8Gi')",
    ),
    (("train_accelerators",), str.isdecimal, "a whole number ('0' for none)"),
    (
        ("object_store_secret", "data_image", "trainer_image", "train_accelerator_type"),
        lambda value: bool(value.strip()),
        "a name",
    ),
    (("train_node_selector",), _is_selector, 'labels whose values are texts ({"gpu": "true"})'),
    (
        ("train_tolerations",),
        _are_tolerations,
        f"a list of objects with keys among {', '.join(sorted(_TOLERATION_KEYS))}",
    ),
)
