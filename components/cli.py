"""The front door of every step: parsing, logging, exit codes, atomic outputs, KFP's ExecutorOutput.

Exit codes: 0 done, 1 a bug (traceback), 2 usage, 3 a known error (one line on stderr), 130 Ctrl-C,
143 SIGTERM. Standard library only, so that `--help` and a wrong flag answer at once.
"""

import argparse
import contextlib
import errno
import logging
import math
import os
import re
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType

from components.executor_output import Metadata, write_executor_output
from components.help_pages import HelpFormatter
from components.missing_extra import explain
from components.unfinished_output import LOCK, partial_prefix, unfinished_folder
from segmentor.errors import ConfigError, SegmentorError

# Metadata of each output artifact by name.
ArtifactMetadata = Mapping[str, Metadata]

EXIT_USAGE = 2
EXIT_KNOWN_ERROR = 3
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143
# Every folder that a step writes holds at least one of these.
_WRITTEN_BY_A_STEP = (
    "samples.jsonl*",
    "contract.json",
    "evaluation.json",
    "model.onnx",
    "deployment.json",
    "images.csv",
    "**/events.out.tfevents.*",
)
# The disk is full, or its quota.
_FULL = (errno.ENOSPC, errno.EDQUOT)


def step_parser(step: str, description: str) -> argparse.ArgumentParser:
    """Create the parser of a step, with the flag that KFP's task needs."""
    parser = argparse.ArgumentParser(
        prog=f"python -m components.{step}",
        description=description,
        formatter_class=HelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--executor-input",
        metavar="JSON",
        default=argparse.SUPPRESS,
        help="KFP's ExecutorInput ('{{$}}'); by hand it is left out",
    )
    return parser


def add_paths(parser: argparse.ArgumentParser, **paths: str) -> None:
    """Add a required flag for each input or output: its name, and what it is."""
    for name, what in paths.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=Path, required=True, help=what)


def run_step(
    parser: argparse.ArgumentParser,
    work: Callable[[argparse.Namespace], ArtifactMetadata],
    argv: Sequence[str] | None = None,
) -> int:
    """Parse, work, report; return the exit code.

    Args:
        parser: The step's parser.
        work: The step. It imports what is heavy, writes its outputs, and returns the metadata of
            its output artifacts by name. Non-finite numbers are dropped: the cluster refuses them.
        argv: Arguments without the program's name; None takes the process's own.
    """
    arguments = parser.parse_args(argv)
    return guarded(lambda: _run(arguments, work))


def refuse_dashes(argv: Sequence[str]) -> None:
    """End with one line if a Hydra override is written as a flag: no flag has a dot in its name."""
    for argument in argv:
        if re.match(r"--\w+(\.\w+)+(=|$)", argument):
            override = argument.removeprefix("--")
            _complain(f"{argument}: found an override with dashes, expected {override}")
            raise SystemExit(EXIT_USAGE)


def guarded(work: Callable[[], None]) -> int:
    """Run `work` so that known errors become one line and exit code 3."""
    logging.basicConfig(
        level=os.environ.get("SEGMENTOR_LOG_LEVEL", "INFO"),
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
        stream=sys.stderr,
    )
    ended = False

    def terminate(_signal: int, _frame: FrameType | None) -> None:
        # An exception, so that temporary outputs are removed on the way out.
        nonlocal ended
        ended = True
        raise SystemExit(EXIT_TERMINATED)

    previous = signal.signal(signal.SIGTERM, terminate)
    try:
        work()
    except ImportError as error:
        # Raised during the import of compiled code, the exception above becomes an ImportError.
        if ended:
            return EXIT_TERMINATED
        line = explain(error) if isinstance(error, ModuleNotFoundError) else None
        if line is None:
            raise
        _complain(line)
        return EXIT_KNOWN_ERROR
    except SegmentorError as error:
        _complain(_one_line(str(error)))
        return EXIT_KNOWN_ERROR
    except OSError as error:
        # A full disk, a forbidden folder or a missing file is not a bug: the user can fix it.
        if error.errno not in (*_FULL, errno.EACCES, errno.EROFS, errno.ENOENT):
            raise
        where = error.filename or "output"
        _complain(f"{where}: {error.strerror}")
        return EXIT_KNOWN_ERROR
    except KeyboardInterrupt:
        _complain("interrupted; no output was replaced")
        return EXIT_INTERRUPTED
    finally:
        signal.signal(signal.SIGTERM, previous)
    return 0


