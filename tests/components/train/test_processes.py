"""Two processes under torchrun train one network, count every validation image once, write once."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from builders import ROAD
from torch import distributed
from torch.testing._internal.distributed.fake_pg import FakeStore

from components.train.loading.samples import EpochSampler, read_pair
from components.train.processes import in_group, is_first, rank, world_size
from components.train.state.running_state import load_state
from segmentor.dataset import Dataset
from segmentor.metrics import class_scores, confusion_matrix
from segmentor.nn.checkpoint import load_checkpoint


def test_two_processes_agree_with_one(road_data, flags, repository, tmp_path):
    """Stock DistributedDataParallelEngine under torchrun trains two networks, each alone."""
    done = subprocess.run(
        [
            sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2",
            "--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0",
            "-m", "--", "components.train", *flags(road_data, tmp_path),
            "training.epochs=2", "training.batch_size=2", "training.precision=fp32",
        ],
        cwd=repository,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "checkpoint", "logs", "metrics.json", "report.html",
    ]  # fmt: skip
    # Five validation images on two processes: accelerate alone would count one of them twice.
    checkpoint = load_checkpoint(tmp_path / "checkpoint")
    module, val_set = checkpoint.deployable(), Dataset(road_data / "val")
    confusion = np.zeros((2, 2), np.int64)
    for sample in val_set.samples:
        image, truth = read_pair(val_set, sample, (64, 96))
        with torch.inference_mode():
            probability = module(torch.from_numpy(np.array(image))[None])[0, 0].numpy()
        confusion += confusion_matrix(truth, (probability > 0.5).astype(np.uint8), len(ROAD))
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["val_iou"] == pytest.approx(float(class_scores(confusion).iou[1]), abs=1e-3)


def test_a_group_that_the_caller_has_made_is_taken_and_left_to_the_caller(monkeypatch):
    """Its launcher need not set the variables of torchrun: each process trained alone then."""
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert (world_size(), rank()) == (1, 0)
    distributed.init_process_group("fake", rank=1, world_size=2, store=FakeStore())
    try:
        with in_group(is_cpu=True):
            assert (world_size(), rank(), is_first()) == (2, 1, False)
            assert os.environ["WORLD_SIZE"] == "2"  # accelerate asks the environment alone
        assert "WORLD_SIZE" not in os.environ
        assert distributed.is_initialized()
    finally:
        distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_of_a_group_without_torchrun_train_one_network(
    road_data, flags, repository, tmp_path
):
    script = (
        "import sys\nfrom torch import distributed\n"
        "from components.train.__main__ import main\n"
        "store = f'file://{sys.argv[1]}'\n"
        "distributed.init_process_group('gloo', store, rank=int(sys.argv[2]), world_size=2)\n"
        "sys.exit(main(sys.argv[3:]))"
    )
    options = ["training.epochs=2", "training.batch_size=2", "training.precision=fp32"]
    foreign = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
    environment = {k: v for k, v in os.environ.items() if k not in foreign}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path / "store"), number]
            + flags(road_data, tmp_path / number) + options,
            cwd=repository, env={**environment, "OMP_NUM_THREADS": "1"},
        )
        for number in ("0", "1")  # a folder for each, as on two machines
    ]  # fmt: skip
    assert [process.wait(120) for process in processes] == [0, 0]
    assert sorted(path.name for path in (tmp_path / "0").iterdir()) == [
        "checkpoint", "logs", "metrics.json", "report.html",
    ]  # fmt: skip
    assert list((tmp_path / "1").iterdir()) == []
    # Ten images in batches of two: in an epoch two steps of both, not five of each alone.
    moments = load_state(tmp_path / "0" / "checkpoint").optimizer["state"]
    assert {int(item["step"]) for item in moments.values()} == {2 * 2}


@pytest.mark.parametrize(("count", "multiple", "length"), [(10, 4, 8), (3, 4, 3), (8, 4, 8)])
def test_an_epoch_is_made_of_whole_batches(count, multiple, length):
    sampler = EpochSampler(count, 0, is_shuffled=True, multiple=multiple)
    found = [index for _, index in sampler]
    assert len(found) == len(set(found)) == len(sampler) == length


@pytest.mark.slow
def test_three_processes_that_go_on_sum_gradients_as_they_would_have(tmp_path):
    """The order of a sum of two is no matter; of three, a first step differed in its last bits."""
    script = (
        "import sys, torch\n"
        "from torch import distributed, nn\n"
        "from components.train.processes import settle_gradients\n"
        "from segmentor.nn.network import NetworkConfig, build_network\n"
        "store, rank = f'file://{sys.argv[1]}', int(sys.argv[2])\n"
        "distributed.init_process_group('gloo', store, rank=rank, world_size=3)\n"
        "def start():\n"
        "    torch.manual_seed(0)\n"
        "    network = build_network(NetworkConfig('unet', 'resnet18', {}), 1)\n"
        "    model = nn.parallel.DistributedDataParallel(network)\n"
        "    settle_gradients(model, 2, (64, 96))\n"
        "    return model, torch.optim.SGD(model.parameters(), lr=0.01)\n"
        "def train(model, optimizer, steps):\n"
        "    for step in steps:\n"
        "        seed = torch.Generator().manual_seed(10 * step + rank)\n"
        "        model(torch.randn(2, 3, 64, 96, generator=seed)).square().mean().backward()\n"
        "        optimizer.step()\n"
        "        optimizer.zero_grad()\n"
        "model, optimizer = start()\n"
        "train(model, optimizer, (0, 1))\n"
        "state = {k: v.clone() for k, v in model.module.state_dict().items()}\n"
        "train(model, optimizer, (2,))\n"
        "resumed, optimizer = start()\n"
        "resumed.module.load_state_dict(state)\n"
        "train(resumed, optimizer, (2,))\n"
        "pairs = zip(model.parameters(), resumed.parameters())\n"
        "sys.exit(not all(torch.equal(one, other) for one, other in pairs))\n"
    )
    foreign = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
    environment = {k: v for k, v in os.environ.items() if k not in foreign}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path / "store"), number],
            env={**environment, "OMP_NUM_THREADS": "1"},
        )
        for number in ("0", "1", "2")
    ]
    assert [process.wait(250) for process in processes] == [0, 0, 0]
