import pytest

from pipelines.cluster import waiting
from tests.emulators.kfp_server import kfp_server


@pytest.fixture
def server(monkeypatch):
    """The recorded server of Kubeflow Pipelines: its address, and what it was told."""
    monkeypatch.setattr(waiting, "SECONDS_BETWEEN_LOOKS", 0.01)
    with kfp_server() as (address, records):
        yield address, records
