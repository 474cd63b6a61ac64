import html

from pipelines.runs.page import write_run_page
from segmentor.run_record import ArtifactRecord, RunRecord, StepRecord


def record(folder, *artifacts, error=""):
    step = StepRecord("train", "failed" if error else "done", 1.5, 0, error, "logs/train.log")
    return RunRecord(
        folder=folder,
        pipeline="segmentation",
        runner="host",
        state="failed" if error else "done",
        started="2026-01-31T09:30:00+00:00",
        seconds=12.3,
        parameters={"source": "<export>.zip"},
        versions={"segmentor": "0"},
        steps=(step,),
        artifacts=artifacts,
    )


def test_only_what_the_test_set_gave_is_shown_as_test_iou(tmp_path):
    def metrics(step):
        value = 0.25 if step == "train" else 0.75
        return ArtifactRecord(step, "metrics", "system.Metrics", "m", "sha256:0", {"iou": value})

    page = write_run_page(record(tmp_path, metrics("train"))).read_text()
    assert "test IoU" not in page
    page = write_run_page(record(tmp_path, metrics("train"), metrics("evaluate"))).read_text()
    assert "<b>0.75</b>test IoU" in page


def test_reports_of_loop_iterations_do_not_overwrite_one_another(tmp_path):
    reports = []
    for index in range(2):
        path = tmp_path / f"artifacts/loop-{index}/train/report"
        path.parent.mkdir(parents=True)
        path.write_text(f"report {index}")
        step, relative = f"loop-{index}/train", path.relative_to(tmp_path).as_posix()
        reports.append(ArtifactRecord(step, "report", "system.HTML", relative, "sha256:0", {}))
    page = write_run_page(record(tmp_path, *reports)).read_text()
    for index in range(2):
        assert f'href="reports/loop-{index}-report.html"' in page
        assert (tmp_path / f"reports/loop-{index}-report.html").read_text() == f"report {index}"


def test_an_error_stands_out_and_every_text_is_escaped(tmp_path):
    page = write_run_page(record(tmp_path, error="found <b>, expected x")).read_text()
    assert '<p class="notice bad">train: found &lt;b&gt;, expected x</p>' in page
    assert "&lt;export&gt;.zip" in page


def test_the_tensorboard_command_can_be_pasted_as_it_is(tmp_path):
    folder = tmp_path / "my run"
    (folder / "tensorboard").mkdir(parents=True)
    page = html.unescape(write_run_page(record(folder)).read_text())
    assert f"<pre>tensorboard --logdir '{folder}/tensorboard'</pre>" in page
