"""Labels that a project lists and no image has: left out, said, and kept when they are named."""

import html
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from segmentor.dataset_writer import ShardWriter
from tests.components.convert_labels.label_builders import (
    BOX,
    Drawn,
    Task,
    coco_export,
    cvat_xml,
    datumaro_export,
    images_export,
    many_images,
    mask_export,
    plain_task,
    write_files,
)
from tests.components.convert_labels.label_builders import encoded as encoded_image
from tests.components.convert_labels.label_builders import png as encoded_mask
from tests.components.convert_labels.step_runs import (
    assert_equal_files,
    convert,
    failure,
    masks_of,
    run_convert,
)

Writer = Callable[[Task, Path], Path]
WRITERS = (images_export, mask_export, coco_export, datumaro_export)


def with_unused(task: Task) -> Task:
    """Add labels that sort before, between and after the others."""
    colours = {"arch": (1, 2, 3), "never used": (4, 5, 6), **task.colours, "zebra": (7, 8, 9)}
    return Task(task.images, task.shapes, colours)


@pytest.mark.parametrize("write", WRITERS)
def test_labels_that_no_image_has_are_left_out_as_if_the_used_ones_were_named(
    write: Writer, tmp_path: Path
) -> None:
    export = write(with_unused(plain_task()), tmp_path / "e.zip")
    dataset = convert(export, tmp_path / "a")
    assert dataset.label_map.names == ("background", "car", "road", "traffic light")
    named = convert(export, tmp_path / "b", "--classes", "car,road,traffic light")
    assert dataset.digest == named.digest
    assert_equal_files(dataset.folder, named.folder)


@pytest.mark.parametrize("write", [images_export, mask_export])
def test_an_export_with_unused_labels_gives_the_data_set_of_one_without_them(
    write: Writer, tmp_path: Path
) -> None:
    used = Task(many_images(70).images, many_images(70).shapes, {"car": (0, 0, 142)})
    spare = Task(used.images, used.shapes, {"a": (1, 2, 3), **used.colours, "z": (7, 8, 9)})
    without, having = (
        convert(write(task, tmp_path / f"{n}.zip"), tmp_path / n)
        for n, task in (("without", used), ("having", spare))
    )
    assert without.digest == having.digest
    assert having.samples[0].class_pixels == without.samples[0].class_pixels


def test_only_unused_labels_behind_the_used_ones_leave_the_masks_as_they_are(
    tmp_path: Path,
) -> None:
    task = plain_task()
    colours = {**task.colours, "zebra": (7, 8, 9)}
    dataset = convert(
        images_export(Task(task.images, task.shapes, colours), tmp_path / "e"), tmp_path
    )
    plain = convert(images_export(task, tmp_path / "p"), tmp_path / "plain")
    assert dataset.digest == plain.digest


def test_it_is_said_on_the_page_in_its_metadata_and_in_the_figures(tmp_path: Path) -> None:
    export = images_export(with_unused(plain_task()), tmp_path / "e.zip")
    values = {
        name: {"artifacts": [{"name": name, "uri": str(tmp_path / name), "metadata": {}}]}
        for name in ("dataset", "label_report", "label_metrics")
    }
    output = tmp_path / "output.json"
    request = {"outputs": {"artifacts": values, "outputFile": str(output)}}
    assert run_convert(export, tmp_path, "--executor-input", json.dumps(request)) == 0
    said = (
        "Left out: 'arch', 'never used', 'zebra', labels of the export that no image has. "
        "Name them in --classes (or --label-map) to keep them."
    )
    artifacts = json.loads(output.read_text())["artifacts"]
    assert said in artifacts["label_report"]["artifacts"][0]["metadata"]["warnings"]
    assert artifacts["dataset"]["artifacts"][0]["metadata"]["classes"] == 4
    page = (tmp_path / "label-report").read_text()
    assert "&#x27;never used&#x27;" in page
    figures = json.loads((tmp_path / "label-metrics").read_text())
    assert figures["classes"] == 4
    assert "images_arch" not in figures


def test_a_class_that_is_named_stays_though_no_image_has_it(tmp_path: Path) -> None:
    export = images_export(with_unused(plain_task()), tmp_path / "e.zip")
    dataset = convert(export, tmp_path, "--classes", "zebra,*=*")
    assert dataset.label_map.names == ("background", "zebra", "car", "road", "traffic light")
    page = (tmp_path / "label-report").read_text()
    assert "Class &#x27;zebra&#x27; is in no image" in page


