"""Wraps every command: logging for people, and the steps' exit codes."""

import functools
import logging
import os
import sys
from collections.abc import Callable
from typing import Any

import typer

from components.cli import guarded


def command(function: Callable[..., None]) -> Callable[..., None]:
    """Turn known errors of a command into one line on stderr and exit code 3."""

    @functools.wraps(function)
    def door(*arguments: Any, **options: Any) -> None:
        # Only warnings: people read a command's output, not the log of its modules.
        logging.basicConfig(
            level=os.environ.get("SEGMENTOR_LOG_LEVEL", "WARNING"),
            format="%(levelname)s %(name)s %(message)s",
            stream=sys.stderr,
        )
        # urllib3 logs retries as warnings; a final failure becomes our own error.
        logging.getLogger("urllib3").setLevel(logging.ERROR)
        code = guarded(lambda: function(*arguments, **options))
        if code:
            raise typer.Exit(code)

    return door
