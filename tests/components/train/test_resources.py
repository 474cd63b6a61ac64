"""Memory, threads and precision: what the machine has, and what is said when it is too little."""

import subprocess
import sys

import pytest
import torch

from components.train import machine
from components.train.machine import memory_errors, set_threads
from segmentor.errors import TrainingError


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("alloc_cpu.cpp:121: DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_out_of_memory_names_what_to_lower(error):
    with pytest.raises(TrainingError, match=r"lower training.batch_size \(to 8\)"):  # noqa: SIM117
        with memory_errors(16, (512, 512)):
            raise error


def test_torchs_own_allocator_is_recognised():
    with pytest.raises(TrainingError, match="out of memory"), memory_errors(4, (64, 64)):
        torch.empty(1 << 50, dtype=torch.uint8)


def test_other_errors_stay_what_they_are():
    with pytest.raises(RuntimeError, match="shape"), memory_errors(4, (64, 64)):
        raise RuntimeError("shape '[2]' is invalid")


_FAULTS = """
import resource
import sys

import numpy as np

from components.train.machine import keep_freed_memory

kept = keep_freed_memory() if sys.argv[1] == "keep" else False
for turn in range(4):
    if turn == 1:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(64 << 20, np.uint8)
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.parametrize("is_kept", [True, False])
def test_a_block_that_was_freed_is_there_for_the_next_step(is_kept):
    """Without it the kernel is asked for all of its pages again."""
    command = [sys.executable, "-c", _FAULTS, "keep" if is_kept else "leave"]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    if is_kept and output[0] != "True":
        pytest.skip("another C library than glibc, or one before 2.35")
    faults = int(output[1])
    assert faults < 50 if is_kept else faults >= 3 * 32  # pages of 2 MiB at most


def test_a_c_library_without_such_settings_stays_as_it_is(monkeypatch):
    monkeypatch.setattr(machine.ctypes, "CDLL", lambda name: object())
    assert not machine.keep_freed_memory()


@pytest.mark.parametrize("has_it", [True, False])
def test_precision_follows_the_hardware_unless_it_is_given(monkeypatch, has_it):
    monkeypatch.setattr(machine, "has_cpu_bf16", lambda: has_it)
    assert machine.choose_bf16("cpu", "auto") == has_it
    assert machine.choose_bf16("cpu", "bf16")
    assert not machine.choose_bf16("cpu", "fp32")


def test_the_threads_are_those_asked_for_whatever_this_process_did_before(monkeypatch):
    """Evaluate sets its own in the same process; another number gives other last digits."""
    before = torch.get_num_threads()
    monkeypatch.setenv("OMP_NUM_THREADS", "3,1")
    try:
        torch.set_num_threads(1)
        set_threads()
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
