"""Evaluate, export and infer again with the results of a finished run."""

from collections.abc import Iterator
from pathlib import Path

from segmentor.errors import ContractError
from segmentor.object_uri import is_object_uri
from segmentor.run_record import RunRecord

# Below the run folder: results of these commands never mix with what the run recorded.
AGAIN = "again"


def evaluate_run(run: Path, dataset: Path | None, output: Path | None) -> int:
    """Run the evaluate step on a run's checkpoint; return its exit code.

    Args:
        run: The run folder.
        dataset: A data set artifact; None takes the run's test set.
        output: Folder of the results; None is `<run>/again/evaluate`.

    Raises:
        ContractError: the folder holds no run, or training was not done in it.
    """
    record = RunRecord.read(run)
    from components.evaluate.__main__ import main

    folder = output or record.folder / AGAIN / "evaluate"
    code = main(
        [
            f"--checkpoint={run_checkpoint(record)}",
            f"--test={dataset or record.artifact('split', 'test')}",
            f"--evaluation={folder / 'evaluation'}",
            f"--metrics={folder / 'metrics.json'}",
            f"--confusion={folder / 'confusion.json'}",
            f"--evaluation-report={folder / 'evaluation_report.html'}",
        ]
    )
    if code == 0:
        print(f"report: {folder / 'evaluation_report.html'}")
    return code


def export_run(run: Path, size_policy: str, output: Path | None, triton: bool = False) -> int:
    """Run the export step on a run's checkpoint; return its exit code.

    Args:
        run: The run folder.
        size_policy: `trained`, `resize` or `native`.
        output: Folder of the results; None is `<run>/again/export`.
        triton: Also write a model repository of Triton, `<output>/triton`.

    Raises:
        ContractError: the folder holds no run, or training was not done in it.
    """
    record = RunRecord.read(run)
    from components.export.__main__ import main

    folder = output or record.folder / AGAIN / "export"
    code = main(
        [
            f"--checkpoint={run_checkpoint(record)}",
            f"--val={record.artifact('split', 'val')}",
            f"--test={record.artifact('split', 'test')}",
            f"--size-policy={size_policy}",
            f"--model={folder / 'model'}",
            f"--parity={folder / 'parity.json'}",
            f"--export-report={folder / 'export_report.html'}",
        ]
    )
    if code == 0:
        print(f"model:  {folder / 'model' / 'model.onnx'}")
        print(f"report: {folder / 'export_report.html'}")
    if code == 0 and triton:
        from pipelines.runs.triton import write_repository
        from segmentor.onnx_model import OnnxModel

        name = record.parameters["model_name"]
        written = write_repository(folder / "triton", name, OnnxModel(folder / "model"))
        print(f"triton: {written}")
    return code


def run_checkpoint(record: RunRecord) -> Path:
    """Return the checkpoint that a run evaluated: that of its training, or the best of a sweep.

    Raises:
        ContractError: the run was over before it had one.
    """
    is_sweep = any(step.name == "choose" for step in record.steps)
    return record.artifact("choose" if is_sweep else "train", "checkpoint")


def model_location(text: str) -> str:
    """Return where a predictor finds the model that a command names.

    Args:
        text: A run folder, a folder with model.onnx, the file itself, or an s3:// URI.

    Raises:
        ContractError: a folder without a model, or nothing there.
    """
    if is_object_uri(text):
        return text
    from segmentor.model import local_model

    path = local_model(Path(text))
    if path.is_file() or (path / "model.onnx").is_file():
        return str(path)
    raise ContractError(
        text, "no run and no model.onnx", "a run's folder, a model, or an s3:// URI"
    )


def infer_images(run: Path, source: Path, output: Path) -> Iterator[str]:
    """Predict images with a run's model; yield a line an image.

    `a/b.jpg` becomes `a/b.mask.png` and `a/b.overlay.png` below `output`.

    Raises:
        ContractError: no model at `run`.
        DataError: no image at `source`, or, after the others are done, unreadable images.
    """
    from components.cli import output_file
    from pipelines.image_files import find_images, predict_each
    from segmentor.image_io import encode_index, encode_png
    from segmentor.model import open_model

    find_images(source)  # a wrong path is said before the model is loaded
    model = open_model(model_location(str(run)))

    def predict(image: Path, target: Path) -> str:
        prediction = model.predict(image)
        encoded_mask, encoded_overlay = (
            encode_index(prediction.mask),
            encode_png(prediction.overlay()),
        )
        for kind, encoded in (("mask", encoded_mask), ("overlay", encoded_overlay)):
            with output_file(target.with_suffix(f".{kind}.png")) as partial:
                partial.write_bytes(encoded)
        return f"{image}  {target.with_suffix('.mask.png')}, {target.with_suffix('.overlay.png')}"

    yield from predict_each(source, output, predict)
