"""The labelling pipeline on this machine, against a CVAT server on loopback."""

import io

from emulators.cvat_server import TOKEN, Frame, Job, Records, Task, cvat_server
from red_model import write_red_model
from red_pictures import SIZE, label, picture

from pipelines.compilation import LABELLING_YAML
from pipelines.local.run import run_local
from pipelines.runs.summary import summary
from segmentor.cvat.shapes import encode
from segmentor.image_io import encode_png

OBJECT, INVENTED = (20, 30, 40, 60), (2, 2, 14, 14)


def test_labels_are_pulled_ranked_and_sent(tmp_path, monkeypatch):
    monkeypatch.setenv("CVAT_ACCESS_TOKEN", TOKEN)
    records = Records(states=["finished"])
    road = records.label("road")
    pictures = [picture(OBJECT)] * 3, [picture(OBJECT, red=140), picture(OBJECT)]
    for number, images in zip((12, 13), pictures, strict=True):
        frames = [Frame(f"{number}_{n}.png", encode_png(p), *SIZE) for n, p in enumerate(images)]
        records.tasks[number] = Task(number, frames, project=7)
    for frame in range(3):
        blocks = [OBJECT, INVENTED] if frame == 1 else [OBJECT]
        points = list(encode(label(*blocks).astype(bool), 0, 0))
        records.tasks[12].shapes.append(
            {"id": frame, "type": "mask", "frame": frame, "label_id": road, "points": points,
             "source": "manual"}
        )  # fmt: skip
    records.jobs = {31: Job(31, 12, 0, 2, state="completed"), 32: Job(32, 13, 0, 1)}
    with cvat_server(records) as url:
        project = f"{url.replace('http', 'cvat')}/projects/7"
        record = run_local(
            "host",
            {
                "source": f"{project}?state=completed",
                "to": project,
                "model": str(write_red_model(tmp_path / "model")),
                "most_images": 1,
            },
            tmp_path / "run",
            pipeline=LABELLING_YAML,
            stream=io.StringIO(),
        )
    assert [step.name for step in record.steps] == ["convert_labels", "propose"]
    assert [shape["frame"] for shape in records.tasks[13].shapes] == [0]
    (issue,) = records.issues
    assert (issue["job"], issue["frame"]) == (31, 1)
    assert issue["message"] == "Wrong class? This is labelled road; it looks like background."
    metadata = record.artifact_record("propose", "ranking").metadata
    assert metadata == {"frames_sent": 1, "issues_opened": 1}
    assert summary(record) == f"run page   {tmp_path / 'run' / 'index.html'}"
