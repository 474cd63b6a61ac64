import json
from pathlib import Path

import pytest

from components.choose.__main__ import main
from components.choose.choosing import listed_checkpoints
from segmentor.contract import InputSpec, ModelContract
from segmentor.digests import digest_tree
from segmentor.errors import ConfigError
from segmentor.label_map import LabelMap


def checkpoint(folder: Path, **measured) -> Path:
    folder.mkdir(parents=True)
    contract = ModelContract(
        LabelMap.of(["background", "road"]), InputSpec((64, 96)), provenance=measured
    )
    (folder / "contract.json").write_text(json.dumps(contract.to_json()))
    (folder / "config.yaml").write_text("model: {architecture: unet, encoder: resnet34}\n")
    (folder / "weights.safetensors").write_bytes(str(measured).encode())
    return folder


def choose(tmp_path, *checkpoints, extra=()):
    outputs = ["--checkpoint", str(tmp_path / "best"), "--choice-report", str(tmp_path / "page")]
    listed = ["--checkpoints", *map(str, checkpoints)] if checkpoints else []
    return main([*listed, *outputs, *extra])


def test_the_checkpoint_with_the_greatest_metric_is_copied_whole(tmp_path):
    folders = [
        checkpoint(tmp_path / str(index), val_iou=value)
        for index, value in enumerate((0.5, 0.9, 0.7))
    ]
    assert choose(tmp_path, *folders) == 0
    assert digest_tree(tmp_path / "best") == digest_tree(folders[1])
    page = (tmp_path / "page").read_text()
    assert page.index("0.9") < page.index('<td class="number">2</td>')
    assert "unet resnet34" in page


def test_of_equal_checkpoints_the_first_is_taken(tmp_path):
    folders = [checkpoint(tmp_path / name, val_iou=0.5, epochs=len(name)) for name in ("a", "bb")]
    assert choose(tmp_path, *folders) == 0
    assert digest_tree(tmp_path / "best") == digest_tree(folders[0])


def test_the_list_is_taken_from_the_executor_input_where_the_launcher_puts_it(tmp_path):
    uris = ["minio://mlpipeline/v2/a", "s3://bucket/b", "gs://bucket/c", "/local/d"]
    artifacts = [{"uri": uri} for uri in uris]
    artifacts.append({"uri": "minio://mlpipeline/v2/e", "customPath": "/kfp-workspace/e"})
    listed = {"checkpoints": {"artifacts": artifacts}}
    paths = listed_checkpoints(json.dumps({"inputs": {"artifacts": listed}}))
    assert [str(path) for path in paths] == [
        "/minio/mlpipeline/v2/a",
        "/s3/bucket/b",
        "/gcs/bucket/c",
        "/local/d",
        "/kfp-workspace/e",
    ]
    with pytest.raises(ConfigError, match="no list of checkpoints"):
        listed_checkpoints("{}")


@pytest.mark.parametrize(
    ("measured", "told"),
    [({"val_loss": 0.1}, "val_iou is None, expected a number; it has"), ({"val_iou": "x"}, "'x'")],
)
def test_a_checkpoint_without_the_metric_is_named(tmp_path, capsys, measured, told):
    folders = [checkpoint(tmp_path / "a", val_iou=0.5), checkpoint(tmp_path / "b", **measured)]
    assert choose(tmp_path, *folders) == 3
    error = capsys.readouterr().err
    assert "b/contract.json" in error
    assert told in error
    assert not (tmp_path / "best").exists()


def test_a_folder_that_is_no_checkpoint_is_named(tmp_path, capsys):
    assert choose(tmp_path, tmp_path / "nothing") == 3
    assert "nothing: no checkpoint, expected a folder that train wrote" in capsys.readouterr().err
