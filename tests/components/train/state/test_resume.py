"""Runs that are killed, stopped or extended: what they go on from, and what comes out."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest
import torch

from components.train.__main__ import build_parser
from components.train.configuration.preparation import prepare
from components.train.state.mirror import Mirror
from components.train.state.running_state import load_state
from components.train.step import scratch_folder
from segmentor.digests import digest_file
from segmentor.errors import ContractError
from segmentor.nn.checkpoint import checkpoint_digest
from segmentor.object_uri import ObjectUri
from segmentor.training_mirror import mirrors_of, remove_finished

# float32 and four epochs, as `finished`.
OVERRIDES = ("training.epochs=4", "training.precision=fp32")
FILES = ("weights.safetensors", "contract.json")


def wait_for_epoch(process: subprocess.Popen[str], epoch: int) -> None:
    """Wait until this epoch has ended, or a later one."""
    for line in process.stderr:
        if (ended := re.search(r" epoch=(\d+)/\d+ train_loss=", line)) and int(ended[1]) >= epoch:
            return
    pytest.fail(f"the run ended before epoch {epoch}")


def assert_same_result(one: Path, other: Path) -> None:
    for name in FILES:
        assert digest_file(one / name) == digest_file(other / name), name
    assert_equal(load_state(one).__dict__, load_state(other).__dict__)


def assert_equal(one: object, other: object) -> None:
    """By value: a pickle of equal values differs with what they share."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key, value in one.items():
            assert_equal(value, other[key])
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    else:
        assert one == other


# On a fast machine the run would be over before it is killed.
SLOW = """
import sys, time
from components.train.__main__ import main
from components.train.runner import SegmentationRunner

handle_batch = SegmentationRunner.handle_batch

def handle_and_wait(runner, batch):
    handle_batch(runner, batch)
    time.sleep(0.3)

SegmentationRunner.handle_batch = handle_and_wait
sys.exit(main(sys.argv[1:]))
"""


def test_a_run_killed_at_random_moments_ends_bit_identical(
    train, road_data, finished, flags, repository, tmp_path, chance
):
    """Catalyst's own resume is silently ignored (22.4): the run would start anew or differ."""
    # The cache is a file.
    arguments = [*flags(road_data, tmp_path), *OVERRIDES, "training.cache_bytes=0"]
    command = [sys.executable, "-c", SLOW, *arguments]
    for epoch in (1, 2):
        with subprocess.Popen(
            command, cwd=repository, stderr=subprocess.PIPE, text=True
        ) as process:
            try:
                wait_for_epoch(process, epoch)
                time.sleep(chance.uniform(0, 0.6))  # within an epoch, or in the middle of a save
            finally:
                process.kill()
        assert [path.name for path in tmp_path.iterdir()] == [".checkpoint.running"]
    assert train(road_data, tmp_path, *OVERRIDES).code == 0
    assert not list(tmp_path.glob(".*"))
    assert_same_result(finished.checkpoint, tmp_path / "checkpoint")


# A process of its own: what it sends itself must not end the tests.
STOPPED = """
import os, signal, sys
from components.train.__main__ import main
from components.train.runner import SegmentationRunner

handle_batch = SegmentationRunner.handle_batch

def handle_and_stop(runner, batch):
    handle_batch(runner, batch)
    if getattr(runner, sys.argv[1]) and runner.epoch_step == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGTERM)

SegmentationRunner.handle_batch = handle_and_stop
sys.exit(main(sys.argv[3:]))
"""


@pytest.mark.parametrize(
    ("loader", "epoch", "saved"),
    [("is_train_loader", 3, (2, 1)), ("is_valid_loader", 2, (1, 2))],
    ids=["between batches", "in validation, which begins again"],
)
def test_sigterm_saves_exits_143_and_goes_on_there(
    train, road_data, finished, flags, repository, tmp_path, loader, epoch, saved
):
    arguments = [loader, str(epoch), *flags(road_data, tmp_path), *OVERRIDES]
    command = [sys.executable, "-c", STOPPED, *arguments]
    assert subprocess.run(command, cwd=repository).returncode == 143
    state = load_state(tmp_path / ".checkpoint.running")
    assert (state.progress.epoch, state.partial.batches) == saved
    assert train(road_data, tmp_path, *OVERRIDES).code == 0
    assert_same_result(finished.checkpoint, tmp_path / "checkpoint")


