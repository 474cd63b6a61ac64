"""Training on shards in the object store ends in the same weights as training on the disk."""

import uuid
from pathlib import Path

import pytest
from builders import scenes, write_as_pod

from components.train.loading.samples import SampleCache
from segmentor.object_store import ObjectStore
from tests.components.train.conftest import train

SHORT = ("model=tiny", "training.epochs=2", "processing.size=[64,96]", "training.batch_size=4")


def write(folder: Path, destination: str) -> Path:
    write_as_pod(folder / "train", scenes(10), destination)
    write_as_pod(folder / "val", scenes(5, first_seed=500), destination)
    return folder


@pytest.mark.parametrize("is_kept", [True, False], ids=["decoded once", "decoded each time"])
def test_the_weights_are_those_of_a_training_on_the_disk(
    is_kept: bool, store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = write(tmp_path / "local", "")
    remote = write(tmp_path / "remote", f"s3://b-{uuid.uuid4().hex[:12]}/models")
    if not is_kept:  # as with a data set that fits neither in memory nor on the disk
        monkeypatch.setattr(SampleCache, "_make_buffer", lambda *_: None)
    weights = []
    for name, data in (("a", local), ("b", remote)):
        outputs = train(data, tmp_path / name, *SHORT)
        assert outputs.code == 0
        weights.append((outputs.checkpoint / "weights.safetensors").read_bytes())
    assert weights[0] == weights[1]
