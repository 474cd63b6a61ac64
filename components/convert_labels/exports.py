"""Raw labels as an export holds them, the same for every format: classes, items and shapes."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.convert_labels.source_files import SourceFile
from segmentor.errors import SegmentorError
from segmentor.label_map import LabelClass

# What fills pixels that nothing else covers: CVAT adds this label to every mask export.
UNLABELLED = "background"
# The colour of such pixels, where the export gives that label none.
BLACK = (0, 0, 0)


@dataclass(frozen=True)
class ColourLabel:
    """A colour mask: RGB PNG by the colours of the export's classes."""

    file: SourceFile


@dataclass(frozen=True)
class IndexLabel:
    """An index mask: one channel, whose values are positions in the export's class list.

    `is_binary`: the export has no class list; 0 is background, 1 or 255 the one class.
    """

    file: SourceFile
    is_binary: bool = False


@dataclass(frozen=True)
class Shape:
    """One shape: what it covers, its label, and what decides who is on top.

    kind        values
    polygon     x, y, x, y, ...
    box         x1, y1, x2, y2; `rotation` in degrees, clockwise about its centre
    ellipse     cx, cy, rx, ry; `rotation` likewise
    mask        left, top, width, height, then run lengths by rows, zeros first
    rle         height, width, then run lengths by columns of the whole image, zeros first
    """

    kind: str
    label: str
    values: NDArray[np.float64]
    z_order: int = 0
    group: str = ""
    rotation: float = 0.0


@dataclass(frozen=True)
class ShapesLabel:
    """The shapes of one image in document order, as the format wrote them.

    `parse` turns a record into shapes; it runs in a worker, as it is most of the work of reading.
    `size` is the (height, width) that the export states.
    """

    records: tuple[Any, ...]
    parse: Callable[[Any, str], tuple[Shape, ...]]
    size: tuple[int, int] | None
    where: str

    def shapes(self) -> tuple[Shape, ...]:
        """Parses the records.

        Raises:
            MaskError: a record that is no shape.
        """
        parsed = (
            self.parse(record, f"{self.where}, shape {number}")
            for number, record in enumerate(self.records, 1)
        )
        return tuple(shape for shapes in parsed for shape in shapes)


RawLabel = ColourLabel | IndexLabel | ShapesLabel


@dataclass(frozen=True)
class Item:
    """One image of an export and its raw label; None when it has none.

    `name` has no extension; `image_name` is the image's file name when the export states it, and
    else "": then any extension does.
    """

    name: str
    label: RawLabel | None
    subset: str = ""
    task: str = ""
    image_name: str = ""

    @property
    def place(self) -> str:
        """What problems call it: as an annotator finds it."""
        if isinstance(self.label, ShapesLabel):
            return self.label.where
        return f"{self.subset}/{self.name}" if self.subset else self.name


def problem_at(place: str, error: SegmentorError) -> str:
    """Returns an error of an item as a problem, which begins with the item's place."""
    text = str(error)
    if place in error.where:
        return text
    # The name alone: the place says it too.
    return place + text[len(error.where) :] if place.startswith(error.where) else f"{place}: {text}"


@dataclass(frozen=True)
class Finding:
    """Something about a sample that an annotator should look at; it does not stop the step."""

    kind: str
    text: str


# Images that are named with what was left out of them.
SOME_NAMES = 10


@dataclass
class Notes:
    """What a reader saw and did not turn into pixels: for the report."""

    counts: dict[str, int] = field(default_factory=dict)
    images: dict[str, list[str]] = field(default_factory=dict)

    def count(self, what: str, image: str = "") -> None:
        """Counts one occurrence; of the images that have it, the names of the first are kept."""
        self.counts[what] = self.counts.get(what, 0) + 1
        names = self.images.setdefault(what, [])
        if image and image not in names and len(names) <= SOME_NAMES:
            names.append(image)

    def clear(self) -> None:
        """Forgets what was counted: the items are read again."""
        self.counts.clear()
        self.images.clear()


@dataclass(frozen=True)
class Export:
    """An export of a known format, opened.

    Attributes:
        format: Its name, for people.
        classes: What the export declares, in its own order; `background` among them or not.
        is_ordered: The order is part of the labels (index masks), so it is kept.
        is_complete: Every pixel of a mask is one of `classes`: there are no unlabelled pixels.
        is_by_colour: Its masks are of colours, which tell labels apart.
        items: Yields the items, one in memory at a time; it may be called again.
        subsets: The subsets there are, sorted; names may repeat between them.
        tasks: The tasks there are, sorted.
        task_names: What to call a task, where the export says more than its number.
        count: How many items there are; 0 when unknown.
        image_folders: Where images lie in the export, best first; "" is the top.
        remarks: What a user should know of how it is read, a sentence each.
        notes: Filled while `items` runs.
    """

    format: str
    classes: tuple[LabelClass, ...]
    items: Callable[[], Iterator[Item]]
    image_folders: tuple[str, ...]
    subsets: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    task_names: Mapping[str, str] = field(default_factory=dict)
    count: int = 0
    is_ordered: bool = False
    is_complete: bool = False
    is_by_colour: bool = False
    remarks: tuple[str, ...] = ()
    notes: Notes = field(default_factory=Notes)
