"""A network that fails, a process that is killed: at the end each image has one line and mask."""

import os
import random
import subprocess
import sys

import pytest

from components.predict_batch.step import predict_batch
from segmentor.errors import StoreError
from segmentor.model import LocalModel
from tests.components.predict_batch.bulk_builders import check_law
from tests.emulators.bad_network import Answer, bad_network

TROUBLES = ("500", "503", "reset", "cut", "wrong", "slow", "lost")
EXPIRED = Answer(
    403,
    b"<Error><Code>ExpiredToken</Code><Message>The token has expired.</Message></Error>",
    {"Content-Type": "application/xml"},
)


@pytest.fixture
def network(store, store_environment, monkeypatch):
    """The store by way of a network that fails; `store` itself is reached directly."""
    with bad_network(store_environment["S3_ENDPOINT"]) as server:
        monkeypatch.setenv("S3_ENDPOINT", server.address)
        yield server


@pytest.mark.parametrize("mask_files", ["png", "tar"])
def test_a_network_that_fails_changes_nothing(
    store, source, images, output, model, network, chance: random.Random, mask_files
) -> None:
    network.troubles = [chance.choice(TROUBLES) if chance.random() < 0.2 else "" for _ in range(80)]
    predict_batch(str(source), str(model), str(output), mask_files, part_images=7)
    assert network.troubles == []
    check_law(store, output, images, LocalModel(model))


def test_credentials_that_expire_cost_one_part(
    store, source, images, output, model, network
) -> None:
    network.only, network.troubles = "PUT .*masks", [""] * 16 + [EXPIRED] * 100
    with pytest.raises(StoreError, match="ExpiredToken.*check AWS_ACCESS_KEY_ID"):
        predict_batch(str(source), str(model), str(output), part_images=7)
    done = [uri.key for uri in store.list_keys(output.child("parts")) if "predictions" in uri.key]
    assert done
    network.troubles = []
    before = len(network.requests)
    predict_batch(str(source), str(model), str(output), part_images=7)
    check_law(store, output, images, LocalModel(model))
    written = [
        line for line in network.requests[before:] if line.startswith("PUT") and "/masks/" in line
    ]
    assert len(written) <= 36 - 6 * len(done)


def test_a_process_that_is_killed_at_any_moment_goes_on(
    store, source, images, output, model, chance: random.Random, repository
) -> None:
    command = [sys.executable, "-c", "from pipelines.cli import main; main()", "predict"]
    command += [str(source), "--model", str(model), "--output", str(output)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    kills = 0
    while True:
        process = subprocess.Popen(
            command, env=environment, cwd=repository, stdout=subprocess.PIPE, text=True
        )
        try:
            said, _ = process.communicate(timeout=chance.uniform(1.0, 4.0) * 1.3**kills)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            kills += 1
            continue
        break
    assert process.returncode == 0
    assert said.splitlines()[:2] == [
        f"{output}/predictions.jsonl",
        "40 images, 36 masks, 4 bad images",
    ]
    check_law(store, output, images, LocalModel(model))
