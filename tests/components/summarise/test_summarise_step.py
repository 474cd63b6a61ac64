import json

import pytest

from components.summarise.__main__ import main


def summarise(tmp_path, status, *more):
    target = tmp_path / "artifacts" / "summary"
    return main(["--status", status, "--summary", str(target), *more]), target


@pytest.mark.parametrize("state", ["SUCCEEDED", "COMPLETE"])
def test_a_run_that_succeeded_is_said_so_in_the_words_of_either_backend(tmp_path, state):
    code, page = summarise(tmp_path, json.dumps({"state": state, "error": {}}))
    assert code == 0
    assert "Every step is done." in page.read_text()


def test_a_state_that_lags_behind_is_neither_success_nor_failure(tmp_path):
    code, page = summarise(tmp_path, json.dumps({"state": "RUNNING"}), "--override-sets", "[]")
    assert code == 0
    text = page.read_text()
    assert "Kubeflow had not recorded yet how the run ended (state RUNNING)." in text
    assert "Every step is done." not in text
    assert "override_sets" not in text


def test_a_sweep_shows_its_override_sets(tmp_path):
    sets = '["model=tiny", "model=fpn"]'
    _code, page = summarise(tmp_path, json.dumps({"state": "FAILED"}), "--override-sets", sets)
    assert "model=fpn" in page.read_text()


def test_a_failed_run_shows_its_message_and_what_was_asked_for_escaped(tmp_path):
    status = json.dumps({"state": "FAILED", "error": {"message": "no <GPU>"}})
    asked = ("--source", "s3://b/<x>.zip", "--min-iou", "0.85")
    code, page = summarise(tmp_path, status, *asked, "--run-name", "run 7", "--run-id", "1763")
    text = page.read_text()
    assert code == 0
    assert "The run ended as FAILED. no &lt;GPU&gt;" in text
    assert "s3://b/&lt;x&gt;.zip" in text
    assert "<h1>run 7</h1>" in text
    assert "Run 1763" in text
    assert "<th>min_iou</th><td>0.85</td>" in text


def test_a_status_that_is_no_json_object_is_refused(tmp_path, capsys):
    code, page = summarise(tmp_path, "[]")
    assert code == 3
    assert capsys.readouterr().err == "error: --status: '[]', expected a JSON object\n"
    assert not page.exists()
