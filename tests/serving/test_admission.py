import asyncio
import threading
import time

import pytest

from serving import metrics
from serving.admission import FREE_MEGAPIXELS, SECONDS_A_MEGAPIXEL, Admission, give_way
from serving.refusals import Busy, NotReady, TimedOut


async def hold(admission: Admission, work):
    async with admission.place():
        return await admission.run(work)


async def until(holds):
    """Wait for what other threads do; a busy machine lets them wait."""
    async with asyncio.timeout(60):
        while not holds():
            await asyncio.sleep(0.005)


def test_more_than_the_places_are_refused_and_the_others_are_answered():
    async def scenario():
        admission = Admission(workers=1, queue_limit=1, time_limit_s=5)
        gate = threading.Event()
        tasks = [asyncio.create_task(hold(admission, gate.wait)) for _ in range(4)]
        await asyncio.sleep(0.05)
        gate.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    results = asyncio.run(scenario())
    assert results[:2] == [True, True]
    assert all(isinstance(result, Busy) for result in results[2:])


def test_work_beyond_the_limit_times_out_and_keeps_its_place_until_its_thread_is_free():
    async def scenario():
        admission = Admission(workers=1, queue_limit=0, time_limit_s=0.5)
        gate = threading.Event()
        with pytest.raises(TimedOut):
            await hold(admission, gate.wait)
        with pytest.raises(Busy):
            await hold(admission, lambda: 1)
        gate.set()
        await until(lambda: admission._abandoned == 0)
        return await hold(admission, lambda: 2)

    assert asyncio.run(scenario()) == 2


def test_what_waited_too_long_is_not_begun():
    async def scenario():
        admission = Admission(workers=1, queue_limit=1, time_limit_s=0.1)
        gate, begun = threading.Event(), []
        slow = asyncio.create_task(hold(admission, gate.wait))
        late = asyncio.create_task(hold(admission, lambda: begun.append(1)))
        results = await asyncio.gather(slow, late, return_exceptions=True)
        gate.set()
        await until(lambda: not admission.is_working())
        await asyncio.sleep(0.1)
        return results, begun

    results, begun = asyncio.run(scenario())
    assert all(isinstance(result, TimedOut) for result in results)
    assert begun == []


def test_what_is_cancelled_leaves_the_queue_and_what_has_begun_holds_its_place():
    async def scenario():
        admission = Admission(workers=1, queue_limit=1, time_limit_s=60)
        started, gate, begun = threading.Event(), threading.Event(), []

        def work():
            started.set()
            return gate.wait()

        running = asyncio.create_task(hold(admission, work))
        await until(started.is_set)
        queued_before = metrics.QUEUED._value.get()
        for _ in range(20):
            waiting = asyncio.create_task(hold(admission, lambda: begun.append(1)))
            await asyncio.sleep(0.002)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        assert metrics.QUEUED._value.get() == queued_before
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        innocent = asyncio.create_task(hold(admission, lambda: 3))
        await asyncio.sleep(0.01)
        with pytest.raises(Busy):  # the thread is not free yet
            await hold(admission, lambda: 4)
        gate.set()
        return await innocent, begun

    assert asyncio.run(scenario()) == (3, [])


def test_a_large_request_is_allowed_more_time():
    async def scenario():
        admission = Admission(workers=1, queue_limit=0, time_limit_s=0.5)

        def work():
            give_way(FREE_MEGAPIXELS + 30 / SECONDS_A_MEGAPIXEL)
            time.sleep(1)
            return 5

        return await hold(admission, work)

    assert asyncio.run(scenario()) == 5


def test_no_small_request_waits_behind_large_ones_which_run_one_by_one():
    async def scenario():
        admission = Admission(workers=1, queue_limit=20, time_limit_s=60)
        gate, at_once = threading.Event(), []

        def large():
            give_way(20)
            at_once.append(metrics.IN_FLIGHT._value.get())
            return gate.wait(60)

        tasks = [asyncio.create_task(hold(admission, large)) for _ in range(3)]
        await until(lambda: at_once)
        small = [await hold(admission, lambda: 1) for _ in range(5)]
        assert not any(task.done() for task in tasks)
        gate.set()
        return small, await asyncio.gather(*tasks), at_once

    small, large, at_once = asyncio.run(scenario())
    assert small == [1] * 5
    assert large == [True] * 3
    assert at_once == [1, 1, 1]


def test_large_requests_that_wait_take_a_quarter_of_the_places_at_most():
    async def scenario():
        admission = Admission(workers=1, queue_limit=7, time_limit_s=60)
        gate = threading.Event()

        def large():
            give_way(20)
            return gate.wait(60)

        tasks = [asyncio.create_task(hold(admission, large)) for _ in range(4)]
        await until(lambda: sum(task.done() for task in tasks) == 2)
        gate.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    results = asyncio.run(scenario())
    assert results[:2] == [True, True]
    assert [type(result) for result in results[2:]] == [Busy, Busy]


def test_closing_answers_whoever_waits_and_knows_of_threads_that_still_work():
    async def scenario():
        admission = Admission(workers=1, queue_limit=1, time_limit_s=60)
        started, gate = threading.Event(), threading.Event()

        def work():
            started.set()
            return gate.wait(60)

        tasks = [asyncio.create_task(hold(admission, work)) for _ in range(2)]
        await until(started.is_set)
        queued = metrics.QUEUED._value.get()
        admission.close()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        was_working = admission.is_working()
        gate.set()
        await until(lambda: not admission.is_working())
        return results, was_working, admission.is_working(), metrics.QUEUED._value.get() - queued

    results, was_working, is_working, queued = asyncio.run(scenario())
    assert [type(result) for result in results] == [NotReady, NotReady]
    assert (was_working, is_working, queued) == (True, False, -1)


def test_a_closed_admission_is_not_ready():
    async def scenario():
        admission = Admission(workers=1, queue_limit=0, time_limit_s=1)
        admission.close()
        with pytest.raises(NotReady):
            await hold(admission, lambda: 1)

    asyncio.run(scenario())


def test_errors_of_the_work_are_raised_to_the_caller():
    async def scenario():
        await hold(Admission(1, 0, 1), lambda: [][0])

    with pytest.raises(IndexError):
        asyncio.run(scenario())
