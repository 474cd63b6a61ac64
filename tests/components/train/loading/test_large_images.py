"""Images that are too large for one pass, or for eyes: tiles and smaller pictures."""

import numpy as np
import pytest
import torch
from builders import ROAD, draw_scene, scenes, write_dataset
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from components.train.overlays import LONGEST, draw
from segmentor import tiling

TILE = 288  # larger than the overlap of tiles twice


@pytest.fixture(scope="module")
def large_data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("large")
    write_dataset(folder / "train", scenes(4, ROAD), ROAD)
    write_dataset(folder / "val", scenes(1, ROAD, size=(400, 900), first_seed=500), ROAD)
    return folder


@pytest.fixture
def seen_pixels(monkeypatch):
    """Pixels of the batches that a network was given, by whether it was training."""
    monkeypatch.setattr(tiling, "TILE", TILE)
    seen = {True: 0, False: 0}

    def note(module, arguments):
        if hasattr(module, "segmentation_head"):
            size = arguments[0].shape[-2] * arguments[0].shape[-1]
            seen[module.training] = max(seen[module.training], size)

    handle = torch.nn.modules.module.register_module_forward_pre_hook(note)
    yield seen
    handle.remove()


def test_validation_threshold_and_report_run_large_images_in_tiles(
    train, large_data, tmp_path, seen_pixels
):
    outputs = train(
        large_data, tmp_path, "processing=small_objects", "processing.size=[32,64]",
        "training.epochs=1",
    )  # fmt: skip
    assert outputs.code == 0
    assert seen_pixels[True] == 32 * 64
    assert 0 < seen_pixels[False] <= TILE**2
    events = EventAccumulator(str(tmp_path / "logs" / "valid"))
    events.Reload()
    image = events.Images(events.Tags()["images"][0])[0]
    assert (image.height, image.width) == (round(416 * LONGEST / 928), LONGEST)  # to the stride


def test_a_picture_for_eyes_keeps_its_shape_and_its_colours():
    image, mask = draw_scene(0, (1000, 2000))
    mask = (mask == 1).astype(np.uint8)
    drawn = draw(image, mask, ROAD)
    assert drawn.shape == (LONGEST // 2, LONGEST, 3)
    whole = draw(image[:400, :600], mask[:400, :600], ROAD)
    assert whole.shape == (400, 600, 3)
    narrow = draw(np.zeros((3000, 1, 3), np.uint8), np.ones((3000, 1), np.uint8), ROAD)
    assert narrow.shape == (LONGEST, 1, 3)
