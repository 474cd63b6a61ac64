"""The train step from its command line to its four outputs."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from builders import ROAD, STREET, scenes, write_dataset
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

from components.train.__main__ import main
from components.train.configuration.preparation import check_data_sets
from segmentor.dataset import Dataset
from segmentor.digests import digest_file
from segmentor.nn.checkpoint import load_checkpoint


def test_it_writes_a_checkpoint_that_the_next_steps_can_read(finished, road_data):
    assert finished.code == 0
    checkpoint = load_checkpoint(finished.checkpoint)
    contract = checkpoint.contract
    assert contract.label_map == ROAD
    assert contract.input.size == (64, 96)
    assert contract.provenance["train_dataset_digest"] == Dataset(road_data / "train").digest
    assert contract.provenance["val_dataset_digest"] == Dataset(road_data / "val").digest
    assert contract.provenance["best_epoch"] in (1, 2, 3, 4)
    pixels = torch.zeros(1, 50, 70, 3, dtype=torch.uint8)
    assert checkpoint.deployable()(pixels).shape == (1, 1, 64, 96)


def test_the_contract_tells_what_the_training_images_were_like(finished, road_data):
    reference = load_checkpoint(finished.checkpoint).contract.training_reference
    train_set = Dataset(road_data / "train")
    assert reference.images == len(train_set) == sum(reference.brightness)
    shares = [sample.class_pixels[1] / sum(sample.class_pixels) for sample in train_set.samples]
    assert reference.coverage["road"][2] == sum(0.2 < share <= 0.3 for share in shares) > 0


def test_it_learns_the_road(finished):
    metrics = json.loads((finished.folder / "metrics.json").read_text())
    assert metrics["val_iou"] > 0.7
    assert metrics["epochs"] == 4


def test_tensorboard_events_hold_losses_iou_learning_rate_and_overlays(finished):
    events = EventAccumulator(str(finished.folder / "logs" / "valid"), {"images": 0, "scalars": 0})
    events.Reload()
    assert [event.step for event in events.Scalars("iou/epoch")] == [1, 2, 3, 4]
    assert {"loss/epoch", "lr/epoch", "iou/road/epoch"} <= set(events.Tags()["scalars"])
    assert "prediction/scene_500" in events.Tags()["images"]
    train = EventAccumulator(str(finished.folder / "logs" / "train"))
    train.Reload()
    assert "configuration/text_summary" in train.Tags()["tensors"]


def test_tensorboard_has_the_settings_as_hyperparameters_with_the_best_epochs_figures(finished):
    events = EventAccumulator(str(finished.folder / "logs" / "_epoch_"))
    events.Reload()
    start, end = (
        plugin_data_pb2.HParamsPluginData.FromString(
            events.SummaryMetadata(f"_hparams_/{tag}").plugin_data.content
        )
        for tag in ("session_start_info", "session_end_info")
    )
    assert start.session_start_info.hparams["training.learning_rate"].number_value == 0.003
    assert start.session_start_info.hparams["model.architecture"].string_value == "unet"
    assert end.session_end_info.status
    # What TensorBoard shows beside the settings: the last value of each scalar of this run.
    assert set(events.Tags()["scalars"]) == {"best_iou/epoch", "best_loss/epoch"}
    valid = EventAccumulator(str(finished.folder / "logs" / "valid"))
    valid.Reload()
    best = max(event.value for event in valid.Scalars("iou/epoch"))
    assert events.Scalars("best_iou/epoch")[-1].value == best


def test_the_report_is_one_file_with_curves_and_overlays(finished):
    page = (finished.folder / "report.html").read_text()
    assert "<svg" in page
    assert page.count("data:image/jpeg") == 5
    assert "training.learning_rate" in page
    contract = load_checkpoint(finished.checkpoint).contract
    at, half = (contract.provenance[f"val_iou_at_{name}"] for name in ("threshold", "half"))
    assert at >= half > 0
    assert f"Threshold {contract.threshold:.3g}: a pixel is road" in page
    assert f"is {at:.4f} with it and {half:.4f} with 0.5" in page
    assert 'src="http' not in page
    assert "<script" not in page


def test_nothing_but_the_outputs_is_left(finished):
    names = sorted(path.name for path in finished.folder.iterdir())
    assert names == ["checkpoint", "logs", "metrics.json", "report.html"]


def test_the_same_seed_gives_the_same_weights(train, finished, road_data, tmp_path):
    again = train(road_data, tmp_path, "training.epochs=4", "training.precision=fp32")
    for name in ("weights.safetensors", "training_state.pt", "contract.json", "config.yaml"):
        assert digest_file(again.checkpoint / name) == digest_file(finished.checkpoint / name)


def test_another_seed_gives_other_weights(train, finished, road_data, tmp_path):
    other = train(road_data, tmp_path, "training.epochs=4", "training.precision=fp32", "seed=1")
    name = "weights.safetensors"
    assert digest_file(other.checkpoint / name) != digest_file(finished.checkpoint / name)


def test_many_classes_get_a_channel_each(train, street_data, tmp_path):
    outputs = train(street_data, tmp_path, "training.epochs=2", "training.scheduler=plateau")
    assert outputs.code == 0
    assert load_checkpoint(outputs.checkpoint).contract.channels == len(STREET)
    assert "val_iou" in json.loads((tmp_path / "metrics.json").read_text())


def test_native_policy_trains_on_crops_and_predicts_at_full_size(train, road_data, tmp_path):
    outputs = train(
        road_data, tmp_path, "processing=small_objects", "processing.size=[32,64]",
        "training.epochs=2",
    )  # fmt: skip
    assert outputs.code == 0
    checkpoint = load_checkpoint(outputs.checkpoint)
    assert checkpoint.contract.input.size_policy == "native"
    assert checkpoint.deployable()(torch.zeros(1, 70, 90, 3, dtype=torch.uint8)).shape[2:] == (
        70,
        90,
    )


def test_a_batch_can_be_learned_by_heart(train, road_data, tmp_path):
    outputs = train(road_data, tmp_path, "training=overfit_batch", "training.epochs=30")
    assert outputs.code == 0
    assert json.loads((tmp_path / "metrics.json").read_text())["val_iou"] > 0.95


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["processing.size=[60,96]"], "set processing.size=[64,96]"),
        (["model.architecture=unnet"], "did you mean unet?"),
        (["model.encoder=resnet35"], "resnet34"),
        (["training.loss={dise: 1}"], "training.loss.dise"),
        (["training.loss={cross_entropy: 1}"], "no loss of a binary network"),
        (["training.device=cuda"], "no GPU"),
        (["+processing.augmentation.Affin={p: 1}"], "did you mean Affine"),
        (["+processing.augmentation.GaussNoise={p: 2}"], "arguments of GaussNoise"),
        (["training.class_weights=[1,2,3]"], "2 positive weights"),
        (["training.epoch=5"], "did you mean training.epochs?"),
        (
            ["model=unet_resnet34", "model.architecture=pspnet", "processing.size_policy=native"],
            "works at one size alone",
        ),
    ],
)
def test_wrong_settings_end_in_one_clear_line(
    train, road_data, tmp_path, capsys, overrides, message
):
    outputs = train(road_data, tmp_path, *overrides)
    assert outputs.code == 3
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert message in last
    assert not any(tmp_path.glob("checkpoint"))


def test_what_does_not_fit_the_data_is_refused_before_torch_is_imported(
    road_data, flags, repository, tmp_path
):
    wrong = {
        "training.class_weights=[1,2,3]": "2 positive weights, for background, road",
        "training.loss={cross_entropy: 1}": "no loss of a binary network",
        "training.class_weights=[1,2] training.loss={dice: 1}": "no loss that takes them",
        "model.encoder_weights=absent.pt": "'absent.pt': no such file",
        "--resume=absent": "absent: no such folder",
    }
    options = [re.findall(r"\S+=(?:{.*}|\S+)", text) for text in wrong]
    script = (
        "import sys\nfrom components.train.__main__ import main\n"
        f"codes = [main([*sys.argv[1:], *option]) for option in {options}]\n"
        "sys.exit(f\"{codes} {'torch' in sys.modules}\")"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *flags(road_data, tmp_path)],
        capture_output=True, text=True, cwd=repository, check=False,
    )  # fmt: skip
    *messages, result = done.stderr.strip().splitlines()
    assert result == "[3, 3, 3, 3, 3] False"
    for message, expected in zip(messages, wrong.values(), strict=True):
        assert expected in message


def test_a_class_that_train_lacks_is_refused(train, tmp_path, capsys):
    flat = ((name, image, mask * 0, group) for name, image, mask, group in scenes(4, ROAD))
    write_dataset(tmp_path / "train", flat, ROAD)
    write_dataset(tmp_path / "val", scenes(3, ROAD, first_seed=50), ROAD)
    assert train(tmp_path, tmp_path / "out").code == 3
    assert "no pixel of road in 4 images" in capsys.readouterr().err
    # Nothing was reached, so nothing is left to go on from.
    assert list((tmp_path / "out").iterdir()) == []


def test_a_val_set_without_ground_truth_is_refused_and_one_without_foreground_warned_of(
    train, road_data, tmp_path, capsys, caplog
):
    (tmp_path / "train").symlink_to(road_data / "train")
    void = ((name, image, mask * 0 + 255, group) for name, image, mask, group in scenes(2, ROAD))
    write_dataset(tmp_path / "val", void, ROAD)
    assert train(tmp_path, tmp_path / "out").code == 3
    assert "val data set: no labelled pixel in 2 images" in capsys.readouterr().err
    flat = ((name, image, mask * 0, group) for name, image, mask, group in scenes(2, ROAD))
    check_data_sets(Dataset(road_data / "train"), write_dataset(tmp_path / "flat", flat, ROAD))
    assert "val has no true pixels of road" in caplog.text


def test_data_sets_of_other_classes_are_refused(train, road_data, street_data, tmp_path, capsys):
    (tmp_path / "train").symlink_to(road_data / "train")
    (tmp_path / "val").symlink_to(street_data / "val")
    assert train(tmp_path, tmp_path / "out").code == 3
    assert "those of the train data set: background, road" in capsys.readouterr().err


def test_an_exploding_loss_stops_with_the_samples(train, road_data, tmp_path, capsys):
    outputs = train(
        road_data, tmp_path, "training.learning_rate=1e30", "training.scheduler=none",
        "training.precision=fp32", "training.optimizer=sgd", "training.gradient_clip=0",
    )  # fmt: skip
    assert outputs.code == 3
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert "scene_0" in message
    assert "lower training.learning_rate" in message


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "components.train", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=Path(__file__).resolve().parents[3],
        check=False,
    )


def imported(done: subprocess.CompletedProcess[str]) -> set[str]:
    return {line.split("|")[-1].strip() for line in done.stderr.splitlines()}


def test_help_and_usage_answer_without_heavy_imports():
    done = run("--help")
    assert done.returncode == 0
    assert "--training-report" in done.stdout
    wrong = run("--trian", "x")
    assert wrong.returncode == 2
    for names in (imported(done), imported(wrong)):
        assert "argparse" in names
        assert names.isdisjoint({"torch", "numpy", "cv2", "hydra", "omegaconf"})


def test_the_usage_line_names_the_command_that_was_given(capsys):
    with pytest.raises(SystemExit):
        main(["--help"], program="segmentor train")
    assert capsys.readouterr().out.startswith("usage: segmentor train ")


def test_cfg_job_prints_the_composed_configuration():
    done = run("--cfg", "job", "model=fpn", "training.epochs=7")
    assert done.returncode == 0
    assert "architecture: fpn" in done.stdout
    assert "epochs: 7" in done.stdout
