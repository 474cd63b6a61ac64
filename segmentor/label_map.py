"""The label map: ordered classes with names and colours, and the index of "no ground truth"."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from segmentor.errors import LabelMapError
from segmentor.plurals import counted

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
            raise LabelMapError(
                where, counted(len(self.classes), "class", "classes"), f"1 to {MAX_CLASSES}"
            )
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
        """Build a label map from names alone, with the colours of `class_colour`."""
        return cls(
            tuple(LabelClass(name, class_colour(index, name)) for index, name in enumerate(names))
        )

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read what `to_json` wrote.

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
        """Return a JSON value: the classes in order, and ignore_index."""
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
        return _is_background(self.names[0])

    def index(self, name: str) -> int:
        """Return the index of a class.

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
        """Return uint8 (256, 3): the colour of each mask value; ignored pixels are white."""
        table = np.zeros((256, 3), np.uint8)
        table[: len(self.classes)] = [label.colour for label in self.classes]
        table[self.ignore_index] = 255
        return table


def _is_background(name: str) -> bool:
    return name.strip("_ ").lower() in _BACKGROUND_NAMES


def class_colour(position: int, name: str = "") -> Colour:
    """Return the colour of a class that has none of its own: black for a first background."""
    if position == 0 and _is_background(name):
        return (0, 0, 0)
    red, green, blue = (int(value) for value in class_palette()[position % MAX_CLASSES])
    return red, green, blue


@cache
def class_palette() -> NDArray[np.uint8]:
    """Return uint8 (255, 3): colours of about equal brightness, each far from those before it.

    Dark colours cannot be told apart over a photograph, and black cannot be seen at dusk. So all
    have a lightness of 62 to 74 in CIELAB; the next one is always the one that is farthest from
    all before it, greys and pale colours left out.
    """
    a, b = np.meshgrid(np.arange(-90, 100, 5), np.arange(-90, 100, 5), indexing="ij")
    planes = [np.stack([np.full(a.shape, light), a, b], -1) for light in (68, 62, 74)]
    lab = np.concatenate([plane.reshape(-1, 3) for plane in planes]).astype(np.float32)
    rgb = cv2.cvtColor(lab[None], cv2.COLOR_Lab2RGB)[0]
    # What a screen cannot show is clipped by the conversion, and comes back as another colour.
    returned = cv2.cvtColor(rgb[None], cv2.COLOR_RGB2Lab)[0]
    is_shown = (np.abs(returned - lab).max(1) < 1) & (np.hypot(lab[:, 1], lab[:, 2]) > 25)
    lab, rgb = lab[is_shown], rgb[is_shown]
    chosen = [int(np.argmin(np.abs(lab - (68, 55, 40)).sum(1)))]  # a red to begin with
    distance = np.linalg.norm(lab - lab[chosen[0]], axis=1)
    while len(chosen) < MAX_CLASSES:
        chosen.append(int(np.argmax(distance)))
        distance = np.minimum(distance, np.linalg.norm(lab - lab[chosen[-1]], axis=1))
    return np.asarray((rgb[chosen] * 255).round(), np.uint8)


def voc_palette() -> NDArray[np.uint8]:
    """Return uint8 (256, 3), the PASCAL VOC palette.

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
