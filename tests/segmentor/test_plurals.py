"""Counts in messages."""

import pytest

from segmentor.plurals import counted


@pytest.mark.parametrize(
    ("count", "said"), [(0, "0 images"), (1, "1 image"), (2, "2 images"), (1200, "1,200 images")]
)
def test_only_one_is_singular(count, said):
    assert counted(count, "image") == said


def test_a_plural_that_is_not_regular_is_given():
    assert counted(1, "image has", "images have") == "1 image has"
    assert counted(2, "image has", "images have") == "2 images have"
