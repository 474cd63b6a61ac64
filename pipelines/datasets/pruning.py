"""What `segmentor dataset prune` prints: the data sets, and what deleting them would free."""

from collections.abc import Iterator

from segmentor.dataset_pruning import Plan
from segmentor.plurals import counted
from segmentor.text_table import text_table

_MIB, _GIB = 1024**2, 1024**3


def describe_plan(plan: Plan, is_deleted: bool) -> Iterator[str]:
    """Yield lines: each data set with what becomes of it, and the shards that go."""
    fate = "deleted" if is_deleted else "to be deleted"
    rows = [
        (
            f"{item.written:%Y-%m-%d}",
            item.digest.removeprefix("sha256:")[:12],
            f"{item.samples:,}",
            _size(item.size),
            what,
            item.source,
        )
        for items, what in ((plan.removed, fate), (plan.kept, "kept"))
        for item in items
    ]
    head = ("written", "digest", "samples", "shards", "", "source")
    yield from text_table(head, rows) if rows else ["no data sets"]
    yield f"{counted(len(plan.shards), 'shard')} {fate}, {_size(plan.size)}"
    if plan.unlisted:
        yield f"{plan.unlisted} of them belong to no data set: conversions that did not end"
    if plan.shards and not is_deleted:
        yield "nothing was deleted: --delete does"
    if plan.kept and not plan.removed:
        yield "every data set is kept: --older-than-days says from which age on one is not"


def _size(size: int) -> str:
    return f"{size / _GIB:.2f} GiB" if size >= _GIB else f"{size / _MIB:.1f} MiB"
