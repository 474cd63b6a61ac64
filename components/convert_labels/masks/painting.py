"""Shapes to an index mask, pixel for pixel as CVAT's own mask exports paint them.

Higher z_order is on top, and of equal ones the later in the document. Groups do not relabel.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from components.convert_labels.masks.layers import Layers, stack
from components.convert_labels.masks.rasterising import shape_runs
from components.convert_labels.masks.shape_places import is_box, misfits, named, place
from components.convert_labels.raw_labels import Finding, Shape, ShapesLabel
from components.convert_labels.run_lengths import Runs
from segmentor.errors import MaskError
from segmentor.plurals import counted

# Report a shape that loses more than this share to later shapes of another class.
LOSS_REPORTED = 0.2
# Shapes of fewer pixels are more often a slip of the mouse than a label.
TINY_PIXELS = 10


@dataclass(frozen=True)
class Painted:
    """A mask, uint8 (H, W); the pixels of each value, int64 (256,); what is odd about its shapes.

    `shapes` counts them; `boxes` those that are upright rectangles, as a detector's labels are.
    """

    mask: NDArray[np.uint8]
    value_pixels: NDArray[np.int64]
    findings: list[Finding]
    shapes: int
    boxes: int


def paint(
    label: ShapesLabel,
    size: tuple[int, int],
    targets: Mapping[str, int],
    unlabelled: int,
) -> Painted:
    """Paint the shapes of one image.

    Args:
        label: The shapes.
        size: (height, width) of the image.
        targets: The mask value of each label.
        unlabelled: The mask value where no shape is.

    Raises:
        MaskError: an unknown label, invalid coordinates, or run lengths that do not add up.
    """
    height, width = size
    parsed = label.shapes(size)
    shapes = sorted(parsed, key=lambda shape: shape.z_order)
    values = np.full(len(shapes) + 1, unlabelled, np.uint8)
    for owner, shape in enumerate(shapes, 1):
        if shape.label not in targets:
            known = ", ".join(f"'{name}'" for name in targets)
            raise MaskError(
                place(shape, label.where),
                f"label '{shape.label}'",
                f"one of {known}",
                "give it another label in CVAT, or delete it",
            )
        values[owner] = targets[shape.label]
    covered = shape_runs(shapes, size, label.where)
    layers = stack(covered, height * width)
    findings = _findings(shapes, label.where, covered, layers, values)
    findings += _mixed_groups(parsed, label.where)
    findings += misfits(shapes, size, label.where)
    # COCO's runs, and so the layers, go by columns.
    mask = np.asarray(cv2.transpose(layers.mask(values).reshape(width, height)), np.uint8)
    boxes = sum(map(is_box, shapes))
    return Painted(mask, layers.value_pixels(values), findings, len(shapes), boxes)


def _mixed_groups(shapes: tuple[Shape, ...], where: str) -> list[Finding]:
    labels: dict[str, set[str]] = {}
    for shape in shapes:
        if shape.group:
            labels.setdefault(shape.group, set()).add(shape.label)
    return [
        Finding(
            "mixed-label group",
            f"{where}, group {group}: {', '.join(sorted(names))}; each shape keeps its own label "
            "(CVAT's mask exports would give all that of the largest)",
        )
        for group, names in labels.items()
        if len(names) > 1
    ]


def _findings(
    shapes: Sequence[Shape],
    where: str,
    covered: Sequence[Runs],
    layers: Layers,
    values: NDArray[np.uint8],
) -> list[Finding]:
    findings = []
    visible = layers.visible_pixels().tolist()
    for owner, (shape, (_, lengths)) in enumerate(zip(shapes, covered, strict=True), 1):
        area = int(lengths.sum())
        if area < TINY_PIXELS:
            text = f"{place(shape, where)}: {counted(area, 'pixel')}"
            findings.append(Finding("tiny shape", text))
            continue
        if visible[owner] >= (1 - LOSS_REPORTED) * area:
            continue
        stretches = layers.of_shape(owner)
        # What a later shape of the same class covers is not lost.
        lost = stretches[values[layers.owners[stretches]] != values[owner]]
        lost_pixels = int(layers.lengths[lost].sum())
        if lost_pixels > LOSS_REPORTED * area:
            by_owner = np.bincount(layers.owners[lost], weights=layers.lengths[lost])
            coverer = shapes[int(by_owner.argmax()) - 1]
            findings.append(
                Finding(
                    "overlap",
                    f"{place(shape, where)} loses {100 * lost_pixels / area:.0f} % of {area:,} "
                    f"pixels to later shapes, most to {named(coverer)}",
                )
            )
    return findings
