"""The label map: ordered classes with names and colours, and the index of "no ground truth"."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from segmentor.errors import LabelMapError

IGNORE_INDEX = 255
BACKGROUND = "background"
_BACKGROUND_NAMES = (BACKGROUND, "bg", "unlabelled", "unlabeled")
# One byte a pixel, 255 taken.
MAX_CLASSES = 255

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class LabelClass:
    """A class: its name, and its RGB colour in colour masks."""

    name: str
    colour: Colour


@dataclass(frozen=True)
class LabelMap:
    """Ordered classes; a class index is a position in `classes`.

    Raises:
        LabelMapError: no classes, too many, an empty or repeated name, or a colour out of range.
    """

    classes: tuple[LabelClass, ...]
    ignore_index: int = IGNORE_INDEX

    def __post_init__(self) -> None:
        where = "label map"
        if not 1 <= len(self.classes) <= MAX_CLASSES:
            raise LabelMapError(where, f"{len(self.classes)} classes", f"1 to {MAX_CLASSES}")
        seen: set[str] = set()
        for label in self.classes:
            if not label.name.strip():
                raise LabelMapError(where, "a class without a name", "a name for each class")
            if label.name in seen:
                raise LabelMapError(where, f"class '{label.name}' twice", "unique class names")
            seen.add(label.name)
            if len(label.colour) != 3 or not all(0 <= value <= 255 for value in label.colour):
                raise LabelMapError(
                    where, f"colour {label.colour} of '{label.name}'", "three values of 0..255"
                )
        if self.ignore_index != IGNORE_INDEX:
            raise LabelMapError(where, f"ignore_index {self.ignore_index}", str(IGNORE_INDEX))

    @classmethod
    def of(cls, names: Iterable[str]) -> Self:
        """Builds a label map from names alone, with the colours of the VOC palette."""
        palette = voc_palette()
        return cls(
            tuple(
                LabelClass(name, (int(r), int(g), int(b)))
                for name, (r, g, b) in zip(names, palette, strict=False)
            )
        )

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Reads what `to_json` wrote.

        Raises:
            LabelMapError: a field is missing or of the wrong type.
        """
        try:
            classes = tuple(
                LabelClass(
                    str(item["name"]), (item["colour"][0], item["colour"][1], item["colour"][2])
                )
                for item in value["classes"]
            )
            return cls(classes, value["ignore_index"])
        except (KeyError, TypeError, IndexError) as error:
            raise LabelMapError(
                "label map",
                f"malformed JSON ({error})",
                "classes with name and colour, ignore_index",
            ) from error

    def to_json(self) -> dict[str, Any]:
        """Returns a JSON value: the classes in order, and ignore_index."""
        return {
            "classes": [{"name": c.name, "colour": list(c.colour)} for c in self.classes],
            "ignore_index": self.ignore_index,
        }

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def names(self) -> tuple[str, ...]:
        """The class names in the order of their indices."""
        return tuple(label.name for label in self.classes)

    @property
    def is_binary(self) -> bool:
        """Background and one class: the network has one channel, the probability of that class."""
        return len(self.classes) == 2 and self.classes[0].name == BACKGROUND

    @property
    def channels(self) -> int:
        """Channels of the network's output: 1 when binary, else one a class."""
        return 1 if self.is_binary else len(self.classes)

    @property
    def has_background(self) -> bool:
        """True when class 0 is what is left of an image: pictures leave it clear.

        It is for eyes only: names that other tools give it are the background here too.
        """
        return self.names[0].strip("_ ").lower() in _BACKGROUND_NAMES

    def index(self, name: str) -> int:
        """Returns the index of a class.

        Raises:
            LabelMapError: no such class; the message lists the names there are.
        """
        try:
            return self.names.index(name)
        except ValueError:
            raise LabelMapError(
                "label map", f"no class '{name}'", f"one of {', '.join(self.names)}"
            ) from None

    def palette(self) -> NDArray[np.uint8]:
        """Returns uint8 (256, 3): the colour of each mask value; ignored pixels are white."""
        table = np.zeros((256, 3), np.uint8)
        table[: len(self.classes)] = [label.colour for label in self.classes]
        table[self.ignore_index] = 255
        return table


def voc_palette() -> NDArray[np.uint8]:
    """Returns uint8 (256, 3), the PASCAL VOC palette.

    Source: the PASCAL VOC development kit, `VOClabelcolormap.m`: bit 3k+j of the index is bit 7-k
    of channel j.
    """
    index = np.arange(256)
    table = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            table[:, channel] |= (((index >> (3 * bit + channel)) & 1) << (7 - bit)).astype(
                np.uint8
            )
    return table
