"""The notebooks run from top to bottom on the demo's run, and are committed without outputs."""

import shutil

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = ("labels", "training_data", "results", "onnx")


@pytest.fixture
def notebooks(repository):
    return repository / "notebooks"


def test_the_list_is_complete_and_outputs_are_stripped(notebooks):
    assert sorted(path.stem for path in notebooks.glob("*.ipynb")) == sorted(NOTEBOOKS)
    for path in notebooks.glob("*.ipynb"):
        for cell in nbformat.read(path, as_version=4).cells:
            assert not cell.get("outputs"), path
            assert cell.get("execution_count") is None, path


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_runs_on_the_demo(name, notebooks, demo_run, tmp_path, monkeypatch):
    monkeypatch.setenv("SEGMENTOR_RUN", str(demo_run[0]))
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    shutil.copy(notebooks / f"{name}.ipynb", tmp_path)
    notebook = nbformat.read(tmp_path / f"{name}.ipynb", as_version=4)
    NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    ).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not [output for output in outputs if output.output_type == "error"]
