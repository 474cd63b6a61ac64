"""Prints the requirements of some extras (a,b) and of the package itself, from pyproject.toml.

So an image's dependencies are a layer of their own, which a change of the source does not touch.
"""

import sys
import tomllib
from pathlib import Path

project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
extras = [project["optional-dependencies"][name] for name in sys.argv[1].split(",")]
for requirement in sum(extras, project["dependencies"]):
    print(requirement)
