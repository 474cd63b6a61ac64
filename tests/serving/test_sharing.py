import threading

import numpy as np

from segmentor.onnx_model import OnnxModel
from serving.served_model import ModelSource, load_model
from serving.sharing import share_cpus

IMAGES = np.zeros((1, 2, 2, 3), np.uint8)


def test_a_lone_inference_is_wide_and_those_beside_it_are_narrow():
    taken, entered, leave = [], threading.Event(), threading.Event()

    def wide(images):
        taken.append("wide")
        entered.set()
        assert leave.wait(60)
        return images

    def narrow(images):
        taken.append("narrow")
        return images

    forward = share_cpus(wide, narrow)
    first = threading.Thread(target=forward, args=(IMAGES,))
    first.start()
    assert entered.wait(60)
    forward(IMAGES)
    forward(IMAGES)
    leave.set()
    first.join()
    forward(IMAGES)
    assert taken == ["wide", "narrow", "narrow", "wide"]


def test_an_inference_that_fails_gives_its_cpus_back():
    def broken(images):
        raise MemoryError

    forward = share_cpus(broken, lambda images: images)
    for _ in range(2):  # wide both times
        try:
            forward(IMAGES)
        except MemoryError:
            continue
        raise AssertionError("the second inference was a narrow one")


def test_masks_are_the_same_alone_and_among_others(street_model, scene, monkeypatch):
    monkeypatch.setattr("serving.served_model.available_cpus", lambda: 2)
    shared = load_model(ModelSource("scene", str(street_model), streams=2)).forward
    expected = OnnxModel(street_model).forward(scene[None])
    wrong = []

    def run():
        for _ in range(20):
            if not np.array_equal(shared(scene[None]), expected):
                wrong.append(1)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
