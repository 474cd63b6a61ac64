"""What each node of a TrainJob runs: fetch the inputs, train, and upload the outputs.

    python -m components.train.trainer_job.node --training s3://models/.training/KEY -- FLAGS

Kubeflow Trainer says in PET_* which node this is. The process is the container's own: its exit code
and its last lines are the pod's. With several processes a node, torchrun starts this in each.
"""

import argparse
import fcntl
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from components.cli import guarded
from components.train.__main__ import build_parser as build_train_parser
from components.train.__main__ import work
from components.train.trainer_job.exchange import FILES, FOLDERS, fetch_inputs, put_outputs
from segmentor.object_store import ObjectStore
from segmentor.object_uri import ObjectUri

_FETCHED = "fetched"


def build_parser() -> argparse.ArgumentParser:
    """Make the parser; what follows `--` are train's own flags, without its paths."""
    parser = argparse.ArgumentParser(
        prog="python -m components.train.trainer_job.node", description=__doc__, allow_abbrev=False
    )
    parser.add_argument("--training", required=True, metavar="URI", help="inputs and outputs")
    parser.add_argument("flags", nargs="*", help="train's flags and overrides")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Train, and return the exit code."""
    arguments = build_parser().parse_args(argv)
    return guarded(lambda: _train(ObjectUri.parse(arguments.training), arguments.flags))


def _train(training: ObjectUri, flags: Sequence[str]) -> None:
    describe_process()
    store = ObjectStore.from_environment()
    folder = Path(tempfile.gettempdir()) / "training"
    _fetch_once(store, training, folder / "inputs")
    outputs = {name: folder / "outputs" / name for name in (*FOLDERS, *FILES)}
    inputs = {path.name: path for path in (folder / "inputs").iterdir() if path.is_dir()}
    paths = [f"--{name.replace('_', '-')}={path}" for name, path in (inputs | outputs).items()]
    metadata = work(build_train_parser().parse_args([*paths, *flags]))
    if os.environ["RANK"] == "0":
        put_outputs(store, training, outputs, metadata)


def describe_process() -> None:
    """Describe this process to torch, unless torchrun has: PET_* are its variables."""
    if "RANK" in os.environ:
        return
    named = {
        "RANK": "PET_NODE_RANK",
        "WORLD_SIZE": "PET_NNODES",
        "MASTER_ADDR": "PET_MASTER_ADDR",
        "MASTER_PORT": "PET_MASTER_PORT",
    }
    os.environ.update({name: os.environ[source] for name, source in named.items()})
    os.environ["LOCAL_RANK"] = "0"


def _fetch_once(store: ObjectStore, training: ObjectUri, folder: Path) -> None:
    """Fetch the inputs in the first process of this node; the others wait for it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder.parent / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        mark = folder.parent / _FETCHED
        if not mark.exists():
            fetch_inputs(store, training, folder)
            mark.touch()


if __name__ == "__main__":
    sys.exit(main())
