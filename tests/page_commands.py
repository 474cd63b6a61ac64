"""Commands on pages of documentation: find them, split them, parse them, run them in order."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import typer.main
from free_ports import free_port

from pipelines.cli import app

START_SECONDS = 200
_FENCE = re.compile(r"^```(?:sh|bash)\n(.*?)^```$", re.M | re.S)
_KEYWORDS = ("for", "done", "do", "export")


def fenced_blocks(text: str) -> list[str]:
    """Return the blocks of shell commands on a page."""
    return _FENCE.findall(text)


def fenced_lines(page: Path) -> list[str]:
    """Return the command lines of a page; what a backslash continues is one line."""
    text = "\n".join(fenced_blocks(page.read_text(encoding="utf-8")))
    lines = [line.strip() for line in re.sub(r"\\\n\s*", " ", text).splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def simple_commands(line: str, variables: Mapping[str, str]) -> Iterator[list[str]]:
    """Yield the words of each command in a line: without pipes, loops and assignments."""
    for name, value in variables.items():
        line = re.sub(rf"\$({name}\b|\{{{name}\}})", value, line)
    line = re.sub(r"\$\{\w+:\+([^}]*)\}", r"\1", line)
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|;&")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in (*lexer, ";"):
        if set(word) - set("|;&"):
            words.append(word)
            continue
        while words and (words[0] in _KEYWORDS or re.fullmatch(r"[A-Z_]+=.*", words[0])):
            words = [] if words[0] in ("for", "done") else words[1:]
        if words:
            yield words
        words = []


def parse_segmentor(arguments: list[str]) -> None:
    """Parse what follows `segmentor`, as the program does, without running it."""
    command = typer.main.get_command(app)
    context = command.make_context("segmentor", list(arguments))
    while hasattr(command, "resolve_command"):
        rest = [*context._protected_args, *context.args]
        name, command, rest = command.resolve_command(context, rest)
        context = command.make_context(name, rest, parent=context)


def run_in_order(commands: Iterable[str], folder: Path, modules: Path) -> None:
    """Run the commands in a folder, with `segmentor` from `modules`; servers end at the end.

    What a page serves on port 8080 is served on a free one.
    """
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "S3_"))
    }
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    environment["PYTHONPATH"] = str(modules)
    port = free_port()
    with _background() as servers:
        for command in commands:
            text = command.replace("8080", str(port))
            if text.startswith("segmentor serve"):
                arguments = [*shlex.split(text), "--enable_grpc", "false"]
                servers.append(subprocess.Popen(arguments, cwd=folder, env=environment))
                _wait_until_ready(port)
                continue
            result = subprocess.run(
                text, shell=True, cwd=folder, env=environment, capture_output=True, text=True
            )
            assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"


@contextmanager
def _background() -> Iterator[list[subprocess.Popen[bytes]]]:
    processes: list[subprocess.Popen[bytes]] = []
    try:
        yield processes
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def _wait_until_ready(port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/health/ready", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise AssertionError(f"no predictor on port {port} after {START_SECONDS} s")
