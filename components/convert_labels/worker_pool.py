"""Work on all cores, its results in order and bounded in memory."""

import collections
import itertools
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from components.convert_labels.worker_processes import worker_context
from segmentor.errors import DataError

# Tasks in progress per worker: enough to hide the order, few enough to bound memory.
TASKS_AHEAD = 4
# Tasks this few are done before workers have started.
FEW_TASKS = 8

Task = TypeVar("Task")
Result = TypeVar("Result")


def on_all_cores(
    tasks: Iterable[Task],
    here: Callable[[Task], Result],
    work: Callable[[Task], Result],
    setup: Callable[..., None],
    arguments: tuple[Any, ...],
) -> Iterator[tuple[Task, Result]]:
    """Yield each task with its result, in the order of the tasks.

    Args:
        tasks: Read as results are taken.
        here: Does a task in this process, where workers are not worth starting.
        work: Does a task in a worker process.
        setup: Runs once in each worker, with `arguments`.
        arguments: What workers need.

    Raises:
        DataError: a worker was killed, most likely for want of memory.
    """
    workers = len(os.sched_getaffinity(0))
    tasks = iter(tasks)
    first = list(itertools.islice(tasks, FEW_TASKS + 1))
    if workers == 1 or len(first) <= FEW_TASKS:
        for task in itertools.chain(first, tasks):
            yield task, here(task)
        return
    context = worker_context()
    waiting: collections.deque[tuple[Task, Future[Result]]] = collections.deque()
    with ProcessPoolExecutor(workers, context, _start_worker, (setup, arguments)) as pool:
        try:
            for task in itertools.chain(first, tasks):
                waiting.append((task, pool.submit(work, task)))
                if len(waiting) >= TASKS_AHEAD * workers:
                    yield _done(*waiting.popleft())
            while waiting:
                yield _done(*waiting.popleft())
        except BrokenProcessPool as error:
            raise DataError(
                "convert_labels",
                "a worker process was killed",
                "enough memory for one image a core",
                "give the step more memory, or fewer CPUs",
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _done(task: Task, future: Future[Result]) -> tuple[Task, Result]:
    return task, future.result()


def _start_worker(setup: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    setup(*arguments)
