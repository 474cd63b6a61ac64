"""A search by Optuna: killed, continued, hopeless trials pruned, the best one found."""

import csv
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import load_study
from optuna.trial import TrialState
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from components.train.__main__ import main
from components.train.multirun import one_training
from components.train.multirun.one_training import Result, claim, train_one
from components.train.multirun.search import _open_study, _result, _Watched, search
from segmentor.errors import ConfigError
from tests.waiting import wait_for

RATE = "training.learning_rate"


def read_study(output):
    storage = JournalStorage(JournalFileBackend(str(output / "study.journal")))
    return load_study(study_name=None, storage=storage)


@pytest.fixture(scope="module")
def continued(road_data, tmp_path_factory):
    """Three trials of slow learning rates; all processes were killed during the second."""
    output = tmp_path_factory.mktemp("search")
    command = [
        "--multirun", "--trials=3", f"--train={road_data / 'train'}", f"--val={road_data / 'val'}",
        f"--output={output}", f"{RATE}=tag(log,interval(1e-7,1e-2))", "training.epochs=20",
        "training.overlays=0", "processing.size=[32,64]",
    ]  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "components.train", *command], start_new_session=True
    )
    wait_for((output / "01" / ".checkpoint.running" / "training_state.pt").is_file, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    trained_at = (output / "00" / "checkpoint" / "weights.safetensors").stat().st_mtime_ns
    before = read_study(output).trials
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(one_training, "_SECONDS_BETWEEN_LOOKS", 0.05)  # epochs are that short
        assert main(command) == 0
    return output, command, before, trained_at


def test_a_killed_search_continues_the_trial_that_it_was_at(continued):
    output, _, before, trained_at = continued
    assert [trial.state for trial in before] == [TrialState.COMPLETE, TrialState.RUNNING]
    after = read_study(output).trials
    assert [trial.params for trial in after[:2]] == [trial.params for trial in before]
    weights = output / "00" / "checkpoint" / "weights.safetensors"
    assert weights.stat().st_mtime_ns == trained_at
    assert "resume kind=interrupted" in (output / "01" / "train.log").read_text()


def test_a_continued_search_draws_other_values_than_at_its_beginning(continued):
    output, *_ = continued
    rates = [trial.params[RATE] for trial in read_study(output).trials]
    assert len(set(rates)) == 3


def test_a_hopeless_trial_is_pruned_and_its_curve_kept(continued):
    output, *_ = continued
    trial = read_study(output).trials[1]
    assert trial.state == TrialState.PRUNED
    assert 6 <= max(trial.intermediate_values) < 20  # after the first third of the epochs
    assert not (output / "01" / "metrics.json").exists()
    assert not (output / "01" / ".checkpoint.running").exists()
    assert list((output / "01" / "logs" / "valid").glob("events.*"))


def test_the_best_trial_comes_first_and_has_a_checkpoint(continued):
    output, *_ = continued
    best = read_study(output).best_trial
    with (output / "comparison.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["run"] == f"{best.number:02d}"
    assert float(rows[0][RATE]) == best.params[RATE]
    assert float(rows[0]["val_iou"]) == pytest.approx(best.value, abs=1e-4)
    assert (output / rows[0]["run"] / "checkpoint" / "weights.safetensors").is_file()
    notes = {row["run"]: row["note"] for row in rows}
    assert notes["01"].startswith("pruned after epoch ")
    html = (output / "comparison.html").read_text()
    assert f"Best with {RATE}={best.params[RATE]:.4g}" in html
    assert "pruned after epoch" in html


def test_what_is_searched_is_not_trained_again(continued, capsys):
    output, command, *_ = continued
    before = [trial.datetime_complete for trial in read_study(output).trials]
    assert main(command) == 0
    assert [trial.datetime_complete for trial in read_study(output).trials] == before
    assert "pruned after epoch" in capsys.readouterr().out


def test_hparams_have_the_values_of_each_trial(continued):
    """As TensorBoard's HPARAMS tab reads them; pruned trials too."""
    output, *_ = continued
    for trial in read_study(output).trials:
        found = []
        for path in (output / f"{trial.number:02d}" / "logs" / "_epoch_").glob("events.*"):
            for event in EventFileLoader(str(path)).Load():
                for value in event.summary.value:
                    if value.metadata.plugin_data.plugin_name == "hparams":
                        content = value.metadata.plugin_data.content
                        found.append(HParamsPluginData.FromString(content).session_start_info)
        rates = {item.hparams[RATE].number_value for item in found if RATE in item.hparams}
        assert rates == {trial.params[RATE]}


def test_a_folder_of_another_search_is_refused(continued, capsys):
    _, command, *_ = continued
    assert main([*command, "seed=3"]) == 3
    assert "a search of other overrides or data" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model=tiny"], "no override with several values"),
        (["model=tiny,fnp"], "did you mean model=fpn?"),
        ([f"{RATE}=interval(0,1)"], f"{RATE}: 0.0, expected above 0"),
        ([f"{RATE}=interval(1,0.1)"], "an interval from low to high"),
        ([f"{RATE}=tag(log,interval(0.1,0.01))"], "an interval from low to high"),
        (["training.batch_size=interval(2,8)"], "a whole number"),
    ],
)
def test_a_wrong_value_is_refused_before_anything_is_trained(
    overrides, message, road_data, tmp_path
):
    with pytest.raises(ConfigError) as caught:
        search(road_data / "train", road_data / "val", tmp_path / "out", overrides, 4)
    assert message in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_trial_that_failed_is_the_worst_to_the_search(tmp_path):
    study = _open_study(tmp_path, {"overrides": []})
    trial = study.ask()
    failed = Result(tmp_path / "00", (), {}, "loss nan on samples a")
    told = _Watched(study, trial, tmp_path / "00").tell(failed)
    assert told.state == TrialState.PRUNED
    assert _result(study.trials[0], tmp_path).error == "loss nan on samples a"


def test_a_training_that_outlived_its_search_is_waited_for(tmp_path):
    """The search was killed, and not its training: two would write into one folder."""
    claim(tmp_path / "00", {})
    with (tmp_path / "00" / "train.log").open("a") as log:
        fcntl.flock(log, fcntl.LOCK_EX)
        found = []
        waiting = threading.Thread(
            target=lambda: found.append(
                train_one(tmp_path / "00", ["no=such"], (), (tmp_path, tmp_path))
            )
        )
        waiting.start()
        time.sleep(0.2)
        (tmp_path / "00" / "metrics.json").write_text('{"val_iou": 0.5}')
        assert not found
    waiting.join(60)
    assert found[0].metrics == {"val_iou": 0.5}
