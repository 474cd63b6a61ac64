"""What the step and the nodes of its TrainJob hand to each other, in the object store.

Below `<destination>/.training/<key>/`, where the mirror of the training is too:

    inputs/{train,val,resume}/   the step uploads, each node fetches
    outputs/{checkpoint,...}     the first node uploads
    outputs/outputs.json         written last: the digests of the others, and the metadata
"""

import json
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from components.cli import ArtifactMetadata, output_file, output_folder
from segmentor.digests import digest_file
from segmentor.errors import StoreError, TrainingError
from segmentor.object_store import ObjectStore
from segmentor.object_uri import ObjectUri

FOLDERS = ("checkpoint", "logs")
FILES = ("metrics", "training_report")
LISTING = "outputs.json"


def put_inputs(store: ObjectStore, training: ObjectUri, inputs: Mapping[str, Path]) -> None:
    """Upload the input artifacts by name."""
    store.ensure_bucket(training.bucket)
    for name, folder in inputs.items():
        store.upload_folder(folder, training.child(f"inputs/{name}"))


def fetch_inputs(store: ObjectStore, training: ObjectUri, into: Path) -> None:
    """Download the input artifacts, each to the folder of its name."""
    store.download(training.child("inputs/"), into)


def put_outputs(
    store: ObjectStore,
    training: ObjectUri,
    outputs: Mapping[str, Path],
    metadata: ArtifactMetadata,
) -> None:
    """Upload the output artifacts by name, and last what says that they are whole."""
    listing = training.child(f"outputs/{LISTING}")
    store.remove(listing)  # that of an earlier attempt
    digests = {}
    for name, path in outputs.items():
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                key = f"{name}/{file.relative_to(path).as_posix()}" if path.is_dir() else name
                store.upload_file(file, training.child(f"outputs/{key}"))
                digests[key] = digest_file(file)
    content = json.dumps({"files": digests, "metadata": metadata}, sort_keys=True)
    store.write(listing, content.encode())


def fetch_outputs(
    store: ObjectStore, training: ObjectUri, outputs: Mapping[str, Path]
) -> ArtifactMetadata:
    """Download the output artifacts to their paths, all or none; return their metadata.

    Raises:
        TrainingError: they are not whole.
    """
    folder = training.child("outputs")
    with ExitStack() as stack:
        try:
            listing = json.loads(store.read(folder.child(LISTING)))
            partial = {
                name: stack.enter_context(
                    output_folder(path) if name in FOLDERS else output_file(path)
                )
                for name, path in outputs.items()
            }
            for key, digest in listing["files"].items():
                name, _, rest = key.partition("/")
                path = partial[name] / rest if rest else partial[name]
                store.download(folder.child(key), path)
                if digest_file(path) != digest:
                    raise _broken(folder, f"{key} has another digest than {LISTING} says")
        except StoreError as error:
            if "NoSuch" not in error.found and error.found != "no object":
                raise
            raise _broken(folder, f"{error.where} is missing") from error
        missing = [name for name in outputs if not partial[name].exists()]
        if missing:
            raise _broken(folder, f"no {', '.join(missing)}")
    metadata: ArtifactMetadata = listing["metadata"]
    return metadata


def _broken(folder: ObjectUri, found: str) -> TrainingError:
    return TrainingError(
        str(folder),
        f"{found} although the TrainJob is complete",
        "the outputs of its first node",
        "run the step again: it goes on from the mirror",
    )
