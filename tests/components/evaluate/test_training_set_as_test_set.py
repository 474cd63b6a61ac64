"""An evaluation on the training set is no measure of quality, and its page says so first."""

import json

from builders import ROAD, scenes, write_checkpoint, write_dataset

from components.evaluate.evaluation import evaluate
from components.evaluate.evaluation_report import build_report


def test_the_page_and_the_log_warn_of_the_training_set(tmp_path, caplog):
    folder = write_checkpoint(tmp_path / "checkpoint", ROAD)
    dataset = write_dataset(tmp_path / "train", scenes(2))
    path = folder / "contract.json"
    contract = json.loads(path.read_text())
    contract["provenance"]["train_dataset_digest"] = dataset.digest
    path.write_text(json.dumps(contract))
    report = build_report(evaluate(folder, tmp_path / "train", threads=1))
    notice = "The test set is the data set that this model was trained on"
    assert notice in report.html()
    assert notice in report.metadata()["warnings"]
    assert notice in caplog.text
