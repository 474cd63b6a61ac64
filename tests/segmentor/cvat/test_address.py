import pytest

from segmentor.cvat.address import CvatUri, is_cvat_uri
from segmentor.errors import CvatError


@pytest.mark.parametrize(
    ("text", "server", "kind", "number"),
    [
        ("cvat://app.cvat.ai/projects/7", "https://app.cvat.ai", "projects", 7),
        ("cvat://cvat.example:8443/tasks/12/", "https://cvat.example:8443", "tasks", 12),
        ("cvat+http://cvat-backend.cvat:8080/jobs/31", "http://cvat-backend.cvat:8080", "jobs", 31),
        ("cvat://localhost:8080/jobs/31", "http://localhost:8080", "jobs", 31),
        ("cvat://127.0.0.1/jobs/31", "http://127.0.0.1", "jobs", 31),
    ],
)
def test_an_address_names_server_kind_and_id(text, server, kind, number):
    uri = CvatUri.parse(text)
    assert (uri.server, uri.kind, uri.number) == (server, kind, number)
    assert str(uri) == text.rstrip("/")
    assert is_cvat_uri(text)


def test_filters_stand_in_the_query_and_come_back():
    text = "cvat://h/projects/7?organization=lab&state=in%20progress,completed&subset=Train,Test"
    uri = CvatUri.parse(text)
    assert uri.states == ("in progress", "completed")
    assert uri.subsets == ("Train", "Test")
    assert uri.is_filtered
    assert CvatUri.parse(str(uri)) == uri
    assert not CvatUri.parse("cvat://h/projects/7?organization=lab&cloud_storage=3").is_filtered


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cvat://h/project/7", "/projects/7, /tasks/12 or /jobs/31"),
        ("cvat://h/projects/seven", "/projects/7"),
        ("cvat://h/projects/7/tasks/3", "/projects/7"),
        ("cvat:///projects/7", "cvat://host"),
        ("https://h/projects/7", "cvat://host"),
        ("cvat://h/projects/7?state=done", "state=new|in progress|completed|rejected"),
        ("cvat://h/projects/7?colour=red", "colour=red"),
        ("cvat://me:secret@h/projects/7", "CVAT_ACCESS_TOKEN"),
    ],
)
def test_another_address_is_refused_with_the_right_form(text, expected):
    with pytest.raises(CvatError) as error:
        CvatUri.parse(text)
    assert expected in str(error.value)
    assert "secret" not in str(error.value)
