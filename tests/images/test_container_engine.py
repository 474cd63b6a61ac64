""".ci/container-engine.sh beside an engine that runs already, with stand-ins for its programs."""

import shutil
import subprocess

import pytest

PULLED = "python:3.11-slim-bookworm"
MADE = "local/python:3.11"
# `docker`: knows no image, pulls what HAS says, and imports what it is given.
DOCKER = """#!/bin/sh
echo "docker $*" >>"$CALLS"
case "$1 $2" in
  "image inspect") exit 1 ;;
  "pull "*) [ "$2" = "$HAS" ] || { echo "error: no registry" >&2; exit 1; } ;;
  "import "*) cat >/dev/null ;;
esac
"""
MMDEBSTRAP = """#!/bin/sh
echo "mmdebstrap" >>"$CALLS"
exit "$FAILS"
"""
# Installs what it is asked for, as apt-get would: here, a copy of the stand-in.
APT_GET = """#!/bin/sh
echo "apt-get $1" >>"$CALLS"
case "$*" in *" mmdebstrap"*) cp "$STORE/mmdebstrap" "$PROGRAMS/mmdebstrap" ;; esac
case "$1" in indextargets) echo https://mirror.example ;; esac
"""


@pytest.fixture
def start(tmp_path, repository):
    """Run the script with an engine at DOCKER_HOST; return its result and the calls it made."""
    programs, store = tmp_path / "programs", tmp_path / "store"
    programs.mkdir()
    store.mkdir()
    stand_ins = {
        programs / "docker": DOCKER,
        programs / "apt-get": APT_GET,
        programs / "dpkg": "#!/bin/sh\nexit 1\n",
        store / "mmdebstrap": MMDEBSTRAP,
    }
    for path, text in stand_ins.items():
        path.write_text(text)
        path.chmod(0o755)
    for program in ("sh", "cat", "cp", "head"):
        (programs / program).symlink_to(shutil.which(program))

    def run(**variables):
        calls = tmp_path / "calls"
        environment = {
            "PATH": str(programs),
            "DOCKER_HOST": "unix:///somebody.sock",
            "CALLS": str(calls),
            "STORE": str(store),
            "PROGRAMS": str(programs),
            "FAILS": "0",
            "HAS": PULLED,
            **variables,
        }
        result = subprocess.run(
            ["/bin/bash", repository / ".ci/container-engine.sh"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        return result, calls.read_text().splitlines()

    return run


def test_a_base_image_of_a_registry_is_pulled_and_never_made(start):
    result, calls = start(BASE_IMAGE=PULLED)
    assert result.returncode == 0, result.stderr
    assert f"BASE_IMAGE='{PULLED}'" in result.stdout
    assert calls == [f"docker image inspect {PULLED}", f"docker pull {PULLED}"]


def test_a_base_image_that_cannot_be_pulled_is_an_error_and_nothing_bears_its_name(start):
    result, calls = start(BASE_IMAGE=PULLED, HAS="")
    assert result.returncode != 0
    assert "no registry" in result.stderr
    assert not [call for call in calls if "import" in call or "mmdebstrap" in call]


def test_the_default_base_is_made_with_a_program_that_is_installed_first(start):
    result, calls = start()
    assert result.returncode == 0, result.stderr
    assert f"BASE_IMAGE='{MADE}'" in result.stdout
    assert calls.index("apt-get install") < calls.index("mmdebstrap")
    # Both ends of one pipe: which of them writes its line first is chance.
    assert any(call.startswith("docker import") for call in calls[-2:])
    assert not [call for call in calls if call.startswith("docker pull")]


def test_a_base_that_broke_off_is_not_kept(start):
    result, calls = start(FAILS="127")
    assert result.returncode == 1
    assert f"error: no base image {MADE} could be made" in result.stderr
    assert calls[-1] == f"docker image rm {MADE}"
