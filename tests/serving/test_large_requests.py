"""Large requests take their time; small ones do not wait for them, whatever the way in."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
from raw_grpc import call, request
from refused import UPLOAD, V1
from running_predictor import wait_until

from segmentor.image_io import encode_png


def test_a_small_request_does_not_wait_behind_large_ones(native_predictor, scene_png):
    running = native_predictor
    large = encode_png(np.zeros((2000, 3500), np.uint8))  # in tiles
    ends = []

    def ask(path, **body):
        assert httpx.post(running.url + path, timeout=200, **body).status_code == 200
        ends.append(time.monotonic())

    threads = [
        threading.Thread(target=ask, args=(V1,), kwargs={"content": large}),
        threading.Thread(target=ask, args=(UPLOAD,), kwargs={"files": {"file": large}}),
        threading.Thread(target=call, args=(running.grpc_port, request(large))),
    ]
    for thread in threads:
        thread.start()
    wait_until(lambda: running.metric("segmentor_in_flight") == 1, running)
    for _ in range(3):
        assert running.client.post(V1, content=scene_png).status_code == 200
    small_end = time.monotonic()
    for thread in threads:
        thread.join()
    assert len(ends) == 2
    assert small_end < min(ends)


def test_many_photographs_of_usual_size_are_no_large_requests(native_predictor):
    """In tiles, but few: a third of the places is more than large requests may take."""
    photograph = encode_png(np.zeros((1080, 1920), np.uint8))

    def ask(_):
        return httpx.post(native_predictor.url + V1, content=photograph, timeout=200).status_code

    with ThreadPoolExecutor(12) as pool:
        assert list(pool.map(ask, range(12))) == [200] * 12
