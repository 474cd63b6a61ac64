import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import components

# Every folder with a command line is a step.
FOLDER = Path(components.__file__).parent
STEPS = sorted(path.parent.name for path in FOLDER.glob("*/__main__.py"))
OURS = {"components", "pipelines", "segmentor", "serving"}


def test_the_walls_between_packages_hold(repository):
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("importing", ["components/inspect/step.py", "components/shared.py"])
def test_a_new_step_and_what_steps_share_are_behind_the_wall(repository, tmp_path, importing):
    for name in sorted(OURS):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(repository / name, tmp_path / name, ignore=ignored)
    shutil.copy(repository / "pyproject.toml", tmp_path)
    path = tmp_path / importing
    path.parent.mkdir(exist_ok=True)
    (path.parent / "__init__.py").touch()
    path.write_text("from components.split.splitting import divide\n")
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Steps never import one another BROKEN" in done.stdout
    module = importing.removesuffix(".py").replace("/", ".")
    assert f"{module} -> components.split.splitting" in done.stdout


@pytest.mark.parametrize("step", STEPS)
def test_help_of_a_step_answers_with_the_standard_library_alone(repository, step):
    script = (
        "import runpy, sys\n"
        "before = set(sys.modules)\n"
        "sys.argv = ['step', '--help']\n"
        f"try: runpy.run_module('components.{step}', run_name='__main__')\n"
        "except SystemExit as end: code = end.code\n"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        f"found = new - set(sys.stdlib_module_names) - {OURS!r}\n"
        "sys.exit(f'imported {found}' if found else code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=repository, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "--executor-input" in done.stdout
