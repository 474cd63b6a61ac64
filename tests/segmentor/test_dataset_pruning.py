"""Pruning shows first, and never takes a shard that another data set lists."""

import datetime
import uuid
from pathlib import Path

import pytest
from builders import scenes, write_as_pod
from typer.testing import CliRunner

from pipelines.cli import app
from segmentor import dataset_pruning
from segmentor.dataset import Dataset
from segmentor.dataset_pruning import plan_pruning, prune
from segmentor.dataset_store import datasets_of, lost_data_sets
from segmentor.object_store import ObjectStore

DAY = datetime.timedelta(days=1)
STATE = "sha256:0123456789abcdef0123"


@pytest.fixture
def destination() -> str:
    return f"s3://b-{uuid.uuid4().hex[:12]}/models"


@pytest.fixture
def aged(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Days that objects seem to have been in the store, by a part of their key."""
    ages: dict[str, int] = {}

    def older(key: str, written: datetime.datetime) -> datetime.datetime:
        return written - sum((DAY * days for part, days in ages.items() if part in key), 0 * DAY)

    objects = ObjectStore.list_objects
    monkeypatch.setattr(
        ObjectStore,
        "list_objects",
        lambda self, uri: (
            item._replace(written=older(item.uri.key, item.written)) for item in objects(self, uri)
        ),
    )
    return ages


def test_nothing_goes_without_being_asked_for(
    store: ObjectStore, destination: str, tmp_path: Path
) -> None:
    write_as_pod(tmp_path / "a", scenes(9), destination)
    before = list(store.list_keys(datasets_of(destination)))
    plan = plan_pruning(store, destination, None)
    assert (len(plan.kept), plan.removed, plan.shards) == (1, (), {})
    result = CliRunner().invoke(app, ["dataset", "prune", destination, "--older-than-days", "1"])
    assert result.exit_code == 0, result.output
    assert "| kept" in result.output
    assert "0 shards to be deleted, 0.0 MiB" in result.output
    assert "every data set is kept: --older-than-days says from which age" in result.output
    assert list(store.list_keys(datasets_of(destination))) == before


def test_an_old_data_set_goes_and_what_another_shares_stays(
    store: ObjectStore, destination: str, tmp_path: Path, aged: dict[str, int]
) -> None:
    old = Dataset(write_as_pod(tmp_path / "old", scenes(9), destination))
    # The first shard of both is the same.
    new = Dataset(write_as_pod(tmp_path / "new", scenes(12), destination))
    shared = set(old.shard_list.files) & set(new.shard_list.files)
    own = set(old.shard_list.files) - shared
    assert shared
    assert own
    aged[old.digest.removeprefix("sha256:")] = 100
    command = ["dataset", "prune", destination, "--older-than-days", "90"]
    shown = CliRunner().invoke(app, command).output
    assert "to be deleted" in shown
    assert "nothing was deleted: --delete does" in shown
    assert list(Dataset(tmp_path / "old").samples) == list(old.samples)
    assert old.image(old.samples[-1]).any()

    deleted = CliRunner().invoke(app, [*command, "--delete"])
    assert deleted.exit_code == 0, deleted.output
    there = {
        uri.key.rpartition("/")[2]
        for uri in store.list_keys(datasets_of(destination).child("shards"))
    }
    assert there == set(new.shard_list.files)
    for sample in new.samples:
        assert new.image(sample).any()
    # check_deployment learns that KFP's cache must not return it.
    assert lost_data_sets(store, destination, STATE) == [old.digest]
    assert plan_pruning(store, destination, 90 * DAY).shards == {}
    # Converted again, it is whole again.
    write_as_pod(tmp_path / "again", scenes(9), destination)
    assert lost_data_sets(store, destination, STATE) == []


def test_shards_of_a_conversion_that_did_not_end_go_after_a_week(
    store: ObjectStore, destination: str, tmp_path: Path, aged: dict[str, int]
) -> None:
    dataset = Dataset(write_as_pod(tmp_path / "a", scenes(9), destination))
    record = datasets_of(destination).child(STATE.removeprefix("sha256:")[:16])
    for uri in list(store.list_keys(record)):
        store.remove(uri)
    plan = plan_pruning(store, destination, None)
    assert plan.shards == {}
    aged["/shards/"] = dataset_pruning.UNLISTED_AFTER.days + 1
    plan = plan_pruning(store, destination, None)
    assert plan.unlisted == len(plan.shards) == len(dataset.shard_list.files)
    assert plan.size == sum(dataset.shard_list.files.values())
    prune(store, plan)
    assert list(store.list_keys(datasets_of(destination))) == []
