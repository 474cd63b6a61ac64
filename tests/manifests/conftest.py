import pytest

from tests.manifests.overlays import OVERLAYS


@pytest.fixture(params=OVERLAYS)
def documents(request, rendered):
    return rendered(request.param)
