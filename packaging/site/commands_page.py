"""The reference of the command line: each command, its arguments and options, from the code."""

import argparse
import inspect
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import click
import typer.main

from pipelines.cli import app

STEPS = Path(__file__).resolve().parents[2] / "components"
_HEAD = """\
# Commands

`segmentor COMMAND --help` prints the same. Exit codes: 0 done, 1 a bug (traceback), 2 wrong usage,
3 a known error (one line on stderr), 130 Ctrl-C, 143 SIGTERM.
"""
_STEPS = """\
## The steps

Each step of the pipeline is a command of its own, the same on a laptop, in Docker and on a cluster.
Its options are pipeline parameters as well ([parameters](../parameters.md)).
"""


def page() -> str:
    """Return the page in Markdown."""
    root = typer.main.get_command(app)
    parts = [_HEAD]
    for path, command in _walk(root, ("segmentor",)):
        parts.append(_command(path, command))
    parts.append(_STEPS)
    for main in sorted(STEPS.glob("*/__main__.py")):
        parts.append(_program(f"components.{main.parent.name}"))
    parts.append("## The predictor\n")
    parts.append(_program("serving"))
    return "\n".join(parts)


def _walk(
    command: click.Command, path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, child in sorted(getattr(command, "commands", {}).items()):
        if hasattr(child, "commands"):
            yield from _walk(child, (*path, name))
        else:
            yield (*path, name), child


def _command(path: tuple[str, ...], command: click.Command) -> str:
    context = click.Context(command, info_name=" ".join(path))
    usage = command.get_usage(context).removeprefix("Usage: ")
    text = inspect.cleandoc(command.help or "").replace("<", "&lt;")
    rows = [_parameter(item, context) for item in command.params if item.name != "help"]
    lines = [
        f"## {' '.join(path)}",
        "",
        text,
        "",
        "```text",
        usage,
        "```",
        "",
        *_table(filter(None, rows)),
    ]
    examples = (command.epilog or "").replace("\b", "").replace("Examples:", "").strip("\n")
    return "\n".join([*lines, "```sh", inspect.cleandoc(examples), "```", ""])


def _parameter(item: click.Parameter, context: click.Context) -> str:
    record = item.get_help_record(context)
    if record is None:
        return ""
    return f"| `{record[0].strip()}` | {_cell(record[1])} |"


def _program(module: str) -> str:
    parser: argparse.ArgumentParser = import_module(f"{module}.__main__").build_parser()
    rows = []
    for action in parser._actions:
        if action.help == argparse.SUPPRESS or action.dest == "help":
            continue
        name = ", ".join(action.option_strings) or str(action.metavar or action.dest)
        shown = (
            ""
            if action.default in (None, argparse.SUPPRESS, "")
            else f" Default: `{action.default}`."
        )
        required = " Required." if action.required and action.option_strings else ""
        rows.append(f"| `{name}` | {_cell(action.help or '')}{shown}{required} |")
    lines = [f"### python -m {module}", "", _sentence(parser.description or ""), ""]
    return "\n".join([*lines, *_table(rows)])


def _table(rows: Iterator[str] | list[str]) -> list[str]:
    body = list(rows)
    return ["| option | what it is |", "|---|---|", *body, ""] if body else []


def _cell(text: str) -> str:
    text = " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;").replace("%%", "%")
    return _sentence(text)


def _sentence(text: str) -> str:
    text = text.strip()
    return text if not text or text.endswith((".", "]")) else f"{text}."
