"""The git revision of the sources."""

import subprocess
from pathlib import Path

SOURCE_FOLDER = Path(__file__).resolve().parent.parent


def source_revision() -> str:
    """Return the commit's first 12 digits; '' outside a git checkout."""
    return _git("rev-parse", "--short=12", "HEAD")


def is_changed(path: Path) -> bool:
    """Return True unless the file is the same as in the commit."""
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
