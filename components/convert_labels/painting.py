"""Shapes to an index mask, pixel for pixel as CVAT's own mask exports paint them.

Higher z_order is on top, and of equal ones the later in the document. Groups do not relabel.
"""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from components.convert_labels.exports import Finding, Shape, ShapesLabel
from components.convert_labels.rasterising import shape_runs
from components.convert_labels.run_lengths import Integers, Runs
from components.convert_labels.shape_places import named, place
from segmentor.errors import MaskError

# A shape that loses more than this to later ones of another class is worth a look.
LOSS_REPORTED = 0.2
# Fewer visible pixels than this are a slip of the mouse more often than a label.
TINY_PIXELS = 10
# Runs shorter than this on average are filled pixel by pixel, which is faster than one by one.
SHORT_RUN = 60


def paint(
    label: ShapesLabel,
    size: tuple[int, int],
    targets: Mapping[str, int],
    unlabelled: int,
) -> tuple[NDArray[np.uint8], list[Finding]]:
    """Paints the shapes of one image.

    Args:
        label: The shapes.
        size: (height, width) of the image.
        targets: The mask value of each label.
        unlabelled: The mask value where no shape is.

    Returns:
        The mask, uint8 (H, W), and what is odd about its shapes.

    Raises:
        MaskError: an unknown label, coordinates that are none, or run lengths that do not add up.
    """
    height, width = size
    parsed = label.shapes()
    shapes = sorted(parsed, key=lambda shape: shape.z_order)
    # By columns, as COCO's runs go; each pixel holds the position of its shape, 0 for none.
    owners = np.zeros(height * width, np.min_scalar_type(len(shapes)))
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
    for owner, runs in enumerate(covered, 1):
        _fill(owners, runs, owner)
    flat = cv2.LUT(owners, np.resize(values, 256))[:, 0] if owners.itemsize == 1 else values[owners]
    findings = _findings(shapes, label.where, covered, owners, flat, values)
    findings += _mixed_groups(parsed, label.where)
    mask = cv2.transpose(flat.reshape(width, height))
    return np.asarray(mask, np.uint8), findings


def _fill(owners: NDArray[np.unsignedinteger], runs: Runs, owner: int) -> None:
    starts, lengths = runs
    if lengths.sum() < SHORT_RUN * lengths.size:
        owners[_positions(starts, lengths)] = owner
        return
    # Slices of memory: those of arrays take twice the time.
    target = memoryview(owners)
    source = memoryview(np.full(lengths.max(initial=0), owner, owners.dtype))
    for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
        target[start : start + length] = source[:length]


def _positions(starts: Integers, lengths: Integers) -> Integers:
    """Returns the position of every pixel of the runs."""
    before = np.cumsum(lengths) - lengths
    return np.arange(lengths.sum()) + np.repeat(starts - before, lengths)


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
    owners: NDArray[np.unsignedinteger],
    flat: NDArray[np.uint8],
    values: NDArray[np.uint8],
) -> list[Finding]:
    findings = []
    for owner, (shape, (starts, lengths)) in enumerate(zip(shapes, covered, strict=True), 1):
        area = int(lengths.sum())
        if area < TINY_PIXELS:
            text = f"{place(shape, where)}: {area} {'pixel' if area == 1 else 'pixels'}"
            findings.append(Finding("tiny shape", text))
            continue
        span = owners[starts[0] : starts[-1] + lengths[-1]]
        if np.count_nonzero(span == owner) >= (1 - LOSS_REPORTED) * area:
            continue
        positions = _positions(starts, lengths)
        # What a later shape of the same class covers is not lost.
        lost = positions[flat[positions] != values[owner]]
        if lost.size > LOSS_REPORTED * area:
            coverer = shapes[int(np.bincount(owners[lost]).argmax()) - 1]
            findings.append(
                Finding(
                    "overlap",
                    f"{place(shape, where)} loses {100 * lost.size / area:.0f} % of {area:,} "
                    f"pixels to later shapes, most to {named(coverer)}",
                )
            )
    return findings
