import subprocess
import sys
from pathlib import Path

import pytest

STEPS = ("convert_labels", "split", "train", "evaluate", "export", "deploy")
HEAVY = {"torch", "kfp", "matplotlib", "onnxruntime", "pandas", "kubernetes", "scipy"}


def test_the_walls_between_packages_hold(repository):
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("step", STEPS)
def test_help_of_a_step_answers_without_importing_what_is_heavy(repository, step):
    script = (
        "import runpy, sys\n"
        "sys.argv = ['step', '--help']\n"
        f"try: runpy.run_module('components.{step}', run_name='__main__')\n"
        "except SystemExit as end: code = end.code\n"
        f"found = {HEAVY!r} & set(sys.modules)\n"
        "sys.exit(f'imported {found}' if found else code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=repository, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "--executor-input" in done.stdout
