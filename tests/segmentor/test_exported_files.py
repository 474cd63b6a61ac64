"""The table of files beside model.onnx is read by whoever publishes or downloads them."""

import pytest

from components.deploy.publishing import _MEDIA_TYPES, media_types
from segmentor import exported_files
from segmentor.exported_files import BESIDE, ExportedFile, files_beside
from segmentor.object_uri import ObjectUri
from serving.engines.loading import ModelSource, download

DUMMY = ExportedFile("model.dummy.txt", "text/plain")


@pytest.fixture
def dummy(monkeypatch):
    """The recipe of docs/extending.md: one entry."""
    monkeypatch.setattr(exported_files, "BESIDE", (*BESIDE, DUMMY))


def test_deploy_takes_a_new_file_along_where_export_wrote_it(dummy, tmp_path):
    model = tmp_path / "model.onnx"
    model.write_bytes(b"m")
    assert files_beside(model) == {}
    (tmp_path / DUMMY.name).write_text("d")
    assert files_beside(model) == {DUMMY.name: tmp_path / DUMMY.name}
    assert media_types()[DUMMY.name] == "text/plain"
    assert not set(media_types()) & set(_MEDIA_TYPES)


@pytest.mark.parametrize(("engine", "is_there"), [("fast", True), ("onnxruntime", False)])
def test_the_predictor_downloads_it_unless_it_runs_the_exact_engine(
    dummy, store, tmp_path, engine, is_there
):
    bucket = f"models-{engine}"
    store.ensure_bucket(bucket)
    (tmp_path / "up").mkdir()
    for name in ("model.onnx", DUMMY.name):
        (tmp_path / "up" / name).write_text(name)
        store.upload_file(tmp_path / "up" / name, ObjectUri(bucket, f"road/1/{name}"))
    folder = tmp_path / "down"
    folder.mkdir()
    download(ModelSource("road", f"s3://{bucket}/road/1", engine=engine), folder)
    assert (folder / DUMMY.name).is_file() == is_there
