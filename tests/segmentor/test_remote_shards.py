"""Samples read from a real object store, behind a network that fails as networks fail."""

import gc
import multiprocessing
import pickle
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from builders import scenes, write_as_pod

from segmentor import remote_shards
from segmentor.dataset import Dataset
from segmentor.dataset_store import datasets_of
from segmentor.errors import StoreError
from segmentor.object_store import ObjectStore
from segmentor.object_uri import ObjectUri
from segmentor.remote_shards import DiskCache
from tests.emulators.bad_network import Answer, BadNetwork, bad_network

COUNT = 12
SHARD_BYTES = 60_000
EXPIRED = Answer(
    400,
    b"<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>",
    {"Content-Type": "application/xml"},
)


def write(folder: Path, destination: str = "") -> Path:
    """Write the same data set into a folder or, as a pod does, into the store."""
    return write_as_pod(folder, scenes(COUNT), destination, SHARD_BYTES)


@pytest.fixture(scope="module")
def destination() -> str:
    return f"s3://b-{uuid.uuid4().hex[:12]}/models"


@pytest.fixture
def artifact(store: ObjectStore, destination: str, tmp_path: Path) -> Path:
    return write(tmp_path / "artifact", destination)


@pytest.fixture
def local(tmp_path: Path) -> Dataset:
    return Dataset(write(tmp_path / "local"))


@pytest.fixture
def network(
    store_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, artifact: Path
) -> Iterator[BadNetwork]:
    """Stands between the client and the store from now on."""
    with bad_network(store_environment["S3_ENDPOINT"]) as network:
        monkeypatch.setenv("S3_ENDPOINT", network.address)
        network.only = "GET .*shard-"
        yield network


def assert_equal(found: Dataset, expected: Dataset) -> None:
    assert found.digest == expected.digest
    for sample in found.read_ahead(found.samples):
        assert found.image_content(sample) == expected.image_content(sample)
        assert found.mask_content(sample) == expected.mask_content(sample)


def test_a_data_set_in_the_store_is_the_one_on_disk(
    artifact: Path, local: Dataset, store: ObjectStore, destination: str
) -> None:
    remote = Dataset(artifact)
    assert list(remote) == list(local)
    assert list(remote.shard_list.files) == list(local.shard_list.files)
    assert len(remote.shard_list.files) > 2
    assert {path.name for path in artifact.iterdir()} == {"manifest.json", "samples.jsonl.gz"}
    for uri in store.list_keys(datasets_of(destination).child("shards")):
        assert store.read(uri) == (local.folder / uri.key.rpartition("/")[2]).read_bytes()
    assert_equal(remote, local)


