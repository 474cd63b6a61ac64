"""Which revision of the sources this is, as git knows it."""

import subprocess
from pathlib import Path

from pipelines.host_runner import SOURCE_FOLDER


def source_revision() -> str:
    """Returns the commit's first 12 digits, or nothing outside a git checkout."""
    return _git("rev-parse", "--short=12", "HEAD")


def is_changed(path: Path) -> bool:
    """True unless this file is exactly what the commit holds."""
    tracked = _git("ls-files", "--error-unmatch", str(path.absolute()))
    return not tracked or bool(_git("status", "--porcelain", "--", str(path.absolute())))


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", SOURCE_FOLDER, *arguments], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
