import gzip
import json
import pickle
import tarfile
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import webdataset
from hypothesis import given
from hypothesis import strategies as st

from segmentor.dataset import Dataset
from segmentor.dataset_writer import DatasetWriter, shard_key
from segmentor.errors import ContractError, DataError, MaskError
from segmentor.image_io import encode_jpeg, encode_png
from segmentor.label_map import LabelMap

LABELS = LabelMap.of(["background", "road"])


def write(folder, count=5, shard_bytes=1 << 28, provenance=None):
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    with DatasetWriter(folder, LABELS, provenance or {}, shard_bytes) as writer:
        for i in range(count):
            pixels = rng.integers(0, 256, (12, 17, 3), np.uint8)
            image = encode_png(pixels) if i % 2 else encode_jpeg(pixels)
            mask = rng.integers(0, 2, (12, 17), np.uint8)
            writer.add(f"drive.{i // 2}/frame {i}.v1", image, mask, f"drive.{i // 2}")
    return Dataset(folder)


def test_samples_come_back_as_they_were_written(tmp_path):
    dataset = write(tmp_path / "d")
    rng = np.random.default_rng(0)
    assert len(dataset) == len(dataset.samples) == 5
    for i, sample in enumerate(dataset.samples):
        pixels = rng.integers(0, 256, (12, 17, 3), np.uint8)
        mask = rng.integers(0, 2, (12, 17), np.uint8)
        assert dataset.sample_at(i) == sample
        assert sample.size == (12, 17)
        assert sample.extension == ("png" if i % 2 else "jpg")
        assert sample.class_pixels == (int((mask == 0).sum()), int((mask == 1).sum()))
        np.testing.assert_array_equal(dataset.mask(sample), mask)
        if i % 2:
            np.testing.assert_array_equal(dataset.image(sample), pixels)
        else:
            assert dataset.image_content(sample) == encode_jpeg(pixels)


# webdataset leaves its files to the garbage collector
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_shards_are_tar_files_that_webdataset_reads(tmp_path):
    dataset = write(tmp_path / "d", shard_bytes=4000)
    shards = [str(tmp_path / "d" / name) for name in dataset.shard_list.files]
    assert len(shards) > 1
    read = list(webdataset.WebDataset(shards, shardshuffle=False, empty_check=False))
    assert [item["__key__"] for item in read] == [shard_key(s.id) for s in dataset.samples]
    for item, sample in zip(read, dataset.samples, strict=True):
        assert item["mask.png"] == dataset.mask_content(sample)
        assert item[f"image.{sample.extension}"] == dataset.image_content(sample)
    with tarfile.open(shards[0]) as tar:
        assert tar.getnames()[0] == "drive%2E0/frame 0%2Ev1.image.jpg"


def test_an_artifact_of_schema_version_1_is_read(tmp_path):
    old = Dataset(Path(__file__).with_name("data") / "schema_version_1")
    new = write(tmp_path / "d", shard_bytes=4000)
    assert old.digest == new.digest
    assert len(old.shard_list.files) == len(new.shard_list.files) == 3
    for one, other in zip(old.samples, new.samples, strict=True):
        assert one == other
        assert old.image_content(one) == new.image_content(other)
        assert old.mask_content(one) == new.mask_content(other)
    assert old.sample_at(3) == new.sample_at(3)


def test_shards_are_named_by_their_digest(tmp_path):
    dataset = write(tmp_path / "d", shard_bytes=4000)
    for name, size in dataset.shard_list.files.items():
        content = (tmp_path / "d" / name).read_bytes()
        assert (name, size) == (f"shard-{sha256(content).hexdigest()}.tar", len(content))


def test_samples_are_a_sequence(tmp_path):
    samples = write(tmp_path / "d").samples
    listed = list(samples)
    assert [samples[position] for position in range(-5, 5)] == listed * 2
    assert list(samples[1::2]) == listed[1::2]
    with pytest.raises(IndexError):
        samples[5]
    assert list(write(tmp_path / "empty", count=0).samples) == []


def test_a_damaged_list_is_named(tmp_path):
    dataset = write(tmp_path / "d")
    path = tmp_path / "d" / "samples.jsonl"
    plain = path.read_bytes()
    path.write_bytes(plain[:100])
    with pytest.raises(ContractError, match=r"samples.jsonl: an invalid line"):
        list(dataset)
    path.unlink()
    dataset = Dataset(dataset.folder)
    (tmp_path / "d" / "samples.jsonl.gz").write_bytes(gzip.compress(plain)[:100])
    with pytest.raises(ContractError, match=r"samples.jsonl.gz: unreadable"):
        list(dataset)


