"""README.md: its commands run in order (slow), and its links lead to files."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from page_commands import fenced_lines, run_in_order
from small_export import photograph, write_small_export

README = Path(__file__).resolve().parent.parent / "README.md"


def _needs_more_than_this_machine(command: str) -> bool:
    """True for a cluster, for Docker, for CVAT, and for make, which would run these tests again."""
    elsewhere = ("segmentor submit", "segmentor pull", "segmentor push", "segmentor rank")
    return command.split()[0] in ("make", "kubectl") or command.startswith(elsewhere)


def test_there_are_commands() -> None:
    assert {"make demo", "make test"} <= set(fenced_lines(README))


def test_every_link_leads_to_a_file(repository: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README.read_text(encoding="utf-8"))

    assert [link for link in links if not (repository / link).exists()] == []


@pytest.fixture
def fresh_copy(repository: Path, tmp_path: Path) -> Path:
    """The repository as a clone has it, with what a user brings: an export and photographs."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=repository, capture_output=True, text=True, check=True
    )
    copy = tmp_path / "copy"
    for name in filter(None, listed.stdout.split("\0")):
        if (repository / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(repository / name, copy / name)
    write_small_export(copy / "my-task.zip")
    (copy / "photographs").mkdir()
    (copy / "photographs" / "photograph.jpg").write_bytes(photograph())
    return copy


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_commands_of_a_day_run_in_order(fresh_copy: Path) -> None:
    commands = [line for line in fenced_lines(README) if not _needs_more_than_this_machine(line)]

    run_in_order(commands, fresh_copy, fresh_copy)

    for name in ("outputs/mine/index.html", "dataset.html", "masks/photograph.mask.png"):
        assert (fresh_copy / name).is_file(), name
    served = (fresh_copy / "predictions" / "photograph.mask.png").read_bytes()
    assert (fresh_copy / "masks" / "photograph.mask.png").read_bytes() == served
    assert (fresh_copy / "mask.png").read_bytes() == served
