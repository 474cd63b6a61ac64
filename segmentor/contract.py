"""The model contract: everything needed to use a model, stored in the ONNX file's metadata."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self, get_args

from segmentor.errors import ContractError, LabelMapError
from segmentor.label_map import LabelMap
from segmentor.pixel_conversion import WHITE
from segmentor.training_reference import TrainingReference

SCHEMA_VERSION = 1
METADATA_KEY = "segmentor.contract"
INPUT_NAME = "image"
OUTPUT_NAME = "probability"

SizePolicy = Literal["resize", "native"]

# ImageNet statistics of RGB in 0..1. Source: torchvision's reference training.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class InputSpec:
    """How pixels become the network's input; the colour order is RGB, the scale 1/255, always.

    `size` is (height, width) of training. `resize`: every image is resized to it (bilinear, no
    antialias). `native`: images keep their size and are padded to a multiple of `stride`. `white`
    is the value that becomes 255 when a file of 16 bits is decoded, 4095 for data of 12 bits.
    """

    size: tuple[int, int]
    size_policy: SizePolicy = "resize"
    stride: int = 32
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    white: int = WHITE

    def __post_init__(self) -> None:
        where = "input spec"
        if self.size_policy not in get_args(SizePolicy):
            raise ContractError(where, f"size policy '{self.size_policy}'", "resize or native")
        if len(self.size) != 2 or not all(type(n) is int for n in (*self.size, self.stride)):
            raise ContractError(where, f"size {self.size}, stride {self.stride}", "whole numbers")
        if min(self.size) < 1 or self.stride < 1:
            raise ContractError(where, f"size {self.size}, stride {self.stride}", "positive values")
        if self.size[0] % self.stride or self.size[1] % self.stride:
            raise ContractError(
                where,
                f"size {self.size[0]} x {self.size[1]}",
                f"multiples of the network's stride {self.stride}",
            )
        if not len(self.mean) == len(self.std) == 3:
            raise ContractError(where, f"mean {self.mean}, std {self.std}", "three values each")
        if min(self.std) <= 0:
            raise ContractError(where, f"std {self.std}", "positive values")
        if type(self.white) is not int or not 0 < self.white <= WHITE:
            raise ContractError(where, f"white {self.white}", f"1..{WHITE}")


@dataclass(frozen=True)
class ModelContract:
    """Label map, input spec, output kind with its threshold, and provenance of a model.

    Only binary models use `threshold`: a pixel is foreground where probability > threshold.
    `provenance` is flat JSON: digests, revisions, metrics. `training_reference` tells what the
    training images were like, so that drift can be detected.
    """

    label_map: LabelMap
    input: InputSpec
    threshold: float = 0.5
    provenance: dict[str, Any] = field(default_factory=dict)
    training_reference: TrainingReference | None = None

    def __post_init__(self) -> None:
        if not 0 < self.threshold < 1:
            raise ContractError("contract", f"threshold {self.threshold}", "a value in (0, 1)")

    @property
    def is_binary(self) -> bool:
        """Return True if the output has one channel, the probability of class 1."""
        return self.label_map.is_binary

    @property
    def channels(self) -> int:
        """C, the number of output channels."""
        return self.label_map.channels

    def check_classes(self, label_map: LabelMap, where: str) -> None:
        """Refuse data whose class names or their order differ from the model's.

        Raises:
            ContractError: they are not.
        """
        if label_map.names != self.label_map.names:
            raise ContractError(
                where,
                f"classes {', '.join(label_map.names)}",
                f"those of the model, {', '.join(self.label_map.names)}",
                "take a data set that was split from the same conversion as the training data",
            )

    def to_json(self) -> dict[str, Any]:
        """Return a JSON value that `from_json` reads back."""
        spec = asdict(self.input)
        if self.input.white == WHITE:
            del spec["white"]  # as in contracts written before this field existed
        value = {
            "schema_version": SCHEMA_VERSION,
            "label_map": self.label_map.to_json(),
            "input": {**spec, "name": INPUT_NAME, "colour_order": "RGB"},
            "output": {
                "name": OUTPUT_NAME,
                "kind": "binary" if self.is_binary else "multiclass",
                "threshold": self.threshold,
            },
            "provenance": self.provenance,
        }
        if self.training_reference is not None:
            value["training_reference"] = self.training_reference.to_json()
        return value

    @classmethod
    def from_json(cls, value: Any, where: str = "contract") -> Self:
        """Read what `to_json` wrote.

        Raises:
            ContractError: another schema version, or a field that is missing or wrong.
        """
        if not isinstance(value, dict) or value.get("schema_version") != SCHEMA_VERSION:
            found = value.get("schema_version") if isinstance(value, dict) else type(value).__name__
            raise ContractError(
                where,
                f"contract schema version {found}",
                str(SCHEMA_VERSION),
                "export the model again with this version",
            )
        try:
            spec = dict(value["input"])
            if spec.pop("colour_order") != "RGB" or spec.pop("name") != INPUT_NAME:
                raise ContractError(where, "another colour order or input name", "RGB 'image'")
            for key in ("size", "mean", "std"):
                spec[key] = tuple(spec[key])
            contract = cls(
                label_map=LabelMap.from_json(value["label_map"]),
                input=InputSpec(**spec),
                threshold=float(value["output"]["threshold"]),
                provenance=dict(value["provenance"]),
                training_reference=_read_reference(value.get("training_reference")),
            )
            kind = value["output"]["kind"]
        except (KeyError, TypeError, ValueError, LabelMapError) as error:
            raise ContractError(where, f"a malformed contract ({error})") from error
        if (kind == "binary") != contract.is_binary:
            raise ContractError(where, f"output kind '{kind}'", "the kind its label map implies")
        return contract

    @classmethod
    def from_text(cls, text: str, where: str = "contract") -> Self:
        """Read the JSON text of a contract.

        Raises:
            ContractError: the text is not JSON, or not a contract.
        """
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ContractError(where, f"a contract that is not JSON ({error})") from error
        return cls.from_json(value, where)


def _read_reference(value: Any) -> TrainingReference | None:
    return None if value is None else TrainingReference.from_json(value)