def test_lines_alone_lead_to_the_pixels(tmp_path):
    dataset = write(tmp_path / "d", shard_bytes=4000)
    assert len(dataset.shard_list.files) > 1
    for line, sample in zip(
        (tmp_path / "d" / "samples.jsonl").read_text().splitlines(), dataset.samples, strict=True
    ):
        value = json.loads(line)
        shard = (tmp_path / "d" / value["shard"]).read_bytes()
        mask = shard[value["mask_offset"] :][: value["mask_bytes"]]
        assert mask == dataset.mask_content(sample)


def test_digest_is_of_the_content_not_of_shards_or_provenance(tmp_path):
    one = write(tmp_path / "one")
    two = write(tmp_path / "two", shard_bytes=4000, provenance={"source": "elsewhere"})
    assert one.digest == two.digest
    assert write(tmp_path / "three", count=4).digest != one.digest


def test_equal_content_gives_equal_files(tmp_path):
    write(tmp_path / "one")
    write(tmp_path / "two")
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_name_used_twice_is_refused(tmp_path):
    image, mask = encode_png(np.zeros((2, 2, 3), np.uint8)), np.zeros((2, 2), np.uint8)
    with DatasetWriter(tmp_path, LABELS, {}) as writer:
        writer.add("a", image, mask, "g")
        with pytest.raises(DataError, match="the name twice"):
            writer.add("a", image, mask, "g")


def test_error_while_writing_leaves_no_manifest(tmp_path):
    image = encode_png(np.zeros((2, 2, 3), np.uint8))

    def write_bad_mask():
        with DatasetWriter(tmp_path, LABELS, {}) as writer:
            writer.add("a", image, np.full((2, 2), 7, np.uint8), "g")

    with pytest.raises(MaskError):
        write_bad_mask()
    assert not (tmp_path / "manifest.json").exists()


def test_mask_of_another_size_or_class_is_refused(tmp_path):
    image = encode_png(np.zeros((2, 3, 3), np.uint8))
    with DatasetWriter(tmp_path, LABELS, {}) as writer:
        with pytest.raises(DataError, match="mask of 3 x 2, expected the image's size 2 x 3"):
            writer.add("a", image, np.zeros((3, 2), np.uint8), "g")
        with pytest.raises(MaskError, match="class index 2"):
            writer.add("a", image, np.full((2, 3), 2, np.uint8), "g")


def test_folder_without_a_data_set_says_what_to_do(tmp_path):
    remedy = f"if it is an export, convert it first: segmentor run --export {tmp_path}"
    with pytest.raises(ContractError, match=rf"no manifest.json.*; {remedy}"):
        Dataset(tmp_path)


def test_an_export_and_nothing_are_no_data_sets_and_the_error_says_so(tmp_path):
    (tmp_path / "export.zip").write_bytes(b"PK")
    with pytest.raises(ContractError, match=r"export.zip: a file, .*run --export .*export.zip"):
        Dataset(tmp_path / "export.zip")
    with pytest.raises(
        ContractError, match=r"nothing: no such folder.* which convert_labels writes$"
    ):
        Dataset(tmp_path / "nothing")


def test_other_schema_version_is_refused(tmp_path):
    write(tmp_path / "d")
    path = tmp_path / "d" / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema_version": 3}))
    with pytest.raises(ContractError, match="schema version 3, expected 1 or 2"):
        Dataset(tmp_path / "d")


def test_truncated_shard_is_an_error_not_a_short_image(tmp_path):
    dataset = write(tmp_path / "d")
    (shard,) = (tmp_path / "d").glob("shard-*.tar")
    shard.write_bytes(shard.read_bytes()[:1000])
    with pytest.raises(ContractError, match="truncated"):
        dataset.image(dataset.samples[-1])


def test_opened_data_set_travels_to_another_process(tmp_path):
    dataset = write(tmp_path / "d")
    dataset.mask(dataset.samples[0])
    copy = pickle.loads(pickle.dumps(dataset))
    np.testing.assert_array_equal(copy.mask(copy.samples[1]), dataset.mask(dataset.samples[1]))


@given(st.text(min_size=1), st.text(min_size=1))
def test_shard_keys_hold_no_dot_and_never_collide(one, two):
    assert "." not in shard_key(one)
    if one != two:
        assert shard_key(one) != shard_key(two)
