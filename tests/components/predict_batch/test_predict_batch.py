"""All images of a prefix or a list become masks and lines, equal to what a predictor serves."""

import os

import numpy as np
import pytest
from red_model import write_red_model

from components.predict_batch.step import predict_batch
from pipelines.predictor.process import running_predictor
from segmentor.errors import ConfigError, DataError
from segmentor.image_io import decode_index, encode_png
from segmentor.model import LocalModel
from segmentor.predictor_client import Predictor
from tests.components.predict_batch.bulk_builders import BAD, check_law, read_lines, read_masks


@pytest.mark.parametrize("mask_files", ["png", "tar"])
def test_each_image_has_one_line_and_one_mask(
    store, source, images, output, model, mask_files
) -> None:
    plan, totals = predict_batch(str(source), str(model), str(output), mask_files, part_images=7)
    check_law(store, output, images, LocalModel(model))
    bad = [uri for uri, content in images.items() if content == BAD]
    assert (totals.images, totals.bad_images) == (len(images), len(bad))
    assert [item.split(": ")[0] for item in totals.first_bad] == bad
    assert plan.parts == 6


@pytest.mark.parametrize("kind", ["model", "network"])
def test_masks_are_those_of_the_predictor_pixel_by_pixel(
    store, source, images, output, kind, tmp_path, request
) -> None:
    model = request.getfixturevalue(kind)
    predict_batch(str(source), str(model), str(output))
    check_law(store, output, images, LocalModel(model))
    masks = read_masks(store, output)
    with (
        running_predictor("red", str(model), os.environ, tmp_path / "log") as url,
        Predictor(url) as predictor,
    ):
        for line in read_lines(store, output):
            if "mask" in line:
                reply = predictor.predict(images[line["image"]], "application/octet-stream", "mask")
                np.testing.assert_array_equal(
                    decode_index(masks[line["mask"]], "bulk"), decode_index(reply.content, "served")
                )
                assert reply.digest == line["model_digest"]


def test_the_images_of_a_list_are_predicted_wherever_they_are(
    store, source, images, output, model
) -> None:
    chosen = list(images)[5:25]
    text = source.child("chosen.txt")
    store.write(text, "".join(f"{uri}\n" for uri in [*chosen[:3], "", *chosen[3:]]).encode())
    predict_batch(str(text), str(model), str(output), part_images=7)
    check_law(store, output, {uri: images[uri] for uri in chosen}, LocalModel(model))


def test_one_image_is_predicted_alone(store, source, images, output, model) -> None:
    uri = next(iter(images))
    predict_batch(uri, str(model), str(output))
    check_law(store, output, {uri: images[uri]}, LocalModel(model))


def test_an_image_that_was_removed_meanwhile_is_a_bad_one(
    store, source, images, output, model
) -> None:
    text = source.child("chosen.txt")
    store.write(text, f"{source.child('gone.png')}\n{next(iter(images))}\n".encode())
    _, totals = predict_batch(str(text), str(model), str(output))
    assert totals.first_bad == [f"{source.child('gone.png')}: no such object"]
    assert totals.masks == 1


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("{0}\n{0}\n", "line 2: s3://.* a second time, expected each once"),
        ("{0}\nphotograph.png\n", "photograph.png: no object store URI"),
        ("\n", "no image, expected objects that end in"),
    ],
)
def test_a_wrong_list_is_refused(store, source, images, output, model, lines, message) -> None:
    text = source.child("chosen.txt")
    store.write(text, lines.format(next(iter(images))).encode())
    with pytest.raises(Exception, match=message):
        predict_batch(str(text), str(model), str(output))


def test_a_finished_prediction_is_done_again_for_nothing(
    store, source, images, output, model
) -> None:
    predict_batch(str(source), str(model), str(output))
    before = store.state(output.child("masks"))
    predict_batch(str(source), str(model), str(output))
    check_law(store, output, images, LocalModel(model))
    assert store.state(output.child("masks")) == before


def test_predictions_are_never_overwritten_by_others(
    store, source, images, output, model, tmp_path
) -> None:
    predict_batch(str(source), str(model), str(output))
    other = write_red_model(tmp_path / "other", threshold=0.25)
    with pytest.raises(ConfigError, match="by the model sha256:.*give another place"):
        predict_batch(str(source), str(other), str(output))
    store.write(source.child("new.png"), encode_png(np.zeros((8, 8, 3), np.uint8)))
    with pytest.raises(ConfigError, match=r"was before, 40 images"):
        predict_batch(str(source), str(model), str(output))
    taken = output.parent().child("taken")
    store.write(taken.child("report.html"), b"")
    with pytest.raises(ConfigError, match=r"other objects \(taken/report.html\)"):
        predict_batch(str(source), str(model), str(taken))
    with pytest.raises(ConfigError, match="expected a place outside the images"):
        predict_batch(str(source), str(model), str(source.child("masks")))


def test_masks_of_others_are_found_in_the_count(store, source, images, output, model) -> None:
    def with_a_stranger(store, output, plan, opened) -> None:
        from components.predict_batch.step import predict_here

        predict_here(store, output, plan, opened)
        store.write(output.child("masks/stranger.png"), b"")

    with pytest.raises(DataError, match="37 objects, expected the 36 that the lines name"):
        predict_batch(str(source), str(model), str(output), predict_all=with_a_stranger)
    assert not store.exists(output.child("predictions.jsonl"))
