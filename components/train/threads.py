"""How many threads to compute with: what this process may really use."""

import math
import os
from pathlib import Path

import torch

CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def set_threads() -> None:
    """Sets torch's threads to the CPUs of this process, unless OMP_NUM_THREADS decides.

    In a container with a CPU limit torch counts the cores of the whole machine: sixty-four threads
    on two cores spend their time waiting for one another. Set here in both cases: the sum of many
    numbers depends on the threads, and other work of this process may have set its own.
    """
    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    torch.set_num_threads(int(asked) if asked.isdecimal() and int(asked) else usable_cpus())


def usable_cpus(quota: Path = CGROUP_QUOTA) -> int:
    """CPUs by affinity and by the container's quota, at least one."""
    cpus = len(os.sched_getaffinity(0))
    try:
        allowed, period = quota.read_text().split()
        if allowed != "max":
            cpus = min(cpus, math.ceil(int(allowed) / int(period)))
    except (OSError, ValueError):
        pass  # no container, or cgroups of another version
    return max(1, cpus)
