"""Stretches tell of shapes over one another what painting them pixel by pixel tells."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from components.convert_labels.masks import layers
from components.convert_labels.masks.layers import stack
from components.convert_labels.run_lengths import Runs

PIXELS = 40
bits = st.lists(st.lists(st.booleans(), min_size=PIXELS, max_size=PIXELS), max_size=6)


def runs_of(covers: NDArray[np.bool_]) -> Runs:
    edges = np.flatnonzero(np.diff(np.concatenate(([0], covers, [0]))))
    return edges[::2], edges[1::2] - edges[::2]


@pytest.mark.parametrize("long_run", [0, layers.LONG_RUN], ids=["one by one", "at once"])
@given(shapes=bits)
def test_layers_are_what_painting_by_pixels_gives(long_run: int, shapes: list[list[bool]]) -> None:
    covers = np.array(shapes, np.bool_).reshape(len(shapes), PIXELS)
    painted = np.zeros(PIXELS, np.int64)
    for owner, covered in enumerate(covers, 1):
        painted[covered] = owner
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layers, "LONG_RUN", long_run)
        found = stack([runs_of(covered.astype(np.int8)) for covered in covers], PIXELS)
    values = np.array([7, 1, 2, 1, 3, 255, 2], np.uint8)[: len(shapes) + 1]
    assert (found.mask(values) == values[painted]).all()
    assert (found.value_pixels(values) == np.bincount(values[painted], minlength=256)).all()
    assert (found.visible_pixels() == np.bincount(painted, minlength=len(shapes) + 1)).all()
    for owner, covered in enumerate(covers, 1):
        stretches = found.of_shape(owner)
        assert found.lengths[stretches].sum() == covered.sum()
        assert (found.owners[stretches] >= owner).all()
