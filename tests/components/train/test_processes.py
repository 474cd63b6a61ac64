"""Two processes under torchrun train one network, count every validation image once, write once."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from builders import ROAD

from components.train.samples import EpochSampler, read_pair
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


@pytest.mark.parametrize(("count", "multiple", "length"), [(10, 4, 8), (3, 4, 3), (8, 4, 8)])
def test_an_epoch_is_made_of_whole_batches(count, multiple, length):
    sampler = EpochSampler(count, 0, is_shuffled=True, multiple=multiple)
    found = [index for _, index in sampler]
    assert len(found) == len(set(found)) == len(sampler) == length
