"""A real CVAT server, where there is one: SEGMENTOR_CVAT_URL is the address of a task there.

CVAT_ACCESS_TOKEN is its token. The task must have a label 'road'; shapes are written to it.
"""

import os
import zipfile

import pytest
from red_model import write_red_model

from segmentor.cvat.address import CvatUri
from segmentor.cvat.pull import pull
from segmentor.cvat.push import push
from segmentor.cvat.server import CvatServer
from segmentor.model import open_model

ADDRESS = os.environ.get("SEGMENTOR_CVAT_URL", "")


@pytest.mark.skipif(not ADDRESS, reason="SEGMENTOR_CVAT_URL names no task of a CVAT server")
def test_a_real_server_takes_what_is_pushed_and_gives_it_back(tmp_path):
    uri = CvatUri.parse(ADDRESS)
    model = open_model(write_red_model(tmp_path / "model"))
    with CvatServer.of(uri) as server:
        sent = list(push(server, uri, model))
        again = list(push(server, uri, model))
        pull(server, uri, tmp_path / "export.zip")
    assert {frame.outcome for frame in sent} <= {"sent", "unchanged", "labelled"}
    assert {frame.outcome for frame in again} <= {"unchanged", "labelled"}
    with zipfile.ZipFile(tmp_path / "export.zip") as archive:
        shapes = archive.read("annotations.xml").count(b"<mask ")
    assert shapes >= sum(frame.shapes for frame in sent)
