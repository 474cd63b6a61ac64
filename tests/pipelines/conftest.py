import pytest
from kfp_server import kfp_server

from pipelines import run_waiting


@pytest.fixture
def server(monkeypatch):
    """The recorded server of Kubeflow Pipelines: its address, and what it was told."""
    monkeypatch.setattr(run_waiting, "SECONDS_BETWEEN_LOOKS", 0.01)
    with kfp_server() as (address, records):
        yield address, records
