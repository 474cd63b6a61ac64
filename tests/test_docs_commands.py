"""Every shell command on every page: its program takes it, and what it names exists.

Some pages get more than this. The commands of README.md (test_readme.py), docs/tutorial.md
(end_to_end/test_demo.py) and docs/protocols.md (serving/test_documented_commands.py) are run, and
those of docs/cluster.md are compared with the manifests (manifests/test_cluster_guide.py).
"""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from page_commands import fenced_blocks, fenced_lines, parse_segmentor, simple_commands

REPOSITORY = Path(__file__).resolve().parent.parent
PAGES = [
    *sorted((REPOSITORY / "docs").rglob("*.md")),
    *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md")),
]
TEXTS = {page: page.read_text(encoding="utf-8") for page in PAGES}
# What a reader's shell knows: the variables that pages export, and that of a loop.
VARIABLES = {
    **dict(re.findall(r"^export (\w+)=(\S+)$", "\n".join(TEXTS.values()), re.M)),
    "namespace": "segmentor",
}
# Folders of other repositories that docs/cluster/kind.md has the reader clone, and output of a
# command before.
ELSEWHERE = ("kserve/", "pipelines/manifests/", "compiled/")
# Why no program is asked about these commands.
UNCHECKED = {
    "source": "a file that `make setup` writes",
    "kind": "not installed here; test_cluster_guide.py compares the images",
    "aws": "not a dependency; test_cluster_guide.py compares credentials and port",
    "grpcurl": "not installed here; tests/serving/test_real_clients.py calls the same services",
}


def _commands() -> Iterator[tuple[str, ...]]:
    for page in PAGES:
        for line in fenced_lines(page):
            yield from map(tuple, simple_commands(line, VARIABLES))


COMMANDS = sorted(set(_commands()))


def _flags(words: tuple[str, ...] | list[str]) -> set[str]:
    return {word.split("=")[0] for word in words if re.match(r"--?[a-zA-Z]", word)}


def _output(*command: str | Path) -> str:
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _segmentor(*arguments: str) -> None:
    parse_segmentor(list(arguments))


def _make(*arguments: str) -> None:
    _output("make", "--dry-run", *arguments)


def _python(first: str, *rest: str) -> None:
    if first == "-m":
        _module(*rest)
    else:
        assert (REPOSITORY / first).is_file()


def _module(module: str, *arguments: str) -> None:
    path = REPOSITORY / module.replace(".", "/")
    if (path / "__main__.py").is_file():
        parser = importlib.import_module(f"{module}.__main__").build_parser()
        _parsed, rest = parser.parse_known_args(list(arguments))
        # Training hands what is left to Hydra.
        assert not _flags(rest)
        assert not rest or module == "components.train"
    else:
        source = path.with_suffix(".py").read_text(encoding="utf-8")
        assert [flag for flag in _flags(arguments) if f'"{flag}"' not in source] == []


def _torchrun(*arguments: str) -> None:
    end = arguments.index("--")
    _flags_are_in("torch", "distributed/run.py", arguments[:end])
    _module(*arguments[end + 1 :])


def _tensorboard(*arguments: str) -> None:
    _flags_are_in("tensorboard", "plugins/core/core_plugin.py", arguments)


def _flags_are_in(package: str, file: str, arguments: tuple[str, ...]) -> None:
    """Read the source: to import these takes seconds, or warns."""
    found = importlib.util.find_spec(package)
    assert found is not None
    known = (Path(found.origin or "").parent / file).read_text(encoding="utf-8")
    assert [flag for flag in _flags(arguments) if f'"{flag}"' not in known] == []


def _curl(*arguments: str) -> None:
    known = _output("curl", "--help", "all")
    assert [flag for flag in _long(arguments) if not re.search(rf"\s{flag}\b", known)] == []
    (url,) = [word for word in arguments if re.match(r"(http://)?(localhost|127\.0\.0\.1):", word)]
    path = urlsplit(url if "//" in url else f"http://{url}").path
    routes = [
        re.sub(r"\\\{.*?\\\}", r"[^/]+", re.escape(route))
        for file in (REPOSITORY / "serving" / "http").glob("*.py")
        for route in re.findall(r'"(/[\w{}/:.]+)"', file.read_text(encoding="utf-8"))
    ]
    assert any(re.fullmatch(route, path) for route in routes), path


def _long(arguments: tuple[str, ...]) -> set[str]:
    return {flag for flag in _flags(arguments) if flag.startswith("--")}


def _jq(program: str) -> None:
    # A program that cannot be compiled ends with 3, whatever it is given.
    subprocess.run(["jq", program], input="{}", text=True, capture_output=True, check=True)