def test_what_a_killed_process_left_goes_with_the_next_start(tmp_path):
    left = tmp_path / ".checkpoint.running" / "scratch" / "0" / "cache-1.bin"
    left.parent.mkdir(parents=True)
    left.write_bytes(bytes(10))
    with scratch_folder(tmp_path / ".checkpoint.running") as folder:
        assert list(folder.iterdir()) == []
    assert list(tmp_path.iterdir()) == []


def test_the_state_of_another_configuration_is_not_taken(
    train, finished, road_data, tmp_path, caplog
):
    left_over = tmp_path / ".checkpoint.running"
    left_over.mkdir()
    shutil.copy(finished.checkpoint / "training_state.pt", left_over)
    shutil.copy(finished.checkpoint / "weights.safetensors", left_over / "best.safetensors")
    with caplog.at_level("INFO"):
        outputs = train(road_data, tmp_path, "training.epochs=1", "seed=3")
    assert outputs.code == 0
    assert "resume kind=interrupted" not in caplog.text
    assert json.loads((tmp_path / "metrics.json").read_text())["epochs"] == 1


def test_a_finished_checkpoint_can_be_trained_further(train, finished, road_data, tmp_path):
    more = ("training.epochs=6", "training.precision=fp32")
    outputs = train(road_data, tmp_path, *more, resume=finished.checkpoint)
    assert outputs.code == 0
    state = load_state(outputs.checkpoint)
    assert [item["epoch"] for item in state.progress.history] == [1, 2, 3, 4, 5, 6]
    before = load_state(finished.checkpoint).progress
    assert state.progress.history[:4] == before.history
    # The best epoch before the resume still counts (Catalyst forgets it).
    assert state.progress.best_score >= before.best_score


def test_a_best_epoch_before_the_resume_keeps_its_weights(train, finished, road_data, tmp_path):
    """One more epoch at a rate that destroys the network must not replace the best weights."""
    outputs = train(
        road_data, tmp_path, "training.epochs=5", "training.precision=fp32",
        "training.learning_rate=0.3", "training.scheduler=none", resume=finished.checkpoint,
    )  # fmt: skip
    assert outputs.code == 0
    name = "weights.safetensors"
    assert digest_file(outputs.checkpoint / name) == digest_file(finished.checkpoint / name)


def test_a_resume_with_no_epochs_left_says_so(train, finished, road_data, tmp_path, capsys):
    assert train(road_data, tmp_path, *OVERRIDES, resume=finished.checkpoint).code == 3
    assert "set training.epochs=14" in capsys.readouterr().err


def test_further_training_after_an_early_stop_takes_the_settings_given_now(
    train, road_data, tmp_path
):
    """The patience of the last run is used up: without a new one nothing would be trained."""
    stuck = (
        "training.epochs=8", "training.early_stopping=1", "training.learning_rate=1e-12",
        "training.metric=loss", "training.scheduler=none", "processing.augmentation={}",
    )  # fmt: skip
    train(road_data, tmp_path / "first", *stuck, "training.precision=bf16")
    first = tmp_path / "first" / "checkpoint"
    before = load_state(first)
    assert before.progress.epoch < 8
    page = (tmp_path / "first" / "report.html").read_text()
    assert "Early stopping ended it at epoch" in page
    assert "1 epoch without a better loss on val." in page
    train(
        road_data, tmp_path / "more", *stuck, "training.precision=fp32",
        "training.learning_rate=1e-11", "training.weight_decay=0.5", resume=first,
    )  # fmt: skip
    after = load_state(tmp_path / "more" / "checkpoint")
    assert after.progress.epoch > before.progress.epoch
    assert (before.bf16, after.bf16) == (True, False)
    assert after.progress.history[-1]["learning_rate"] == 1e-11
    assert {group["weight_decay"] for group in after.optimizer["param_groups"]} == {0.0, 0.5}


def test_another_optimizer_begins_with_new_moments(train, finished, road_data, tmp_path, caplog):
    outputs = train(
        road_data, tmp_path, "training.epochs=5", "training.optimizer=sgd",
        "training.precision=fp32", resume=finished.checkpoint,
    )  # fmt: skip
    assert outputs.code == 0
    assert "its moments start from zero" in caplog.text
    moments = load_state(outputs.checkpoint).optimizer["state"].values()
    assert {name for item in moments for name in item} == {"momentum_buffer"}


