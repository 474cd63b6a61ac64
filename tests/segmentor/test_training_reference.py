import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from segmentor.training_reference import BINS, histogram, mean_brightness, tenth


def test_an_upper_bound_belongs_to_its_bin():
    assert [tenth(value) for value in (0, 0.05, 0.1, 0.100001, 0.95, 1.0)] == [0, 0, 0, 1, 9, 9]


@given(st.lists(st.floats(0, 1)))
def test_every_value_is_counted_once(values):
    counts = histogram(values)
    assert len(counts) == BINS
    assert sum(counts) == len(values)


def test_brightness_is_of_the_pixels_whatever_the_size():
    for size in ((1, 1), (7, 300), (64, 96)):
        assert mean_brightness(np.full((*size, 3), 51, np.uint8)) == 0.2