@contextlib.contextmanager
def output_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling; rename it to `path` at the end, remove it on an error.

    Raises:
        ConfigError: `path` holds files that no step has written, which would be lost.
    """
    refuse_foreign_folder(path)
    path = path.absolute()
    _make_parent(path)
    with _naming(path), unfinished_folder(path) as partial:
        yield partial
        if path.is_dir():
            shutil.rmtree(path)
        (partial / LOCK).unlink(missing_ok=True)
        partial.rename(path)


def refuse_foreign_folder(path: Path) -> None:
    """Refuse an existing output folder unless it is an earlier output; call it before long work.

    Raises:
        ConfigError: it holds other files.
    """
    names = sorted(entry.name for entry in path.iterdir()) if path.is_dir() else []
    if not names or any(next(path.glob(mark), None) for mark in _WRITTEN_BY_A_STEP):
        return
    shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    raise ConfigError(
        str(path),
        f"a folder with other files ({shown})",
        "a new folder, or an earlier output of this step",
        "give another: an output replaces what is there",
    )


def refuse_shared_folders(folders: Mapping[str, Path], others: Mapping[str, Path]) -> None:
    """Refuse an output folder that is, or holds, another path of the step; call it before work.

    Args:
        folders: The folders that are replaced, by flag.
        others: The step's other paths, inputs and outputs, by flag.

    Raises:
        ConfigError: what is there would be lost.
    """
    real = {flag: path.resolve() for flag, path in {**others, **folders}.items()}
    for flag in folders:
        for other in (name for name in real if name != flag):
            if real[other] == real[flag] or real[flag] in real[other].parents:
                is_same = real[other] == real[flag]
                raise ConfigError(
                    f"{flag} {folders[flag]}",
                    f"the place of {other} too" if is_same else f"a folder that holds {other}",
                    "a folder of its own",
                    "an output replaces what is there",
                )


@contextlib.contextmanager
def output_file(path: Path) -> Iterator[Path]:
    """Yield a temporary file; rename it to `path` at the end, remove it on an error."""
    path = path.absolute()
    if path.is_dir():
        raise ConfigError(str(path), "a folder", "the path of a file")
    _make_parent(path)
    with _naming(path), unfinished_folder(path) as folder:
        yield folder / path.name
        (folder / path.name).rename(path)


def _make_parent(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise ConfigError(str(path), "a path below a file", "one below a folder") from error


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Name the output in full-disk errors, which name no file, or the temporary one."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL and (
            error.filename is None or str(error.filename).startswith(str(partial_prefix(path)))
        ):
            error.filename = str(path)
        raise


def _run(
    arguments: argparse.Namespace, work: Callable[[argparse.Namespace], ArtifactMetadata]
) -> None:
    metadata = {
        name: {key: value for key, value in values.items() if _is_finite(value)}
        for name, values in work(arguments).items()
    }
    if "executor_input" in arguments:
        write_executor_output(arguments.executor_input, metadata)


def _is_finite(value: object) -> bool:
    return not isinstance(value, float) or math.isfinite(value)


def _complain(message: str) -> None:
    # A log on a full disk takes no message; the exit code still says what happened.
    with contextlib.suppress(OSError):
        print(f"error: {message}", file=sys.stderr)


def _one_line(message: str) -> str:
    return " ".join(message.split())
