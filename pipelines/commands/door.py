"""What every command passes through: logging for people, and exit codes as the steps have them."""

import functools
import logging
import os
import sys
from collections.abc import Callable
from typing import Any

import typer

from components.cli import guarded


def command(function: Callable[..., None]) -> Callable[..., None]:
    """Puts a command behind the door: a known error is one line on stderr and exit code 3."""

    @functools.wraps(function)
    def door(*arguments: Any, **options: Any) -> None:
        # Warnings alone: people read what a command prints, not what its modules log.
        logging.basicConfig(
            level=os.environ.get("SEGMENTOR_LOG_LEVEL", "WARNING"),
            format="%(levelname)s %(name)s %(message)s",
            stream=sys.stderr,
        )
        # Its retries are warnings; what comes of them is an error of ours.
        logging.getLogger("urllib3").setLevel(logging.ERROR)
        code = guarded(lambda: function(*arguments, **options))
        if code:
            raise typer.Exit(code)

    return door
