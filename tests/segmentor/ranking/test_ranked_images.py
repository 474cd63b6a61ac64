"""What to label next."""

import csv

import numpy as np
import pytest
from builders import write_dataset
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from red_model import LABEL_MAP, write_red_model
from red_pictures import label, picture

from segmentor.errors import ContractError
from segmentor.image_io import encode_png
from segmentor.label_map import LabelMap
from segmentor.model import open_model
from segmentor.ranking.images import Look, doubt, margins, spread
from segmentor.ranking.ranking import UnlabelledImage, rank, write_lists
from segmentor.ranking.report import build_report

FLAT = np.zeros((16, 16), np.float32)
PROBABILITIES = arrays(np.float32, (3, 5, 7), elements=st.floats(0, 1, width=32))


@pytest.fixture
def model(tmp_path):
    return open_model(write_red_model(tmp_path / "model"), threads=1)


def unlabelled(name, pixels, group=""):
    return UnlabelledImage(name, group, lambda: encode_png(pixels))


def test_the_image_in_doubt_comes_first(model):
    images = [
        unlabelled("sure", picture((10, 10, 50, 40), red=250)),
        unlabelled("in doubt", picture((10, 10, 50, 40), red=140)),
    ]
    ranking = rank(model, None, images)
    assert [item.image.name for item in ranking.images] == ["in doubt", "sure"]


def test_frames_of_one_drive_wait(model):
    images = [
        unlabelled(f"frame_{n}", picture((10, 10, 50, 40), red=140 + n), "drive") for n in range(5)
    ]
    images.append(unlabelled("elsewhere", picture((2, 30, 30, 78), red=170), "other"))
    names = [item.image.name for item in rank(model, None, images).images]
    assert names[:2] == ["frame_0", "elsewhere"]


def test_images_that_look_alike_wait_without_groups(model):
    images = [unlabelled(f"frame_{n}", picture((10, 10, 50, 40), red=140 + n)) for n in range(5)]
    images.append(unlabelled("elsewhere", picture((2, 30, 30, 78), red=170)))
    names = [item.image.name for item in rank(model, None, images).images]
    assert names[:2] == ["frame_0", "elsewhere"]


def test_an_image_that_cannot_be_read_keeps_no_other_waiting(model):
    images = [
        UnlabelledImage("cut", "", lambda: b"cut"),
        unlabelled("whole", picture((10, 10, 50, 40))),
    ]
    ranking = rank(model, None, images)
    assert [item.image.name for item in ranking.images] == ["whole"]
    assert ranking.problems[0].startswith("cut: ")


def test_other_classes_than_the_models_are_refused(model, tmp_path):
    samples = iter([("image", picture(), label(), "drive")])
    dataset = write_dataset(tmp_path / "other", samples, LabelMap.of(["background", "lane"]))
    with pytest.raises(ContractError, match=r"classes background, lane.*background, road"):
        rank(model, dataset, [])


def test_samples_that_nobody_labelled_say_nothing(model, tmp_path):
    block = (10, 10, 50, 40)
    samples = [(f"image_{n}", picture(block), label(), "drive") for n in range(2)]
    dataset = write_dataset(tmp_path / "empty", iter(samples), LABEL_MAP)
    ranking = rank(model, dataset, [], without={"image_0"})
    assert {item.sample for item in ranking.suspicions} == {"image_1"}


def test_lists_and_report_say_the_same(model, tmp_path):
    block = (10, 10, 50, 40)
    samples = [("street <1>", picture(block), label(), "drive")]
    dataset = write_dataset(tmp_path / "dataset", iter(samples), LABEL_MAP)
    images = [unlabelled("next.png", picture(block, red=140), "drive")]
    ranking = rank(model, dataset, images)
    write_lists(tmp_path, ranking)
    with (tmp_path / "labels.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert [row[name] for name in ("image", "kind", "labelled", "looks_like")] == [
        "street <1>",
        "missed object",
        "background",
        "road",
    ]
    assert [int(row[name]) for name in ("top", "left", "bottom", "right")] == list(block)
    with (tmp_path / "images.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["image"] == "next.png"
    page = build_report(ranking, model, dataset, {"next.png": "http://cvat/tasks/1"}).html()
    assert "street &lt;1&gt;: Missed object? This looks like road" in page
    assert "x 10 to 40, y 10 to 50" in page
    assert page.count("<figure>") == 2
    assert 'href="http://cvat/tasks/1"' in page


@given(probability=PROBABILITIES)
def test_margins_are_the_gap_between_the_two_largest(probability):
    two = np.sort(probability, axis=0)[-2:]
    np.testing.assert_array_equal(margins(probability), two[1] - two[0])


@given(probability=PROBABILITIES)
def test_doubt_is_a_share(probability):
    assert 0 <= doubt(probability) <= 1


def test_a_model_that_is_sure_has_no_doubt_and_one_that_guesses_has_nothing_else():
    sure = np.zeros((3, 4, 4), np.float32)
    sure[1] = 1
    assert doubt(sure) == 0
    assert doubt(np.full((3, 4, 4), 1 / 3, np.float32)) == 1
    assert doubt(np.full((1, 4, 4), 0.5, np.float32)) == 1


@given(
    scores=st.lists(st.floats(0, 1), max_size=12),
    groups=st.lists(st.sampled_from(["", "a", "b"]), min_size=12, max_size=12),
    most=st.integers(0, 14),
)
def test_spreading_loses_no_image_and_starts_with_the_best(scores, groups, most):
    pictures = [FLAT + 100 * n for n in range(12)]
    looks = [Look(group, p) for group, p in zip(groups, pictures, strict=True)][: len(scores)]
    order = spread(scores, looks, most)
    assert sorted(order) == list(range(len(scores)))
    if scores:
        assert scores[order[0]] == max(scores)
    apart = [Look("", picture) for picture in pictures][: len(scores)]
    values = [scores[position] for position in spread(scores, apart, most)]
    assert values == sorted(scores, reverse=True)
