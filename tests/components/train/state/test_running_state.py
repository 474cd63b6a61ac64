"""The state of a running training on a disk that is full."""

import errno
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SAVE = f"""
import sys, torch
from pathlib import Path
from components.train.state.running_state import Progress, RunningState, save_state
tensors = {{"weight": torch.zeros(500_000)}}
best = tensors if sys.argv[2] == "best" else None
state = RunningState("", 1, False, "", "", Progress(), {{}}, tensors, {{}}, None)
try:
    save_state(Path(sys.argv[1]), state, best)
except OSError as error:
    sys.exit(0 if error.errno == {errno.ENOSPC} else repr(error))
sys.exit("saved")
"""


@pytest.mark.parametrize("file", ["best", "state"])
def test_a_full_disk_is_said_by_the_system_and_leaves_no_partial_file(
    tmp_path: Path, file: str
) -> None:
    # A file system of its own in a namespace of its own: it is gone with the process.
    unshare = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    mount = f"mount -t tmpfs -o size=1m none {tmp_path}"
    if not shutil.which("unshare") or subprocess.run([*unshare, mount], check=False).returncode:
        pytest.skip("this system lets nobody make a small file system (unshare, tmpfs)")
    work = f"{mount} && {sys.executable} -c '{SAVE}' {tmp_path} {file}; code=$?; ls -A {tmp_path}"
    result = subprocess.run(
        [*unshare, f"{work}; exit $code"], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout) == (0, ""), result.stderr
