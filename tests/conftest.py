"""What every test may use: the real data folder, and quiet, bounded threads."""

import os
from pathlib import Path

import cv2
import pytest

# Set before torch and onnxruntime start their pools: idle OpenMP threads spin and starve the rest.
os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
cv2.setNumThreads(0)

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real photographs and exports; it is never part of the repository."""
    folder = Path(os.environ.get("SEGMENTOR_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        message = f"no real data at {folder}: set SEGMENTOR_TEST_DATA to the folder that has it"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return folder
