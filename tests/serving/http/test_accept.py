import pytest

from serving.http.accept import choose_form
from serving.refusals import BadInput


@pytest.mark.parametrize(
    ("asked", "accept", "default", "chosen"),
    [
        (None, None, "mask", "mask"),
        (None, "*/*", "mask", "mask"),
        (None, "application/json", "mask", "json"),
        (None, "image/png", "json", "mask"),
        (None, "image/png;q=0.5, application/json", "mask", "json"),
        (None, "application/json;q=0.1, image/png", "json", "mask"),
        (None, "application/x-npy", "mask", "probability"),
        (None, "text/html, */*", "json", "json"),
        (None, "image/png;q=0", "json", "json"),
        (None, "image/png;q=x", "json", "json"),
        (None, "image/*", "json", "mask"),
        (None, "image/*", "overlay", "overlay"),
        (None, "application/*", "mask", "json"),
        (None, "*/*;q=1, image/png;q=0.1", "json", "json"),
        (None, "IMAGE/PNG;Q=0.1, application/json", "mask", "json"),
        (None, "application/json;q=0, */*", "json", "mask"),
        (None, "text/html, image/webp", "mask", "mask"),
        (None, "application/json;q=nan, image/png", "json", "mask"),
        (None, ";;;,", "mask", "mask"),
        ("overlay", "application/json", "mask", "overlay"),
    ],
)
def test_the_parameter_wins_then_accept_then_the_default(asked, accept, default, chosen):
    assert choose_form(asked, accept, default) == chosen


def test_an_unknown_form_is_refused_with_those_there_are():
    with pytest.raises(BadInput, match="mask, overlay, json, probability"):
        choose_form("gif", None, "mask")
