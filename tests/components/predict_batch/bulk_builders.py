"""Images in a bucket, and the law of every bulk prediction: one line and one mask an image."""

import io
import json
import tarfile

import numpy as np
import pytest

from components.predict_batch.plan import PREDICTIONS_FILE
from segmentor.digests import digest_bytes
from segmentor.image_io import decode_index, encode_jpeg, encode_png
from segmentor.model import LocalModel
from segmentor.object_store import ObjectStore
from segmentor.object_uri import ObjectUri

BAD = b"no image at all"


def upload_images(store: ObjectStore, prefix: ObjectUri, count: int) -> dict[str, bytes]:
    """Upload images of several sizes and kinds, every ninth of them bad; return them by URI."""
    store.ensure_bucket(prefix.bucket)
    store.write(prefix.child("notes.txt"), b"no image")
    written = {}
    for index in range(count):
        generator = np.random.default_rng(index)
        size = (int(generator.integers(8, 60)), int(generator.integers(8, 60)), 3)
        pixels = generator.integers(0, 256, size, np.uint8)
        is_png = index % 2 == 0
        name = f"drive {index % 3}/{index:03d}.{'png' if is_png else 'JPG'}"
        content = encode_png(pixels) if is_png else encode_jpeg(pixels, 95)
        uri = prefix.child(name)
        store.write(uri, BAD if index % 9 == 4 else content)
        written[str(uri)] = BAD if index % 9 == 4 else content
    return written


def read_lines(store: ObjectStore, output: ObjectUri) -> list[dict]:
    text = store.read(output.child(PREDICTIONS_FILE)).decode()
    return [json.loads(line) for line in text.splitlines()]


def read_masks(store: ObjectStore, output: ObjectUri) -> dict[str, bytes]:
    """Return every mask by its object, or its object and member."""
    masks: dict[str, bytes] = {}
    for uri in store.list_keys(output.child("masks")):
        name, content = uri.key.removeprefix(f"{output.key}/"), store.read(uri)
        if not name.endswith(".tar"):
            masks[name] = content
            continue
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            for member in archive.getmembers():
                assert (name, member.name) not in masks
                masks[f"{name} {member.name}"] = archive.extractfile(member).read()
    return masks


def check_law(
    store: ObjectStore, output: ObjectUri, images: dict[str, bytes], model: LocalModel
) -> None:
    """Exactly one line and one mask an image, both right; bad images have a line alone."""
    lines = read_lines(store, output)
    masks = read_masks(store, output)
    assert sorted(line["image"] for line in lines) == sorted(images)
    good = [line for line in lines if images[line["image"]] != BAD]
    named = [" ".join(filter(None, [line["mask"], line.get("member")])) for line in good]
    assert sorted(named) == sorted(masks)
    assert len(set(named)) == len(named)
    for name, line in zip(named, good, strict=True):
        content = images[line["image"]]
        assert line["image_digest"] == digest_bytes(content)
        assert line["mask_digest"] == digest_bytes(masks[name])
        mask = model.predict(content).mask
        np.testing.assert_array_equal(decode_index(masks[name], name), mask)
        names = model.label_map.names
        shares = {name: np.mean(mask == index) for index, name in enumerate(names)}
        assert line["coverage"] == pytest.approx(shares, abs=1e-6)
        assert line["size"] == list(mask.shape)
    for line in lines:
        assert (line["engine"], line["model_digest"]) == ("onnxruntime", model.digest)
        assert ("error" in line) == (images[line["image"]] == BAD)
