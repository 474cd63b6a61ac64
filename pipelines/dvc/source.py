"""A DVC revision as the source of a run: resolved on the client to a content-addressed object.

`dvc:exports/task.zip@v3` is of the repository here, `dvc:https://host/team/labels.git//exports/
task.zip@v3` of another one. The steps never need DVC.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

from segmentor.errors import ConfigError
from segmentor.object_uri import is_object_uri

SCHEME = "dvc:"
_FORM = "dvc:PATH@REVISION or dvc:REPOSITORY//PATH@REVISION"
# Before the path: the end of a repository's URL has its own double slash behind the scheme.
_REPOSITORY = re.compile(r"^(?P<repository>(?:[a-z+]+://)?.+?)//(?P<path>[^/].*)$")


def resolve_source(text: str) -> str:
    """Return where DVC keeps the content of a path at a revision; other sources as they are.

    Args:
        text: `dvc:[REPOSITORY//]PATH[@REVISION]`; without a revision, what the repository holds.

    Returns:
        An s3:// URI or a local path, named by the digest of the content.

    Raises:
        ConfigError: no DVC here, no such path or revision, a folder, or another kind of remote.
    """
    if not text.startswith(SCHEME):
        return text
    found = _REPOSITORY.match(text.removeprefix(SCHEME))
    repository = found["repository"] if found else "."
    path, _, revision = (found["path"] if found else text.removeprefix(SCHEME)).partition("@")
    if not path:
        raise ConfigError(text, "no path", _FORM)
    program = shutil.which("dvc")
    if program is None:
        raise ConfigError(text, "no dvc on the PATH", "DVC", "pip install dvc")
    command = [program, "get", "--show-url", repository, path]
    command += ["--rev", revision] if revision else []
    done = subprocess.run(
        command,
        env={**os.environ, "DVC_NO_ANALYTICS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        reason = done.stderr.strip().splitlines()
        said = reason[0].removeprefix("ERROR: ") if reason else "dvc says nothing"
        raise ConfigError(text, said, _FORM)
    location = done.stdout.strip()
    if location.endswith(".dir"):
        raise ConfigError(text, "a folder", "a file that DVC tracks", "track the zip of the export")
    if is_object_uri(location):
        return location
    if "://" in location:
        kind = location.split("://", 1)[0]
        raise ConfigError(
            text,
            f"a remote of kind {kind}",
            "one on S3 or a local folder",
            f"dvc get {repository} {path} and give the file",
        )
    if not Path(location).is_file():
        raise ConfigError(
            text, f"{location}, which is not there", "a file in the remote", "dvc push"
        )
    return location
