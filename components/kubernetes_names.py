"""Names and quantities as Kubernetes accepts them, checked before anything is sent there."""

import re

from components.options import Rule

# Source: k8s.io/apimachinery/pkg/util/validation, IsDNS1123Subdomain, IsQualifiedName.
_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_OBJECT_NAME = re.compile(rf"(?=.{{1,253}}$){_LABEL}(\.{_LABEL})*")
_EXTENDED_RESOURCE = re.compile(
    rf"(?=.{{1,253}}/){_LABEL}(\.{_LABEL})*/[A-Za-z0-9]([-\w.]{{0,61}}[A-Za-z0-9])?", re.ASCII
)
# Source: k8s.io/apimachinery/pkg/api/resource, ParseQuantity.
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)(m|k|[MGTPE]|[KMGTPE]i)?")
_SUFFIXES = "kMGTPE"
# Source: github.com/distribution/reference, regexp.go.
_PATH_PART = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*"
_HOST_PART = r"[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?"
_IMAGE = re.compile(
    rf"({_HOST_PART}(\.{_HOST_PART})*(:\d+)?/)?{_PATH_PART}(/{_PATH_PART})*"
    r"(:[\w][\w.-]{0,127})?(@sha256:[0-9a-f]{64})?",
    re.ASCII,
)


def is_image(value: str) -> bool:
    """Return True for the name of a container image, with or without registry, tag and digest."""
    return bool(_IMAGE.fullmatch(value))


def quantity(value: str) -> float:
    """Return the number that a quantity stands for: 0.5 for '500m', 1024 for '1Ki'."""
    match = _QUANTITY.fullmatch(value)
    if match is None:
        raise ValueError(f"{value!r} is no quantity")
    number, suffix = float(match[1]), match[2] or ""
    if suffix == "m":
        return number / 1000
    base = 1024 if suffix.endswith("i") else 1000
    power = _SUFFIXES.index(suffix[0].replace("K", "k")) + 1 if suffix else 0
    return number * float(base**power)


def _is_positive_quantity(value: str) -> bool:
    return bool(_QUANTITY.fullmatch(value)) and bool(re.search(r"[1-9]", value))


IMAGE = Rule(is_image, "a container image ('registry.example/vision/segmentor-data:0.1.0')")
IMAGE_OR_NOTHING = Rule(lambda value: not value or is_image(value), "a container image, or nothing")
OBJECT_NAME = Rule(
    lambda value: bool(_OBJECT_NAME.fullmatch(value)),
    "a name as Kubernetes has it: a-z, 0-9, '-' and '.'",
)
OBJECT_NAME_OR_NOTHING = Rule(
    lambda value: not value or OBJECT_NAME.accepts(value), OBJECT_NAME.expected
)
RESOURCE_NAME = Rule(
    lambda value: bool(_EXTENDED_RESOURCE.fullmatch(value)),
    "the name of a node's resource, with its domain ('nvidia.com/gpu')",
)
POSITIVE_QUANTITY = Rule(
    _is_positive_quantity, "a quantity as Kubernetes writes it, above 0 ('2', '500m', '8Gi')"
)
