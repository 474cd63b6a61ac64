"""Prints the requirements of one extra, and of the package itself, from pyproject.toml.

So an image's dependencies are a layer of their own, which a change of the source does not touch.
"""

import sys
import tomllib
from pathlib import Path

project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
for requirement in project["dependencies"] + project["optional-dependencies"][sys.argv[1]]:
    print(requirement)