def test_other_weights_under_the_same_name_are_another_run(road_data, flags, tmp_path):
    weights = tmp_path / "encoder.safetensors"
    found = set()
    for content in (b"one", b"two", b"one"):
        weights.write_bytes(content)
        given = [*flags(road_data, tmp_path), f"model.encoder_weights={weights}"]
        found.add(prepare(build_parser().parse_args(given)).fingerprint)
    assert len(found) == 2


def test_a_resume_of_another_network_is_refused(train, finished, road_data, tmp_path, capsys):
    outputs = train(
        road_data, tmp_path, "training.epochs=9", "model=fpn", resume=finished.checkpoint
    )
    assert outputs.code == 3
    assert "a checkpoint of unet" in capsys.readouterr().err


def test_a_resume_on_other_classes_is_refused(train, finished, street_data, tmp_path, capsys):
    outputs = train(street_data, tmp_path, "training.epochs=9", resume=finished.checkpoint)
    assert outputs.code == 3
    assert "classes background, road" in capsys.readouterr().err


def test_a_truncated_state_is_called_damaged(finished, tmp_path):
    content = (finished.checkpoint / "training_state.pt").read_bytes()
    (tmp_path / "training_state.pt").write_bytes(content[: len(content) // 2])
    with pytest.raises(ContractError, match="unreadable"):
        load_state(tmp_path)


def test_a_state_that_would_execute_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.system, ("true",)

    torch.save({"schema_version": 1, "progress": Evil()}, tmp_path / "training_state.pt")
    with pytest.raises(ContractError, match="unreadable"):
        load_state(tmp_path)


def test_a_retried_step_finds_its_state_in_the_object_store(
    train, road_data, finished, tmp_path, store, caplog
):
    store.ensure_bucket("runs")
    mirror = ("training.mirror=s3://runs/train", "training.mirror_minutes=0")
    assert train(road_data, tmp_path / "first", *OVERRIDES, *mirror).code == 0
    shutil.rmtree(tmp_path / "first")  # the machine is gone
    with caplog.at_level("INFO"):
        outputs = train(road_data, tmp_path / "second", *OVERRIDES, *mirror)
    assert outputs.code == 0
    assert "resume kind=interrupted epoch=4/4" in caplog.text
    name = "weights.safetensors"
    assert digest_file(outputs.checkpoint / name) == digest_file(finished.checkpoint / name)


def test_a_lost_pod_finds_its_state_beside_the_models_until_these_are_deployed(
    train, road_data, finished, tmp_path, store, monkeypatch, caplog
):
    destination = f"s3://b-{uuid.uuid4().hex[:12]}/team"
    options = (f"--destination={destination}", "--cache-salt=again", *OVERRIDES)
    folder = mirrors_of(destination)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert train(road_data, tmp_path / "first", *options).code == 0
    keys = sorted(uri.key.rpartition("/")[2] for uri in store.list_keys(folder))
    assert keys == ["best.safetensors", "finished.json", "training_state.pt"]

    shutil.rmtree(tmp_path / "first")  # the machine is gone
    with caplog.at_level("INFO"):
        outputs = train(road_data, tmp_path / "second", *options)
    assert "resume kind=interrupted epoch=1/4" in caplog.text  # five minutes a copy
    for name in ("weights.safetensors", "config.yaml"):  # the mirror is in no configuration
        assert digest_file(outputs.checkpoint / name) == digest_file(finished.checkpoint / name)

    remove_finished(store, destination, checkpoint_digest(outputs.checkpoint))
    assert not list(store.list_keys(folder))


def test_there_is_no_mirror_on_a_laptop_and_none_without_a_store(
    train, road_data, tmp_path, store, monkeypatch, caplog
):
    bucket = f"b-{uuid.uuid4().hex[:12]}"
    options = (f"--destination=s3://{bucket}", "training.epochs=1")
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    assert train(road_data, tmp_path / "laptop", *options).code == 0
    assert not store.client.bucket_exists(bucket)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.delenv("S3_ENDPOINT")
    assert train(road_data, tmp_path / "pod", *options).code == 0
    assert (
        "no mirror: a lost pod starts training from the beginning (S3_ENDPOINT: not set"
        in caplog.text
    )


def test_a_store_that_is_away_does_not_stop_the_training(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("S3_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setattr("segmentor.retrying.LAPTOP_SECONDS", 1)
    mirror = Mirror(ObjectUri.parse("s3://runs/train"), tmp_path, 0)
    (tmp_path / "training_state.pt").write_bytes(b"x")
    mirror.after_save(is_last=False)
    assert "mirror failed" in caplog.text
