"""`segmentor dataset info|unpack|view` on shards in the object store, and on older artifacts."""

import uuid
from pathlib import Path

import pytest
from builders import scenes, write_as_pod

from pipelines.datasets.files import describe, unpack
from pipelines.datasets.view import write_view
from segmentor.object_store import ObjectStore


def files_of(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def test_they_show_what_they_show_of_a_data_set_on_the_disk(
    store: ObjectStore, tmp_path: Path
) -> None:
    destination = f"s3://b-{uuid.uuid4().hex[:12]}/models"
    remote = write_as_pod(tmp_path / "remote", scenes(5), destination)
    local = write_as_pod(tmp_path / "local", scenes(5), "")
    assert list(describe(remote)) == list(describe(local))
    for name, folder in (("a", remote), ("b", local)):
        assert unpack(folder, tmp_path / name) == 5
        assert write_view(folder, tmp_path / f"{name}.html") == 5
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")
    pages = [(tmp_path / f"{n}.html").read_text() for n in "ab"]
    assert pages[0].replace(str(remote), "") == pages[1].replace(str(local), "")


@pytest.mark.parametrize("command", ["info", "unpack", "view"])
def test_they_read_schema_version_1(command: str, repository: Path, tmp_path: Path) -> None:
    old = repository / "tests" / "segmentor" / "data" / "schema_version_1"
    if command == "info":
        assert "samples       5 in 3 groups" in list(describe(old))
    elif command == "unpack":
        assert unpack(old, tmp_path / "files") == 5
    else:
        assert write_view(old, tmp_path / "page.html") == 5