def test_at_most_two_shards_are_on_the_disk_while_they_are_written(
    store: ObjectStore, destination: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = []
    upload = ObjectStore.upload_file

    def watched(self: ObjectStore, path: Path, *rest: str) -> None:
        started.set()
        most.append(len(list(path.parent.glob("shard-*"))))
        upload(self, path, *rest)

    started = threading.Event()
    monkeypatch.setattr(ObjectStore, "upload_file", watched)
    write(tmp_path / "watched", destination)
    assert started.is_set()
    assert max(most) <= 2


@pytest.mark.parametrize("trouble", ["503", "500", "reset", "cut", "lost", "wrong"])
def test_what_may_pass_is_asked_for_again(
    trouble: str, artifact: Path, local: Dataset, network: BadNetwork
) -> None:
    network.troubles = [trouble] * 2
    assert_equal(Dataset(artifact), local)
    assert not network.troubles


def test_bytes_that_stay_wrong_are_an_error_and_never_an_image(
    artifact: Path, network: BadNetwork
) -> None:
    network.troubles = ["wrong"] * 3
    dataset = Dataset(artifact)
    with pytest.raises(StoreError, match=r"s3://.*shard-.*bytes of scene_000 \(at \d+\) with an"):
        dataset.image_content(dataset.samples[0])
    # And the next one who asks gets what was recorded.
    assert dataset.image(dataset.samples[0]).shape == (64, 96, 3)


def test_credentials_that_expire_end_the_reading_and_are_named(
    artifact: Path, network: BadNetwork
) -> None:
    dataset = Dataset(artifact)
    dataset.image(dataset.samples[0])
    network.troubles = [EXPIRED]
    with pytest.raises(StoreError, match=r"ExpiredToken .*check AWS_ACCESS_KEY_ID"):
        dataset.image(dataset.samples[-1])


def test_a_shard_that_is_gone_is_named(
    artifact: Path, store: ObjectStore, destination: str
) -> None:
    dataset = Dataset(artifact)
    name = list(dataset.shard_list.files)[dataset.samples[0].shard]
    uri = datasets_of(destination).child("shards").child(name)
    content = store.read(uri)
    store.remove(uri)
    try:
        with pytest.raises(StoreError, match=rf"{name}: NoSuchKey"):
            dataset.image(dataset.samples[0])
    finally:
        store.write(uri, content)


def test_one_request_gets_image_and_mask_and_neighbours(
    artifact: Path, network: BadNetwork
) -> None:
    dataset = Dataset(artifact)
    dataset.image(dataset.samples[0])
    dataset.mask(dataset.samples[0])
    assert len(network.requests) == 1
    for sample in dataset.read_ahead(dataset.samples[1:]):
        dataset.image(sample)
        dataset.mask(sample)
    assert len(network.requests) <= 1 + len(dataset.shard_list.files)


def test_the_second_time_nothing_is_asked_for(artifact: Path, network: BadNetwork) -> None:
    dataset = Dataset(artifact)
    first = [dataset.image_content(sample) for sample in dataset.read_ahead(dataset.samples)]
    asked = len(network.requests)
    copy = pickle.loads(pickle.dumps(dataset))  # a worker's
    for reader in (dataset, copy):
        reader.prefetch(reader.samples)
        assert [reader.image_content(sample) for sample in reader.samples] == first
        assert [reader.mask(sample) for sample in reader.samples]
    assert len(network.requests) == asked


def test_the_cache_is_bounded_and_what_does_not_fit_is_fetched(
    artifact: Path, local: Dataset, network: BadNetwork
) -> None:
    sizes = [s.mask_offset + s.mask_bytes - s.image_offset for s in local.samples]
    bound = sum(sizes[:5]) + 10
    dataset = Dataset(artifact, cache_bytes=bound)
    for _ in range(2):
        assert_equal(dataset, local)
    cache = dataset._shards._cache
    kept = [cache.read(list(dataset.shard_list.files)[s.shard], s) for s in dataset.samples]
    assert [piece is not None for piece in kept] == [True] * 5 + [False] * 7
    assert sum(len(piece) for piece in kept if piece) <= bound
    asked = len(network.requests)
    dataset.image(dataset.samples[0])
    assert len(network.requests) == asked
    dataset.image(dataset.samples[-1])
    assert len(network.requests) == asked + 1


def test_a_damaged_cache_is_noticed(artifact: Path, local: Dataset) -> None:
    dataset = Dataset(artifact)
    assert_equal(dataset, local)
    for path in dataset._shards._cache.folder.iterdir():
        content = bytearray(path.read_bytes())
        content[600::50] = bytes(len(content[600::50]))
        path.write_bytes(content)
    assert_equal(dataset, local)


def test_a_full_disk_stops_the_cache_and_not_the_reading(
    artifact: Path, local: Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    dataset = Dataset(artifact)
    folder = dataset._shards._cache.folder
    for name in dataset.shard_list.files:
        (folder / name).symlink_to("/dev/full")
    assert_equal(dataset, local)
    assert "cache of shards not written" in caplog.text


def test_the_cache_goes_with_its_data_set(artifact: Path) -> None:
    dataset = Dataset(artifact)
    dataset.image(dataset.samples[0])
    folder = dataset._shards._cache.folder
    assert folder.is_dir()
    del dataset
    gc.collect()
    assert not folder.exists()


def test_what_is_fetched_ahead_is_bounded(
    artifact: Path, local: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_shards, "HELD_BYTES", 30_000)
    dataset = Dataset(artifact, cache_bytes=0)
    for _ in range(3):  # also when what was fetched ahead is never asked for
        dataset.prefetch(dataset.samples)
        fetcher = dataset._shards._own_fetcher()
        assert fetcher._bytes <= 30_000
        assert_equal(dataset, local)
    assert fetcher._bytes <= 30_000


def _digest_in(dataset: Dataset, answers: "multiprocessing.Queue[int]") -> None:
    answers.put(sum(int(dataset.image(sample).sum()) for sample in dataset.samples))


def test_forked_workers_read_with_connections_of_their_own(artifact: Path, local: Dataset) -> None:
    dataset = Dataset(artifact, cache_bytes=0)
    dataset.prefetch(dataset.samples)
    dataset.image(dataset.samples[0])
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    workers = [context.Process(target=_digest_in, args=(dataset, answers)) for _ in range(2)]
    for worker in workers:
        worker.start()
    expected = sum(int(local.image(sample).sum()) for sample in local.samples)
    assert [answers.get(timeout=60) for _ in workers] == [expected] * 2
    for worker in workers:
        worker.join(60)
    assert sum(int(dataset.image(sample).sum()) for sample in dataset.samples) == expected


def test_threads_share_a_data_set(artifact: Path, local: Dataset) -> None:
    dataset = Dataset(artifact, cache_bytes=0)
    wrong = []

    def read(seed: int) -> None:
        for position in np.random.default_rng(seed).permutation(COUNT).tolist() * 3:
            sample = dataset.samples[position]
            if dataset.image_content(sample) != local.image_content(local.samples[position]):
                wrong.append(position)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_store_that_is_away_is_logged_by_one_of_the_threads_that_wait(
    artifact: Path, network: BadNetwork, caplog: pytest.LogCaptureFixture
) -> None:
    network.troubles = ["503"] * 4
    dataset = Dataset(artifact)
    with ThreadPoolExecutor(4) as pool:
        first_of_shards = {sample.shard: sample for sample in dataset}.values()
        assert len(list(pool.map(dataset.image_content, first_of_shards))) > 2
    lines = [record for record in caplog.records if record.msg.startswith("waiting ")]
    assert len({line.thread for line in lines}) == 1
    assert all("failure=HTTP 503" in line.getMessage() for line in lines)


def test_without_credentials_the_error_says_what_to_set(
    artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = Dataset(artifact)
    monkeypatch.delenv("S3_ENDPOINT")
    with pytest.raises(StoreError, match=r"S3_ENDPOINT: not set"):
        dataset.image(dataset.samples[0])


def test_a_cache_holds_the_first_samples_of_a_list(local: Dataset) -> None:
    names = list(local.shard_list.files)
    cache = DiskCache(names, local.iter_samples, 0)
    sample = local.samples[0]
    cache.write(names[0], sample, b"x" * 10)
    assert not list(cache.folder.iterdir())
    assert ObjectUri.parse("s3://a/b").child(".datasets").key == "b/.datasets"
