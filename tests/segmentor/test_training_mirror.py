"""Copies of unfinished trainings beside the published models, and their end."""

import datetime
import uuid

import pytest

from segmentor import training_mirror
from segmentor.object_store import ObjectStore
from segmentor.training_mirror import (
    FINISHED,
    finished_text,
    mirror_key,
    mirrors_of,
    remove_finished,
    remove_stale,
)


@pytest.fixture(params=["", "/team/models"])
def destination(store: ObjectStore, request: pytest.FixtureRequest) -> str:
    bucket = f"b-{uuid.uuid4().hex[:12]}"
    store.ensure_bucket(bucket)
    return f"s3://{bucket}{request.param}"


def names(store: ObjectStore, destination: str) -> set[str]:
    folder = mirrors_of(destination)
    return {uri.key.removeprefix(f"{folder.key}/") for uri in store.list_keys(folder)}


def test_the_copy_of_a_finished_training_is_removed_and_no_other(
    store: ObjectStore, destination: str
) -> None:
    folder = mirrors_of(destination)
    for key, digest in (("one", "sha256:1"), ("two", "sha256:2"), ("running", "")):
        store.write(folder.child(f"{key}/training_state.pt"), b"state")
        if digest:
            store.write(folder.child(f"{key}/{FINISHED}"), finished_text(digest))
    remove_finished(store, destination, "sha256:1")
    kept = {"two/training_state.pt", f"two/{FINISHED}", "running/training_state.pt"}
    assert names(store, destination) == kept
    remove_finished(store, destination, "sha256:3")
    assert names(store, destination) == kept


def test_a_copy_that_nobody_writes_is_removed_after_two_weeks(
    store: ObjectStore, destination: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write(mirrors_of(destination).child("old/training_state.pt"), b"state")
    remove_stale(store, destination)
    assert names(store, destination) == {"old/training_state.pt"}
    monkeypatch.setattr(training_mirror, "STALE_AFTER", datetime.timedelta(0))
    remove_stale(store, destination)
    assert names(store, destination) == set()


def test_models_are_not_touched(
    store: ObjectStore, destination: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_mirror, "STALE_AFTER", datetime.timedelta(0))
    model = mirrors_of(destination).parent().child("road/1/model.onnx")
    store.write(model, b"model")
    remove_stale(store, destination)
    remove_finished(store, destination, "sha256:1")
    assert store.exists(model)


def test_a_store_that_refuses_is_no_error(
    store: ObjectStore, caplog: pytest.LogCaptureFixture
) -> None:
    remove_stale(store, "s3://no-such-bucket-here")
    remove_finished(store, "s3://no-such-bucket-here", "sha256:1")
    assert "NoSuchBucket" in caplog.text


def test_another_salt_is_another_training() -> None:
    assert mirror_key("sha256:a", "") == mirror_key("sha256:a", "")
    assert len({mirror_key("sha256:a", ""), mirror_key("sha256:a", "1"), mirror_key("b", "")}) == 3
