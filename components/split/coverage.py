"""Who must go where, so that each split has each class: a search, for when dealing missed one."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Limits of the search, in choices and in cells of its table: it takes seconds at most.
MAX_CHOICES = 5000
MAX_CELLS = 1_000_000_000


@dataclass(frozen=True)
class _State:
    """Units left of each kind, room of each split in samples, classes that each still lacks.

    `spare` needs may still be given up; `path` is (kind, split, the path before), or None.
    """

    left: NDArray[np.int64]  # (D,)
    room: NDArray[np.int64]  # (splits,)
    lacks: NDArray[np.bool_]  # (splits, K)
    spare: int
    path: tuple[Any, ...] | None = None  # (kind, split, the path before)


def spread_classes(
    present: NDArray[np.bool_],
    sizes: NDArray[np.int64],
    room: NDArray[np.int64],
    needs: NDArray[np.bool_],
    tolerated: int,
) -> dict[int, int] | None:
    """Return units and the splits they must go to, so that as few needs as can be stay open.

    It is complete while the search is small: where an assignment exists, it finds one. When time is
    up, what came closest is the answer.

    Args:
        present: bool (U, K), the classes of each unit.
        sizes: int64 (U,), its samples.
        room: int64 (splits,), the samples that each split takes.
        needs: bool (splits, K), the classes that each split should have.
        tolerated: How many needs may stay open; None is returned when it is known that more must.
    """
    rows = np.concatenate([np.packbits(present, axis=1), sizes[:, None].view(np.uint8)], axis=1)
    _, first, kinds, left = np.unique(
        rows, axis=0, return_index=True, return_inverse=True, return_counts=True
    )
    search = _Search(present[first], sizes[first])
    for spare in range(tolerated + 1):
        end = search.run(_State(left, room, needs, spare))
        if end is not None:
            return _members(end, kinds.ravel())
    if not search.is_cut_short or search.closest is None:
        return None
    return _members(search.closest, kinds.ravel())


class _Search:
    """Depth first: the need with the fewest candidates, and of these the one that fulfils most."""

    def __init__(self, present: NDArray[np.bool_], sizes: NDArray[np.int64]) -> None:
        self._present = present.astype(np.int64)  # (D, K)
        self._sizes = sizes  # (D,)
        self._choices_left = min(MAX_CHOICES, MAX_CELLS // max(1, present.size))
        # The state with the fewest needs open or given up.
        self.closest: _State | None = None
        self._fewest = np.iinfo(np.int64).max

    @property
    def is_cut_short(self) -> bool:
        """Return True when time is up."""
        return self._choices_left <= 0 and self.closest is not None

    def run(self, start: _State) -> _State | None:
        """Return a state without open needs, or None when there is none or time is up."""
        # Iterative: 255 classes x 3 splits would exceed Python's recursion limit.
        stack = [iter([start])]
        while stack and self._choices_left > 0:
            state = next(stack[-1], None)
            if state is None:
                stack.pop()
                continue
            self._choices_left -= 1
            unfulfilled = int(state.lacks.sum()) + start.spare - state.spare
            if unfulfilled < self._fewest:
                self.closest, self._fewest = state, unfulfilled
            if not state.lacks.any():
                return state
            stack.append(self._next(state))
        return None

    def _next(self, state: _State) -> Iterator[_State]:
        fits = (state.left > 0) & (self._sizes <= state.room[:, None])  # (splits, D)
        brings = state.lacks.astype(np.int64) @ self._present.T * fits  # (splits, D)
        if self._beyond_reach(state, brings) > state.spare:
            return
        candidates = (fits * state.left) @ self._present  # (splits, K)
        candidates[~state.lacks] = np.iinfo(np.int64).max
        split, need = divmod(int(candidates.argmin()), candidates.shape[1])
        options = np.flatnonzero(fits[split] & (self._present[:, need] > 0))
        for kind in options[np.argsort(-brings[split, options], kind="stable")].tolist():
            left, room, lacks = state.left.copy(), state.room.copy(), state.lacks.copy()
            left[kind] -= 1
            room[split] -= self._sizes[kind]
            lacks[split] &= self._present[kind] == 0
            yield _State(left, room, lacks, state.spare, (kind, split, state.path))
        if state.spare:
            lacks = state.lacks.copy()
            lacks[split, need] = False
            yield _State(state.left, state.room, lacks, state.spare - 1, state.path)

    def _beyond_reach(self, state: _State, brings: NDArray[np.int64]) -> int:
        """Count needs that cannot come true, even if each split got the units that bring most."""
        beyond = 0
        for split in np.flatnonzero(state.lacks.any(axis=1)).tolist():
            useful = np.flatnonzero(brings[split])
            useful = useful[np.argsort(-brings[split, useful])]
            most = np.repeat(brings[split, useful], np.minimum(state.left[useful], 255))
            units = int(state.room[split] // self._sizes[useful].min(initial=1 << 62))
            beyond += max(0, int(state.lacks[split].sum() - most[:units].sum()))
        return beyond


def _members(end: _State, kinds: NDArray[np.int64]) -> dict[int, int]:
    """Take units of each kind in their order; returns the split of each."""
    order = np.argsort(kinds, kind="stable")
    starts = np.searchsorted(kinds[order], np.arange(kinds.max() + 1)).tolist()
    chosen = {}
    path = end.path
    while path is not None:
        kind, split, path = path
        chosen[int(order[starts[kind]])] = split
        starts[kind] += 1
    return chosen
