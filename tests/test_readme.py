"""Every command of README.md: parsed here as its program parses it, and run in order (slow)."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main
from free_ports import free_port
from small_export import photograph, write_small_export

from pipelines.cli import app

README = Path(__file__).resolve().parent.parent / "README.md"
START_SECONDS = 200


def _commands() -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```", README.read_text(encoding="utf-8"), re.M | re.S)
    lines = [line.strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def _needs_more_than_this_machine(command: str) -> bool:
    """True for a cluster, for Docker, and for make, which would run these tests again."""
    return command.split()[0] in ("make", "kubectl") or command.startswith("segmentor submit")


def test_there_are_commands() -> None:
    assert {"make demo", "make test"} <= set(_commands())


@pytest.mark.parametrize("command", _commands())
def test_the_program_of_each_command_takes_it(command: str, repository: Path) -> None:
    program, *arguments = shlex.split(command)
    if program == "segmentor":
        _parse_segmentor(arguments)
    elif program == "make":
        dry = subprocess.run(
            ["make", "--dry-run", *arguments], cwd=repository, capture_output=True, check=False
        )
        assert dry.returncode == 0, dry.stderr
    elif program == "kubectl":
        folder = repository / arguments[arguments.index("-k") + 1]
        assert (folder / "kustomization.yaml").is_file()
    else:
        assert program == "curl", f"say in this test how '{program}' is checked"


def _parse_segmentor(arguments: list[str]) -> None:
    command = typer.main.get_command(app)
    context = command.make_context("segmentor", list(arguments))
    while hasattr(command, "resolve_command"):
        rest = [*context._protected_args, *context.args]
        name, command, rest = command.resolve_command(context, rest)
        context = command.make_context(name, rest, parent=context)


def test_every_link_leads_to_a_file(repository: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README.read_text(encoding="utf-8"))

    assert [link for link in links if not (repository / link).exists()] == []


@pytest.fixture
def fresh_copy(repository: Path, tmp_path: Path) -> Path:
    """The repository as a clone has it, with what a user brings: an export and photographs."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=repository, capture_output=True, text=True, check=True
    )
    copy = tmp_path / "copy"
    for name in filter(None, listed.stdout.split("\0")):
        if (repository / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(repository / name, copy / name)
    write_small_export(copy / "my-task.zip")
    (copy / "photographs").mkdir()
    (copy / "photographs" / "photograph.jpg").write_bytes(photograph())
    return copy


@pytest.fixture
def background() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Servers that a command started; ended after the test."""
    processes: list[subprocess.Popen[bytes]] = []
    yield processes
    for process in processes:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_commands_of_a_day_run_in_order(
    fresh_copy: Path, background: list[subprocess.Popen[bytes]]
) -> None:
    port = free_port()
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "S3_"))
    }
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    environment["PYTHONPATH"] = str(fresh_copy)
    for command in filter(lambda line: not _needs_more_than_this_machine(line), _commands()):
        text = command.replace("8080", str(port))
        if text.startswith("segmentor serve"):
            arguments = [*shlex.split(text), "--enable_grpc", "false"]
            background.append(subprocess.Popen(arguments, cwd=fresh_copy, env=environment))
            _wait_until_ready(port)
            continue
        result = subprocess.run(
            text, shell=True, cwd=fresh_copy, env=environment, capture_output=True, text=True
        )
        assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
    for name in ("outputs/mine/index.html", "dataset.html", "masks/photograph.mask.png"):
        assert (fresh_copy / name).is_file(), name
    served = (fresh_copy / "predictions" / "photograph.mask.png").read_bytes()
    assert (fresh_copy / "masks" / "photograph.mask.png").read_bytes() == served
    assert (fresh_copy / "mask.png").read_bytes() == served


def _wait_until_ready(port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/health/ready", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise AssertionError(f"no predictor on port {port} after {START_SECONDS} s")
