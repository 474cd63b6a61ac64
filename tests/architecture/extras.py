"""What an extra of pyproject.toml installs, and a Python that has nothing else."""

import contextlib
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

_BLOCKER = """
import importlib.abc, runpy, sys
hidden = set({hidden!r})
class Hide(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in hidden:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Hide())
sys.argv = {argv!r}
sys.path.insert(0, {root!r})
runpy.run_module({module!r}, run_name="__main__", alter_sys=True)
"""


ROOT = Path(__file__).parent.parent.parent


def installed_by(*extras: str) -> set[str]:
    """The distributions that `pip install '.[extra]'` brings: the requirements, and theirs."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    own = [*project["dependencies"]]
    own += [line for extra in extras for line in project["optional-dependencies"][extra]]
    found: set[str] = set()
    waiting, seen = [Requirement(line) for line in own], set()
    while waiting:
        requirement = waiting.pop()
        name, wanted = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if (name, wanted) in seen:
            continue
        seen.add((name, wanted))
        found.add(name)
        for other in _requirements_of(name):
            if other.marker is None or any(
                other.marker.evaluate({"extra": extra}) for extra in (*wanted, "")
            ):
                waiting.append(other)
    return found


def _requirements_of(name: str) -> Iterator[Requirement]:
    with contextlib.suppress(PackageNotFoundError):
        for line in requires(name) or []:
            with contextlib.suppress(InvalidRequirement):  # Catalyst 22.4 has such a line
                yield Requirement(line)


@cache
def hidden_modules(*extras: str) -> list[str]:
    """The top-level modules of all distributions that these extras do not install."""
    kept = installed_by(*extras)
    return sorted(
        module
        for module, owners in packages_distributions().items()
        if not kept & {canonicalize_name(owner) for owner in owners}
        and module not in ("components", "pipelines", "segmentor", "serving")
    )


def run_with_extras(
    extras: tuple[str, ...], module: str, *argv: str, folder: Path
) -> subprocess.CompletedProcess[str]:
    """Run `python -m module argv` where only these extras are installed."""
    code = _BLOCKER.format(
        hidden=hidden_modules(*extras), argv=[module, *argv], root=str(ROOT), module=module
    )
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, "S3_ENDPOINT": "http://127.0.0.1:9", "NO_PROXY": "*"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
