"""How a step's `--help` names values and defaults: one convention for all flags."""

import argparse
from pathlib import Path
from typing import Any

_VALUES: dict[Any, str] = {str: "TEXT", int: "N", float: "X", Path: "PATH"}
_OF_NO_INTEREST = (None, "", argparse.SUPPRESS)


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Name a flag's value by its type, and show its default if it has one."""

    def _get_default_metavar_for_optional(self, action: argparse.Action) -> str:
        # Options that are lists or objects are read from JSON.
        return _VALUES.get(action.type or str, "JSON")

    def _get_help_string(self, action: argparse.Action) -> str:
        text = action.help or ""
        if action.required or action.default in _OF_NO_INTEREST or not action.option_strings:
            return text
        if isinstance(action.default, bool):
            return f"{text} (default: {str(action.default).lower()})"
        return f"{text} (default: %(default)s)"