def test_a_label_whose_only_shape_is_covered_by_another_is_unused(tmp_path: Path) -> None:
    over = Drawn("box", "road", [0, 0, 12, 12])
    task = Task({"a.png": (24, 32)}, {"a.png": [BOX, over]})
    assert convert(images_export(task, tmp_path / "e"), tmp_path).label_map.names == (
        "background",
        "road",
    )


def test_index_masks_are_renumbered(tmp_path: Path) -> None:
    mask = np.zeros((24, 32), np.uint8)
    mask[5:] = 2
    mask[9:] = 255
    source = write_files(
        tmp_path / "source",
        {
            "classes.txt": "sky\nnever\nroad\n",
            "train/a.png": encoded_image((24, 32), "a.png"),
            "trainannot/a.png": encoded_mask(mask),
        },
    )
    dataset = convert(source, tmp_path)
    assert dataset.label_map.names == ("sky", "road")
    expected = np.where(mask == 2, 1, mask)
    np.testing.assert_array_equal(masks_of(dataset)["a"], expected)


def test_an_export_in_which_nothing_is_labelled_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    task = Task({"a.png": (24, 32)})
    error = failure(capfd, images_export(task, tmp_path / "e"), tmp_path)
    assert "no pixel of any label ('car', 'road', 'traffic light') in 1 image" in error


def test_no_image_is_converted_twice_where_labels_are_unused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    append = ShardWriter.append
    monkeypatch.setattr(
        ShardWriter,
        "append",
        lambda self, name, *rest, **more: written.append(name) or append(self, name, *rest, **more),
    )
    dataset = convert(images_export(with_unused(plain_task()), tmp_path / "e.zip"), tmp_path)
    assert len(written) == len(set(written)) == 2 * len(dataset)


def test_a_class_that_only_a_bad_sample_has_is_unused(tmp_path: Path) -> None:
    whole, cut = encoded_image((24, 32), "a.png", 1), encoded_image((24, 32), "b.png", 2)[:-60]
    boxes = {"a.png": "car", "b.png": "road"}
    task = Task(
        {name: (24, 32) for name in boxes},
        {name: [Drawn("box", label, [2, 2, 9, 9])] for name, label in boxes.items()},
    )
    files = {"annotations.xml": cvat_xml(task), "images/a.png": whole, "images/b.png": cut}
    export = write_files(tmp_path / "e", files)
    dataset = convert(export, tmp_path / "out", "--bad-samples", "skip")
    assert dataset.label_map.names == ("background", "car")
    assert [sample.id for sample in dataset.samples] == ["a"]


@pytest.mark.parametrize("write", [images_export, coco_export, datumaro_export])
def test_labels_that_no_shape_has_do_not_count_among_those_that_a_mask_can_hold(
    write: Writer, tmp_path: Path
) -> None:
    task = plain_task()
    many = {f"label {number:03d}": (number % 256, 1, number // 256) for number in range(300)}
    export = write(Task(task.images, task.shapes, {**task.colours, **many}), tmp_path / "e.zip")
    dataset = convert(export, tmp_path)
    assert dataset.label_map.names == ("background", "car", "road", "traffic light")
    text = "'label 039' and 260 more, labels of the export that no image has"
    assert text in report_of(tmp_path)
    named = convert(export, tmp_path / "b", "--classes", "road,car,label 007,traffic light")
    assert "label 007" in named.label_map.names


def test_more_labels_in_use_than_a_mask_can_hold_are_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    colours = {f"label {number:03d}": (number % 256, 1, number // 256) for number in range(255)}
    shapes = [Drawn("box", name, [0, 0, 9, 9], z_order=n) for n, name in enumerate(colours)]
    task = Task({"x.png": (20, 20)}, {"x.png": shapes}, colours)
    for write in (images_export, mask_export):
        error = failure(capfd, write(task, tmp_path / "e.zip"), tmp_path)
        assert "256 classes, expected at most 254, as a mask has bytes; name those" in error


def report_of(folder: Path) -> str:
    return html.unescape((folder / "label-report").read_text())


def test_one_class_that_is_left_of_several_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    files = {
        "classes.txt": "road\ncar\n",
        "train/a.png": encoded_image((8, 8), "a.png"),
        "trainannot/a.png": encoded_mask(np.zeros((8, 8), np.uint8)),
    }
    message = failure(capfd, write_files(tmp_path / "e", files), tmp_path / "out")
    assert "one class, 'road', and nothing to tell it from" in message
