"""What a source is today changes with its content, and with nothing else."""

import os
import uuid

import pytest

from segmentor.errors import StoreError
from segmentor.object_uri import ObjectUri
from segmentor.source_state import source_state


def test_a_file_that_is_replaced_is_another_source(tmp_path):
    path = tmp_path / "task.zip"
    path.write_bytes(b"one")
    before = source_state({"source": str(path)})
    assert source_state({"source": f"file://{path}"}) == before
    path.write_bytes(b"two, and longer")
    assert source_state({"source": str(path)}) != before


def test_a_folder_is_what_its_files_are(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/1.png").write_bytes(b"1")
    states = [source_state({"source": str(tmp_path)})]
    assert source_state({"source": str(tmp_path)}) == states[0]
    os.utime(tmp_path / "a/1.png", ns=(1, 1))
    states.append(source_state({"source": str(tmp_path)}))
    (tmp_path / "a/1.png").rename(tmp_path / "a/2.png")
    states.append(source_state({"source": str(tmp_path)}))
    assert len(set(states)) == 3


def test_the_same_state_elsewhere_is_another_source(tmp_path):
    (tmp_path / "task.zip").write_bytes(b"one")
    path = str(tmp_path / "task.zip")
    assert source_state({"source": path, "images": ""}) != source_state(
        {"source": "", "images": path}
    )


@pytest.fixture
def bucket(store, store_environment, monkeypatch):
    """An empty bucket of the store that the environment names."""
    for name, value in store_environment.items():
        monkeypatch.setenv(name, value)
    name = f"state-{uuid.uuid4().hex[:12]}"
    store.ensure_bucket(name)
    return ObjectUri(name, "")


def test_an_object_that_is_replaced_is_another_source(store, bucket):
    uri = bucket.child("exports/task.zip")
    store.write(uri, b"one")
    before = source_state({"source": str(uri)})
    store.write(uri, b"one")
    assert source_state({"source": str(uri)}) == before
    store.write(uri, b"two")
    assert source_state({"source": str(uri)}) != before


def test_a_prefix_is_what_its_objects_are(store, bucket):
    for name in ("a.png", "b/c.png"):
        store.write(bucket.child(f"images/{name}"), name.encode())
    store.write(bucket.child("images-of-others/x"), b"x")
    prefix = {"images": str(bucket.child("images"))}
    states = [source_state(prefix)]
    store.write(bucket.child("images-of-others/x"), b"y")
    assert source_state(prefix) == states[0]
    store.write(bucket.child("images/b/c.png"), b"other")
    states.append(source_state(prefix))
    store.write(bucket.child("images/d.png"), b"d")
    states.append(source_state(prefix))
    assert len(set(states)) == 3


def test_nothing_at_an_address_is_said(bucket):
    with pytest.raises(StoreError, match="no object"):
        source_state({"source": str(bucket.child("none.zip"))})
