"""Class lists as people have them, and masks whose values or alpha need one."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.components.convert_labels.formats.door_builders import SIZE, Files, image, indices, pairs
from tests.components.convert_labels.label_builders import (
    png,
    write_files,
)
from tests.components.convert_labels.step_runs import convert, failure, masks_of


@pytest.mark.parametrize(
    ("name", "text", "names"),
    [
        ("classes.txt", "0 background\n1 road\n", ("background", "road")),
        ("class_names.txt", "_background_\nroad\n", ("background", "road")),
        ("labels.txt", "__ignore__\n_background_\nroad\n", ("background", "road")),
        ("labels.txt", "0: background\n1: road, wet\n", ("background", "road, wet")),
        ("_classes.csv", "Pixel Value, Class\n0, background\n1, road\n", ("background", "road")),
        ("classes.csv", "class,value\nbackground,0\nroad,1\n", ("background", "road")),
        ("label_names.txt", "background\n3 wheeler\n", ("background", "3 wheeler")),
    ],
)
def test_class_lists_are_read_as_people_have_them(
    name: str, text: str, names: tuple[str, ...], tmp_path: Path
) -> None:
    files: Files = {**pairs("images", "masks"), name: text}
    dataset = convert(write_files(tmp_path / "e", files), tmp_path)
    assert dataset.label_map.names == names
    assert np.array_equal(masks_of(dataset)["p1"], indices(1))


def test_a_class_list_may_name_single_values(tmp_path: Path) -> None:
    files: Files = {
        "images/a.jpg": image(),
        "masks/a.png": png(indices(0, (127, 255))),
        "classes.txt": "0 background\n127 smoke\n255 fire\n",
    }
    dataset = convert(write_files(tmp_path / "e", files), tmp_path)
    assert dataset.label_map.names == ("background", "smoke", "fire")
    assert np.array_equal(masks_of(dataset)["a"], indices(0, (1, 2)))


def test_a_list_of_colours_as_csv(tmp_path: Path) -> None:
    colours = np.array([(0, 0, 0), (128, 64, 128)], np.uint8)
    files: Files = {
        "images/a.jpg": image(),
        "masks/a_L.png": png(colours[indices()]),
        "class_dict.csv": "name,r,g,b\nVoid,0,0,0\nRoad,128,64,128\n",
    }
    dataset = convert(write_files(tmp_path / "e", files), tmp_path)
    assert dataset.label_map.names == ("background", "Road", "Void")


@pytest.mark.parametrize("classes", ["", "background\nroad\n"])
def test_indices_beyond_a_byte_are_to_be_numbered_anew(
    classes: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    stream = io.BytesIO()
    Image.fromarray(indices().astype(np.uint16) * 300).save(stream, "PNG")
    wide = stream.getvalue()
    files: Files = {"images/a.jpg": image(), "masks/a.png": wide}
    files |= {"classes.txt": classes} if classes else {}
    error = failure(capfd, write_files(tmp_path / "e", files), tmp_path)
    assert "300" in error
    assert "; number the classes 0 to 254 (255 is 'no ground truth')" in error
    assert "classes.txt:" not in error


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
@pytest.mark.parametrize("value", [0, 255])
def test_a_mask_whose_shape_is_in_its_alpha_channel_is_refused(
    mode: str, value: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """White, or black, all over: read without alpha, it would be all foreground, or empty."""
    stream = io.BytesIO()
    if mode == "P":
        mask = Image.fromarray(indices()).convert("P")
        mask.putpalette([value] * 6)
        mask.save(stream, "PNG", transparency=0)
    else:
        mask = Image.new("L", SIZE[::-1], value).convert(mode)
        mask.putalpha(Image.fromarray(indices() * 255))
        mask.save(stream, "PNG")
    files: Files = {"images/a.jpg": image(), "masks/a.png": stream.getvalue()}
    error = failure(capfd, write_files(tmp_path / "e", files), tmp_path)
    hint = "paint it on black and save it without transparency"
    assert "masks/a.png: an alpha channel that hides some of its pixels, expected" in error
    assert hint in error


def test_a_mask_that_is_transparent_where_it_is_background_is_read(tmp_path: Path) -> None:
    stream = io.BytesIO()
    mask = Image.fromarray(indices() * 255).convert("RGBA")
    mask.putalpha(Image.fromarray(indices() * 255))
    mask.save(stream, "PNG")
    files: Files = {"images/a.jpg": image(), "masks/a.png": stream.getvalue()}
    masks = masks_of(convert(write_files(tmp_path / "e", files), tmp_path))
    assert np.array_equal(masks["a"], indices())


@pytest.mark.parametrize("lists", ["classes.txt", "label_colors.txt"])
def test_alpha_that_hides_objects_is_refused_with_a_class_list_too(
    lists: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Both classes are painted, and only one of them is opaque."""
    values = indices(values=(1, 2))
    colours = np.array([(0, 0, 0), (255, 0, 0), (0, 0, 255)], np.uint8)
    is_list = lists == "classes.txt"
    mask = Image.fromarray(values if is_list else colours[values])
    text = "background\nroad\ncar\n" if is_list else "255 0 0 road\n0 0 255 car\n"
    for hidden, is_refused in (("neither", False), ("car", True)):
        opaque = values > 0 if hidden == "neither" else values == 1
        mask.putalpha(Image.fromarray(opaque.astype(np.uint8) * 255))
        stream = io.BytesIO()
        mask.save(stream, "PNG")
        source = tmp_path / hidden
        files: Files = {"images/a.jpg": image(), "masks/a.png": stream.getvalue(), lists: text}
        write_files(source, files)
        if is_refused:
            error = failure(capfd, source, tmp_path)
            assert "masks/a.png: an alpha channel that hides some of its pixels" in error
        else:
            dataset = convert(source, tmp_path / "read")
            classes = [
                dataset.label_map.names.index(name) for name in ("background", "road", "car")
            ]
            assert np.array_equal(masks_of(dataset)["a"], np.array(classes, np.uint8)[values])


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ("background\n1 road\n", "a number beside 'road' but not on every line, expected"),
        ("0 background\nroad\n", "a number beside 'background' but not on every line"),
    ],
)
def test_a_class_list_that_is_numbered_in_part_is_refused(
    classes: str, message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    files = {**pairs("images", "masks"), "classes.txt": classes}
    assert message in failure(capfd, write_files(tmp_path / "e", files), tmp_path)


@pytest.mark.parametrize(
    ("classes", "names"),
    [
        ("background 0\nroad 1\n", ("background", "road")),
        ("road 1\nbackground 0\n", ("background", "road")),
        ("background\nlane 1\n", ("background", "lane 1")),
        ("lane 0\nlane 1\n", ("lane 0", "lane 1")),
    ],
)
def test_numbers_after_names_are_indices_unless_they_belong_to_the_names(
    classes: str, names: tuple[str, ...], tmp_path: Path
) -> None:
    files = {**pairs("images", "masks"), "classes.txt": classes}
    dataset = convert(write_files(tmp_path / "e", files), tmp_path)
    assert dataset.label_map.names == names
    assert np.array_equal(masks_of(dataset)["p0"], indices())


def test_a_table_of_names_and_colours_is_read_whatever_it_is_called(tmp_path: Path) -> None:
    colours = np.array([(0, 0, 0), (255, 0, 0)], np.uint8)
    files: Files = {
        "classes.csv": "name,r,g,b\nbackground,0,0,0\nroad,255,0,0\n",
        "images/a.jpg": image(),
        "masks/a.png": png(colours[indices()]),
    }
    dataset = convert(write_files(tmp_path / "e", files), tmp_path)
    assert dataset.label_map.names == ("background", "road")
    assert np.array_equal(masks_of(dataset)["a"], indices())


def test_a_class_list_on_one_line_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    files = {**pairs("images", "masks"), "classes.txt": "background, road\n"}
    error = failure(capfd, write_files(tmp_path / "e", files), tmp_path)
    assert "classes.txt: one line, 'background, road', expected the name of each index" in error
