"""The curl commands of docs/protocols.md, run as they stand there, against a real server."""

import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from segmentor.image_io import decode_image

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "protocols.md"
COMMANDS = re.findall(r"^(curl .+)$", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.fixture
def folder(tmp_path, scene_jpeg):
    if shutil.which("curl") is None:
        message = "curl is not installed: apt-get install curl"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    (tmp_path / "photo.jpg").write_bytes(scene_jpeg)
    return tmp_path


def test_there_are_commands_to_run():
    assert len(COMMANDS) >= 5


@pytest.mark.parametrize("command", COMMANDS)
def test_a_documented_command_gets_its_reply(predictor, folder, command):
    here = command.replace("localhost:8080", f"127.0.0.1:{predictor.http_port}")
    arguments = shlex.split(here.replace("/road", "/scene"))
    done = subprocess.run(
        [*arguments, "--fail-with-body", "--silent", "--show-error", "--noproxy", "*"],
        cwd=folder,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    if "-o" in arguments:
        assert decode_image((folder / arguments[-1]).read_bytes()).shape == (90, 130, 3)
    else:
        assert json.loads(done.stdout)
