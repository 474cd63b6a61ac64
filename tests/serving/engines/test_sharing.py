import asyncio
import threading

import numpy as np
import pytest

from segmentor.onnx_model import OnnxModel
from serving.admission import Admission
from serving.engines.loading import ModelSource, load_model
from serving.engines.sharing import at_work, share_cpus

IMAGES = np.zeros((1, 2, 2, 3), np.uint8)


def test_a_lone_request_is_wide_and_those_beside_another_are_narrow():
    taken = []
    forward = share_cpus(lambda _: taken.append("wide"), lambda _: taken.append("narrow"))
    with at_work():
        forward(IMAGES)
        with at_work():  # it may be decoding, in another thread
            forward(IMAGES)
        forward(IMAGES)
    assert taken == ["wide", "narrow", "wide"]


def test_a_request_that_fails_gives_its_cpus_back():
    taken = []
    forward = share_cpus(lambda _: taken.append("wide") or 1 / 0, lambda _: taken.append("narrow"))
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), at_work():
            forward(IMAGES)
    assert taken == ["wide", "wide"]


def test_requests_of_an_admission_are_counted():
    taken, begun, leave = [], threading.Event(), threading.Event()
    forward = share_cpus(lambda _: taken.append("wide"), lambda _: taken.append("narrow"))

    def decode():
        begun.set()
        assert leave.wait(60)

    async def serve():
        admission = Admission(workers=2, queue_limit=2, time_limit_s=60)
        first = asyncio.create_task(admission.run(decode))
        await asyncio.to_thread(begun.wait, 60)
        await admission.run(lambda: forward(IMAGES))
        leave.set()
        await first
        await admission.run(lambda: forward(IMAGES))
        admission.close()

    asyncio.run(serve())
    assert taken == ["narrow", "wide"]


def test_masks_are_the_same_alone_and_among_others(street_model, scene, monkeypatch):
    monkeypatch.setattr("serving.engines.loading.available_cpus", lambda: 2)
    shared = load_model(ModelSource("scene", str(street_model), streams=2)).forward
    expected = OnnxModel(street_model).forward(scene[None])
    wrong = []

    def run():
        for _ in range(20):
            with at_work():
                masks = shared(scene[None])
            if not np.array_equal(masks, expected):
                wrong.append(1)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
