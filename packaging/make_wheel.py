"""Builds a wheel of the package `segmentor` alone: for notebooks and clients outside the checkout.

The checkout is an application: a wheel of all of it would put folders named `components`,
`pipelines` and `serving` into everybody's site-packages.
"""

import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
# What a client may add; the other extras belong to the steps and the predictor.
EXTRAS = {"cvat": ["cvat-sdk"]}

project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
output = Path(sys.argv[1]).absolute()
with tempfile.TemporaryDirectory() as name:
    folder = Path(name)
    no_caches = shutil.ignore_patterns("__pycache__")
    shutil.copytree(REPOSITORY / "segmentor", folder / "segmentor", ignore=no_caches)
    for file in ("README.md", "LICENSE"):
        shutil.copy(REPOSITORY / file, folder)
    quoted = {key: [f'"{item}"' for item in items] for key, items in EXTRAS.items()}
    dependencies = ", ".join(f'"{item}"' for item in project["dependencies"])
    (folder / "pyproject.toml").write_text(
        f"""[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "segmentor"
version = "{project["version"]}"
description = "{project["description"]}"
readme = "README.md"
license = "{project["license"]}"
requires-python = ">=3.11"
dependencies = [{dependencies}]

[project.optional-dependencies]
{chr(10).join(f"{key} = [{', '.join(items)}]" for key, items in quoted.items())}

[tool.setuptools.packages.find]
include = ["segmentor*"]

[tool.setuptools.package-data]
"*" = ["*.j2", "py.typed"]
""",
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(output), str(folder)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
print(next(output.glob(f"segmentor-{project['version']}-*.whl")))
