"""The client takes nothing but a predictor's reply, whatever stands between."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from red_model import write_red_model
from typer.testing import CliRunner

from pipelines.cli import app
from pipelines.predictor.process import running_predictor
from segmentor.errors import DataError, PredictorError
from segmentor.image_io import EXTENSIONS, decode_index, encode_png
from segmentor.predictor_client import COOKIE, HOST, MEDIA_TYPES, TOKEN, Predictor, is_loopback
from tests.emulators.bad_network import LOGIN, Answer, BadNetwork, bad_network

RED_LEFT = np.zeros((40, 60, 3), np.uint8)
RED_LEFT[:, :20, 0] = 255
IMAGE = encode_png(RED_LEFT)
PNG = {"Content-Type": "image/png"}
JSON = {"Content-Type": "application/json"}
PAGE = b"<html><body>Log in to Your Account</body></html>"
STRANGERS = {
    "redirect": (LOGIN, r"HTTP 302 to /dex/auth\?rd=x, maybe a login page"),
    "moved": (Answer(308, b"", {"Location": "https://other"}), "HTTP 308 to https://other"),
    "login page": (Answer(200, PAGE), "without X-Segmentor-Digest .*Log in to Your Account"),
    "forbidden": (Answer(403, b"RBAC: access denied"), "HTTP 403 without X-Segmentor-Digest"),
    "list": (Answer(200, b"[1]", JSON), "without X-Segmentor-Digest"),
    "nothing": (Answer(200, b"", JSON), "without X-Segmentor-Digest"),
    "mask of another": (Answer(200, IMAGE, PNG), "without X-Segmentor-Digest"),
    "not a mask": (Answer(200, PAGE, {**PNG, "X-Segmentor-Digest": "d"}), "instead of image/png"),
    "other type": (Answer(200, IMAGE, {**JSON, "X-Segmentor-Digest": "d"}), "application/json"),
}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    model = write_red_model(tmp_path_factory.mktemp("model") / "red")
    log = tmp_path_factory.mktemp("log") / "predictor.log"
    with running_predictor("red", str(model), os.environ, log) as address:
        yield address


@pytest.fixture
def network(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[BadNetwork]:
    monkeypatch.setattr("segmentor.retrying.LAPTOP_SECONDS", 6)
    with bad_network(url) as server:
        yield server


@pytest.mark.parametrize("name", STRANGERS)
def test_the_reply_of_something_else_is_named_and_not_written(
    name: str, network: BadNetwork, tmp_path: Path
) -> None:
    answer, message = STRANGERS[name]
    network.only, network.troubles = "POST", [answer] * 2
    (tmp_path / "a.png").write_bytes(IMAGE)
    with Predictor(network.address) as predictor, pytest.raises(PredictorError, match=message):
        predictor.predict(IMAGE, "image/png")
    command = ["predict", str(tmp_path / "a.png"), "--url", network.address, "--model", "red"]
    result = CliRunner().invoke(app, [*command, "--output", str(tmp_path / "out")])
    assert result.exit_code == 3
    assert [path.name for path in tmp_path.iterdir() if path.suffix] == ["a.png"]
    assert not list(tmp_path.rglob("*.mask.png"))


@pytest.mark.parametrize("name", STRANGERS)
@pytest.mark.parametrize("command", ["predict", "ui"])
def test_a_stranger_is_named_before_anything_is_sent(
    command: str, name: str, network: BadNetwork, tmp_path: Path
) -> None:
    answer, _ = STRANGERS[name]
    network.troubles = [answer] * 10
    (tmp_path / "a.png").write_bytes(IMAGE)
    source = [str(tmp_path / "a.png")] if command == "predict" else []
    result = CliRunner().invoke(app, [command, *source, "--url", network.address])
    assert result.exit_code == 3
    assert result.stderr.startswith(f"error: {network.address}: ")
    assert TOKEN in result.stderr
    assert not any(line.startswith("POST") for line in network.requests)


@pytest.mark.parametrize("trouble", ["429", "502", "503", "504", "reset", "cut"])
def test_an_interruption_in_the_middle_loses_no_image(trouble: str, network: BadNetwork) -> None:
    with Predictor(network.address) as predictor:
        network.only, network.troubles = "POST", [trouble]
        mask = decode_index(predictor.predict(IMAGE, "image/png").content, "mask")
    np.testing.assert_array_equal(mask, RED_LEFT[:, :, 0] // 255)
    assert network.troubles == []


def test_a_gateway_gets_token_cookie_and_host(network: BadNetwork) -> None:
    values = {TOKEN: "t0ken", COOKIE: "session=1", HOST: "red.models.example"}
    network.demands = {
        "Authorization": "Bearer t0ken",
        "Cookie": "session=1",
        "Host": "red.models.example",
    }
    with Predictor(network.address, environment={**os.environ, **values}) as predictor:
        assert predictor.predict(IMAGE, "image/png").digest.startswith("sha256:")
    with pytest.raises(PredictorError, match=f"a gateway may need {TOKEN}, {COOKIE} or {HOST}"):
        Predictor(network.address)


def test_an_image_that_is_refused_is_told_from_a_predictor_that_refuses(url: str) -> None:
    with Predictor(url) as predictor, pytest.raises(DataError, match="image: HTTP 400"):
        predictor.predict(b"no image at all", "image/png")
    with Predictor(url, "blue") as predictor, pytest.raises(PredictorError, match="blue"):
        predictor.predict(IMAGE, "image/png")


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "all_proxy"])
def test_loopback_is_never_reached_through_a_proxy(
    variable: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with Predictor(url) as predictor:
        assert predictor.model == "red"


def test_other_hosts_are_reached_through_the_proxy(
    url: str, network: BadNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", network.address)
    # A name that nobody but the proxy knows.
    assert Predictor("http://predictor.invalid", "red").facts()["digest"].startswith("sha256:")
    assert network.requests == ["GET http://predictor.invalid/v2/models/red"]


def test_a_proxy_may_be_written_without_its_scheme(
    url: str, network: BadNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", network.address.removeprefix("http://"))
    assert Predictor("http://predictor.invalid", "red").facts()["digest"].startswith("sha256:")
    monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:9")
    with pytest.raises(PredictorError, match="http_proxy: 'socks5://127.0.0.1:9', expected http:"):
        Predictor("http://predictor.invalid", "red")


@pytest.mark.parametrize("variable", [TOKEN, COOKIE, HOST])
def test_a_line_break_at_the_end_of_a_token_is_named(variable: str, url: str) -> None:
    with pytest.raises(PredictorError, match=f"{variable}: a line break in it, expected one line"):
        Predictor(url, environment={variable: "secret\n"})


@pytest.mark.parametrize("address", ["", "127.0.0.1:8080", "ftp://a", "http://", "http://[::1"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(PredictorError, match="no address"):
        Predictor(address)


def test_hosts_of_this_machine_are_known() -> None:
    assert all(map(is_loopback, ("localhost", "a.localhost", "127.0.0.1", "127.1.2.3", "::1")))
    assert not any(map(is_loopback, ("10.0.0.1", "localhost.example", "example", "")))


def test_a_server_that_is_away_is_said_at_once() -> None:
    with pytest.raises(PredictorError, match="start one with `segmentor serve`"):
        Predictor("http://127.0.0.1:9")


def test_every_image_format_has_a_media_type() -> None:
    assert set(MEDIA_TYPES) == set(EXTENSIONS)
