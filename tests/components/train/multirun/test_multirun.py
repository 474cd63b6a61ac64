"""Multirun: combinations as Hydra has them, a folder each, failures reported, one comparison."""

import csv
import json

import pytest

from components.train.__main__ import main
from components.train.multirun.combinations import combinations
from components.train.multirun.one_training import Result, reason
from components.train.multirun.table import page, ranked, table
from segmentor.digests import digest_file
from segmentor.errors import ConfigError


def test_every_combination_is_made_and_single_values_are_part_of_each():
    made = combinations(["model=tiny,fpn", "training.epochs=2", "seed=range(0,3)"])
    assert len(made) == 6
    assert made[0] == (["model=tiny", "training.epochs=2", "seed=0"], ("model=tiny", "seed=0"))
    assert made[-1][1] == ("model=fpn", "seed=2")


def test_commas_inside_a_value_are_no_sweep():
    made = combinations(["training.loss={dice: 1, focal: 0.5}", "processing.size=[64,96],[96,64]"])
    assert [varied for _, varied in made] == [
        ("processing.size=[64,96]",),
        ("processing.size=[96,64]",),
    ]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model=tiny"], "no override with several values"),
        (["model=tiny,fnp"], "did you mean model=fpn?"),
        (["training.epochs=5,0"], "training.epochs: 0, expected at least 1"),
        (["training.epochs=choice(1"], "values as key=a,b,c"),
        (["model=tiny,fpn", "model=segformer"], "model: several overrides of it"),
        (["model=glob(*)"], "values as key=a,b,c"),
        (["seed=shuffle(1,2)"], "values as key=a,b,c"),
        (["training.learning_rate=interval(1e-4,1e-2)"], "give --trials"),
    ],
)
def test_a_wrong_combination_is_refused_before_anything_is_trained(overrides, message):
    with pytest.raises(ConfigError, match="(?s).*") as caught:
        combinations(overrides)
    assert message in str(caught.value)


def test_a_killed_combination_says_so_instead_of_its_last_log_line(tmp_path):
    (tmp_path / "train.log").write_text("epoch=1/40 train_loss=1.3960\n")
    assert reason(tmp_path / "train.log", -9) == "killed by SIGKILL: out of memory?"
    assert reason(tmp_path / "train.log", -15) == "killed by SIGTERM"


@pytest.fixture(scope="module")
def several(road_data, tmp_path_factory):
    """Two combinations, the second of which explodes."""
    output = tmp_path_factory.mktemp("multirun")
    command = [
        "--multirun", f"--train={road_data / 'train'}", f"--val={road_data / 'val'}",
        f"--output={output}", "training.learning_rate=0.003,1e30", "training.epochs=2",
        "training.optimizer=sgd", "training.gradient_clip=0", "training.scheduler=none",
        "training.overlays=0", "processing.size=[32,64]",
    ]  # fmt: skip
    return output, command, main(command)


def test_a_failed_combination_is_reported_and_the_others_go_on(several, capsys):
    output, command, code = several
    assert code == 3
    with (output / "comparison.csv").open(encoding="utf-8", newline="") as file:
        good, bad = csv.DictReader(file)
    assert (good["run"], good["training.learning_rate"], good["note"]) == ("00", "0.003", "")
    metrics = json.loads((output / "00" / "metrics.json").read_text())
    assert float(good["val_iou"]) == pytest.approx(metrics["val_iou"], abs=1e-4)
    assert bad["run"] == "01"
    assert "a finite loss" in bad["note"]
    assert not (output / "01" / "checkpoint").exists()
    html = (output / "comparison.html").read_text()
    assert 'href="00/training_report.html"' in html
    assert "01 (training.learning_rate=1e+30) failed" in html


def test_what_is_finished_is_not_trained_again(several, capsys):
    output, command, _ = several
    weights = output / "00" / "checkpoint" / "weights.safetensors"
    before = digest_file(weights), weights.stat().st_mtime_ns
    assert main(command) == 3
    assert (digest_file(weights), weights.stat().st_mtime_ns) == before
    captured = capsys.readouterr()
    assert "1 of 2 trainings failed (01)" in captured.err
    first = [line.split("|")[0].strip() for line in captured.out.splitlines()]
    assert [name for name in first if name in ("00", "01")] == ["00", "01"]


def test_a_folder_of_other_combinations_is_refused(several, capsys):
    _, command, _ = several
    assert main([*command, "seed=3"]) == 3
    assert "give another --output" in capsys.readouterr().err


def test_the_best_comes_first_and_failures_last(tmp_path):
    results = [
        Result(tmp_path / "00", ("seed=0",), {}, "no memory"),
        Result(tmp_path / "01", ("seed=1",), {"val_iou": 0.4}),
        Result(tmp_path / "02", ("seed=2",), {"val_iou": 0.7}),
    ]
    ordered = ranked(results)
    assert [result.folder.name for result in ordered] == ["02", "01", "00"]
    header, rows = table(ordered)
    assert header[:3] == ["run", "seed", "val_iou"]
    assert rows[0][:3] == ["02", "2", "0.7"]
    assert "best IoU on val" in page(ordered)
