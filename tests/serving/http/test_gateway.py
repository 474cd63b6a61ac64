"""What gateways need: a path prefix, and idle connections that outlive theirs."""

import socket
import time

from running_predictor import running_predictor


def test_the_docs_page_asks_for_everything_by_a_relative_address(predictor):
    page = predictor.client.get("/docs").text
    assert "'openapi.json'" in page
    assert "'/openapi.json'" not in page
    for asset in ("docs/swagger-ui-bundle.js", "docs/swagger-ui.css"):
        assert f'"{asset}"' in page
        assert predictor.client.get(f"/{asset}").status_code == 200


def test_an_idle_connection_stays_open_for_as_long_as_the_flag_says(street_model, tmp_path):
    ask = b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n"
    with (
        running_predictor(street_model, tmp_path, "--keep_alive=1") as running,
        socket.create_connection(("127.0.0.1", running.http_port), timeout=60) as connection,
    ):
        started = time.monotonic()
        connection.sendall(ask)
        reply = b""
        while not reply.endswith(b"true}"):
            reply += connection.recv(1000)
        assert connection.recv(1000) == b""
        assert 1 <= time.monotonic() - started < 30


def test_by_default_it_outlives_the_hour_of_envoy():
    from serving.__main__ import build_parser

    assert build_parser().parse_args(["--model_name=scene"]).keep_alive > 3600