def _cvat_cli(*arguments: str) -> None:
    program = Path(sys.executable).with_name("cvat-cli")
    verb = list(arguments[arguments.index("task") :][:2])
    known = _output(program, "--help") + _output(program, *verb, "--help")
    assert [flag for flag in _flags(arguments) if not re.search(rf"{flag}\b", known)] == []
    importlib.import_module(arguments[arguments.index("--function-module") + 1])


def _docker(verb: str, image: str) -> None:
    assert verb == "push"
    _image(image.rpartition("/")[2])


def _image(name: str) -> None:
    kind = name.partition(":")[0].removeprefix("segmentor-")
    assert (REPOSITORY / "images" / f"{kind}.Dockerfile").is_file()


def _build(*arguments: str) -> None:
    assert os.access(REPOSITORY / "images/build.sh", os.X_OK)
    for kind in arguments[: arguments.index("--")] if "--" in arguments else arguments:
        _image(kind)
    known = "\n".join(file.read_text() for file in (REPOSITORY / "images").glob("*.Dockerfile"))
    for word, value in zip(arguments, arguments[1:], strict=False):
        if word == "--build-arg":
            assert re.search(rf"^ARG {value.partition('=')[0]}\b", known, re.M)


def _ci() -> None:
    assert os.access(REPOSITORY / ".ci/run", os.X_OK)


CHECKS: dict[str, Callable[..., None]] = {
    "segmentor": _segmentor,
    "make": _make,
    "python": _python,
    "torchrun": _torchrun,
    "curl": _curl,
    "jq": _jq,
    "cvat-cli": _cvat_cli,
    "docker": _docker,
    "images/build.sh": _build,
    "tensorboard": _tensorboard,
    ".ci/run": _ci,
}


@pytest.mark.parametrize("words", [words for words in COMMANDS if words[0] in CHECKS], ids=" ".join)
def test_the_program_takes_the_command(words: tuple[str, ...]) -> None:
    if words[0] in ("curl", "jq") and shutil.which(words[0]) is None:
        message = f"{words[0]} is not installed: apt-get install {words[0]}"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    CHECKS[words[0]](*words[1:])


def test_every_program_is_checked_or_listed_with_the_reason() -> None:
    programs = {words[0] for words in COMMANDS}
    assert programs == {*CHECKS, *UNCHECKED, "kubectl"}
    assert len(COMMANDS) > 60
    assert [words for words in COMMANDS if "$" in "".join(words)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_commands_are_fenced_and_a_shell_takes_them(page: Path) -> None:
    outside = re.sub(r"^```.*?^```", "", TEXTS[page], flags=re.M | re.S)
    programs = "|".join(map(re.escape, {words[0] for words in COMMANDS}))
    assert re.findall(rf"^ {{4}}((?:\w+=\S+ )?(?:{programs}) .*)$", outside, re.M) == []
    for block in fenced_blocks(TEXTS[page]):
        done = subprocess.run(["bash", "-n"], input=block, text=True, capture_output=True)
        assert (done.returncode, done.stderr) == (0, ""), block


@pytest.mark.parametrize(
    "words", [words for words in COMMANDS if words[0] == "kubectl"], ids=" ".join
)
def test_kubectl_takes_the_command(kubectl: Path, tmp_path: Path, words: tuple[str, ...]) -> None:
    depth = {"create": 3 if words[2] == "secret" else 2}.get(words[1], 1)
    verb = words[1 : 1 + depth]
    known = _output(kubectl, *verb, "--help") + _output(kubectl, "options")
    for flag in _flags(words[1 + depth :]):
        # Listed as `--selector=''` or `-k, --kustomize=''`.
        assert re.search(rf"^\s+(-\w, )?{flag}[=,]", known, re.M), flag
    for flag, value in zip(words, words[1:], strict=False):
        if flag == "-k" and not value.startswith(ELSEWHERE):
            assert (REPOSITORY / value / "kustomization.yaml").is_file()
        if flag == "--filename" and not value.startswith(("https://", "-", *ELSEWHERE)):
            assert (REPOSITORY / value).is_file()
    if words[1] == "create":
        for name in re.findall(r"--from-(?:env-)?file=(?:\S+=)?(\S+)", " ".join(words)):
            (tmp_path / name).write_text("{}" if name.endswith(".json") else "A=b\n")
        environment = {**os.environ, "KUBECONFIG": str(tmp_path / "none")}
        command = [kubectl, *words[1:], "--dry-run=client"]
        subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=True)
