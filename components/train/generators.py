"""The state of torch's random generators, which dropout draws from."""

import torch
from torch import Tensor


def get_generators() -> list[Tensor]:
    """Returns the states of the CPU's generator and of each GPU's."""
    states = [torch.get_rng_state()]
    if torch.cuda.is_available():
        states += torch.cuda.get_rng_state_all()
    return states


def set_generators(states: list[Tensor]) -> None:
    """Sets what `get_generators` returned."""
    torch.set_rng_state(states[0])
    if torch.cuda.is_available() and len(states) == 1 + torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states[1:])
