"""The demo's scenes are the same every time, vary, and are packed as CVAT does."""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.demo.cvat_export import COLOURS, labelmap_text, write_cvat_export
from pipelines.demo.drives import SETTINGS, SIZE
from pipelines.demo.painting import BACKGROUND, CAR, LABELS, LANE_MARK, ROAD
from pipelines.demo.scenes import DRIVES, FRAMES, Scene, draw_scene
from segmentor.digests import digest_file

SOME = [("country", 0, 0), ("town", 3, 1), ("motorway", 5, 3)]


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [draw_scene(*names) for names in SOME]


def test_a_scene_is_drawn_the_same_again(scenes: list[Scene]) -> None:
    again = draw_scene(*SOME[1])

    assert again.name == scenes[1].name
    np.testing.assert_array_equal(again.image, scenes[1].image)
    np.testing.assert_array_equal(again.mask, scenes[1].mask)


@pytest.mark.parametrize("setting", SETTINGS)
def test_every_setting_has_road_marks_and_background_and_no_frame_twice(setting: str) -> None:
    drawn = [draw_scene(setting, drive, frame) for drive in (1, 4) for frame in range(FRAMES)]

    for scene in drawn:
        assert scene.image.shape == (*SIZE, 3)
        share = (scene.mask == ROAD).mean()
        assert 0.05 < share < 0.6, scene.name
        assert {BACKGROUND, ROAD, LANE_MARK} <= set(np.unique(scene.mask))
    assert len({scene.image.tobytes() for scene in drawn}) == len(drawn)


def test_some_scenes_have_cars_on_the_road() -> None:
    assert any((draw_scene("motorway", 0, frame).mask == CAR).any() for frame in range(FRAMES))


def test_light_varies_between_drives() -> None:
    means = [draw_scene("country", drive, 0).image.mean() for drive in range(DRIVES)]

    assert max(means) > 1.3 * min(means)


def test_the_export_is_laid_out_and_coloured_as_cvat_does(
    scenes: list[Scene], tmp_path: Path
) -> None:
    path = tmp_path / "export.zip"
    write_cvat_export(scenes, path)

    with zipfile.ZipFile(path) as archive:
        names = [scene.name for scene in scenes]
        assert set(archive.namelist()) == {
            "labelmap.txt",
            "ImageSets/Segmentation/default.txt",
            *(f"JPEGImages/{name}.jpg" for name in names),
            *(f"SegmentationClass/{name}.png" for name in names),
            *(f"SegmentationObject/{name}.png" for name in names),
        }
        assert archive.read("ImageSets/Segmentation/default.txt").decode().split() == names
        for scene in scenes:
            with Image.open(io.BytesIO(archive.read(f"SegmentationClass/{scene.name}.png"))) as png:
                assert png.mode == "RGB"
                colours = np.asarray(png)
            for index, label in enumerate(LABELS):
                np.testing.assert_array_equal(
                    (colours == COLOURS[label]).all(axis=2), scene.mask == index
                )


def test_equal_scenes_give_an_equal_zip(scenes: list[Scene], tmp_path: Path) -> None:
    write_cvat_export(scenes, tmp_path / "a.zip")
    write_cvat_export(iter(scenes), tmp_path / "b.zip")

    assert digest_file(tmp_path / "a.zip") == digest_file(tmp_path / "b.zip")


def test_a_failure_half_way_leaves_no_zip(scenes: list[Scene], tmp_path: Path) -> None:
    def broken() -> Iterator[Scene]:
        yield scenes[0]
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        write_cvat_export(broken(), tmp_path / "export.zip")

    assert list(tmp_path.iterdir()) == []


def test_labels_are_sorted_in_code_point_order() -> None:
    text = labelmap_text({"road": (1, 2, 3), "Zebra": (4, 5, 6), "background": (0, 0, 0)})

    assert text.splitlines() == [
        "# label:color_rgb:parts:actions",
        "Zebra:4,5,6::",
        "background:0,0,0::",
        "road:1,2,3::",
    ]
