import cv2
import numpy as np
import pytest
from builders import draw_scene
from emulators.cvat_server import TOKEN, Frame, Job, Records, Task, cvat_server

from segmentor.cvat.address import CvatUri
from segmentor.cvat.server import CvatServer


def frames(count, first=0, size=(64, 96)):
    """Frames of drawn scenes."""
    made = []
    for index in range(first, first + count):
        image, _ = draw_scene(index, size)
        _, encoded = cv2.imencode(".png", np.ascontiguousarray(image[:, :, ::-1]))
        made.append(Frame(f"scene_{index:03d}.png", encoded.tobytes(), *size))
    return made


@pytest.fixture
def records():
    """A project of two tasks, three jobs, and the label 'road'."""
    records = Records()
    records.label("road")
    records.tasks = {
        12: Task(12, frames(4), project=7, subset="Train"),
        13: Task(13, frames(2, first=4), project=7, subset="Test"),
    }
    records.jobs = {
        31: Job(31, 12, 0, 1, stage="acceptance", state="completed"),
        32: Job(32, 12, 2, 3),
        33: Job(33, 13, 0, 1, stage="acceptance", state="completed"),
    }
    return records


@pytest.fixture
def address(records):
    """The start of addresses of the running server."""
    with cvat_server(records) as url:
        yield url.replace("http://", "cvat://")


@pytest.fixture
def session(address):
    """Open an address: return the session and the parsed address."""
    opened = []

    def open_address(path, token=TOKEN):
        uri = CvatUri.parse(address + path)
        server = CvatServer.of(uri, {"CVAT_ACCESS_TOKEN": token})
        opened.append(server)
        return server, uri

    yield open_address
    for server in opened:
        server.__exit__()
