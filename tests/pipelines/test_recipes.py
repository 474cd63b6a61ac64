"""The recipes of docs/extending.md for a parameter and for a step, followed in a copy."""

import shutil
import subprocess
import sys

import pytest

PARAMETER = """    max_samples: int = option(
        0,
        "Most samples to split; 0 takes all.",
        rule=Rule(lambda value: value >= 0, "a whole number, 0 or greater"),
    )

    def __post_init__("""
OPTIONS = '''"""The options of inspect."""

from dataclasses import dataclass

from components.options import FRACTION, check_values, option


@dataclass(frozen=True, kw_only=True)
class InspectOptions:
    """What a person would look at."""

    max_empty_masks: float = option(0.5, "Most empty masks that pass.", rule=FRACTION)

    def __post_init__(self) -> None:
        check_values(self)
'''
COMPONENT = '''"""KFP's specification of inspect."""

from kfp import dsl

from components.component import step_component
from components.container_images import DATA
from components.inspect.options import InspectOptions


@step_component(DATA, InspectOptions)
def inspect(evaluation: dsl.Input[dsl.Artifact], findings: dsl.Output[dsl.Artifact]) -> None:
    """Looks for what a person would notice.

    Args:
        evaluation: What evaluate measured.
        findings: A line each.
    """
'''
MAIN = '''"""Looks for what a person would notice."""

import sys
from pathlib import Path

from components.cli import output_file, run_step, step_parser
from components.inspect.options import InspectOptions
from components.options import add_flags, read_options


def build_parser():
    """Make the parser."""
    parser = step_parser("inspect", __doc__)
    parser.add_argument("--evaluation", type=Path, required=True)
    parser.add_argument("--findings", type=Path, required=True)
    add_flags(parser, InspectOptions)
    return parser


def work(arguments):
    """Write the findings."""
    options = read_options(InspectOptions, arguments)
    with output_file(arguments.findings) as path:
        path.write_text(f"at most {options.max_empty_masks}")
    return {}


if __name__ == "__main__":
    sys.exit(run_step(build_parser(), work))
'''
# The finder of the editable installation knows the repository, which is not what is tried here.
START = "import sys; sys.meta_path = [f for f in sys.meta_path if 'editable' not in repr(f)]\n"
COMPILE = f"""{START}
from pathlib import Path
from pipelines.compilation import SEGMENTATION_YAML, SWEEP_YAML, compile_pipeline
from pipelines.parameter_page import parameter_page
from pipelines.parameters import checked_parameters, load_pipeline
from segmentor.errors import ConfigError
for committed in (SEGMENTATION_YAML, SWEEP_YAML):
    compile_pipeline(committed, Path(committed.name))
name, wrong = sys.argv[1:]
assert f"| `{{name}}` |" in parameter_page()
for path in (Path("segmentation.yaml"), Path("sweep.yaml")):
    assert load_pipeline(path)["root"]["inputDefinitions"]["parameters"][name]["description"]
    try:
        checked_parameters(path, {{"source": "s3://datasets/task.zip", name: wrong}})
    except ConfigError as error:
        print(error)
"""


@pytest.fixture
def copy(repository, tmp_path):
    for name in ("segmentor", "components", "pipelines"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(repository / name, tmp_path / name, ignore=ignored)
    return tmp_path


def edit(path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), encoding="utf-8")


def run(folder, code: str, *argv: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *argv], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_pipeline_parameter(copy):
    edit(copy / "components" / "split" / "options.py", "    def __post_init__(", PARAMETER)
    said = run(copy, COMPILE, "max_samples", "-1")
    assert (
        said.splitlines()
        == ["parameter max_samples: -1, expected a whole number, 0 or greater"] * 2
    )
    text = (copy / "segmentation.yaml").read_text(encoding="utf-8")
    assert "- --max-samples" in text
    help_code = f"{START}import runpy; sys.argv = ['split', '--help']\n"
    assert "--max-samples" in run(
        copy, f"{help_code}runpy.run_module('components.split', run_name='__main__')"
    )


def test_a_step_between_evaluate_and_deploy(copy):
    folder = copy / "components" / "inspect"
    folder.mkdir()
    for name, text in (
        ("__init__", '"""A step of the recipe."""\n'),
        ("options", OPTIONS),
        ("component", COMPONENT),
        ("__main__", MAIN),
    ):
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    pipelines = copy / "pipelines"
    edit(
        pipelines / "segmentation.py",
        "    exported = export(",
        '    inspected = inspect(evaluation=evaluated.outputs["evaluation"], '
        "**inputs_of(values, InspectOptions))\n"
        '    set_basics(inspected, values["data_image"], hours=1)\n'
        "    exported = export(",
    )
    imports = "from components.inspect.options import InspectOptions\n"
    before = "from components.split.component import split\n"
    component = "from components.inspect.component import inspect\n"
    edit(pipelines / "segmentation.py", before, component + imports + before)
    edit(pipelines / "segmentation.py", "AFTER_TRAINING = (", "AFTER_TRAINING = (InspectOptions, ")
    said = run(copy, COMPILE, "max_empty_masks", "1.5")
    assert said.splitlines() == ["parameter max_empty_masks: 1.5, expected a value in 0..1"] * 2
    text = (copy / "sweep.yaml").read_text(encoding="utf-8")
    assert "- components.inspect" in text
    assert "- --max-empty-masks" in text
    argv = ["inspect", "--evaluation", "x", "--findings", "found.txt", "--max-empty-masks", "0.25"]
    code = f"{START}import runpy; sys.argv = {argv!r}\n"
    code += (
        "try:\n    runpy.run_module('components.inspect', run_name='__main__', alter_sys=True)\n"
    )
    run(copy, code + "except SystemExit as end:\n    assert not end.code\n")
    assert (copy / "found.txt").read_text() == "at most 0.25"
