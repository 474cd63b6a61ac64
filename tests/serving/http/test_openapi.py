"""The OpenAPI description: what it promises is what the server does, and its page needs no net."""

import subprocess
import sys

import httpx
import pytest
from running_predictor import REPOSITORY


@pytest.mark.parametrize("kind", ["predictor", "native_predictor"])
def test_schemathesis_finds_no_contradiction(request, kind, tmp_path):
    """All its checks, for a model of many classes and for a binary one."""
    url = request.getfixturevalue(kind).url
    program = [sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()"]
    config = ["--config-file", str(REPOSITORY / "schemathesis.toml")]
    what = ["--phases=examples,coverage,fuzzing", "--max-examples=6", "--seed=1"]
    done = subprocess.run(
        [*program, *config, "run", f"{url}/openapi.json", "--checks=all", *what],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Operations:       18 selected" in done.stdout


def test_every_example_is_answered(predictor):
    description = predictor.client.get("/openapi.json").json()
    tried = 0
    for path, operations in description["paths"].items():
        for content_type, media in (
            operations.get("post", {}).get("requestBody", {}).get("content", {}).items()
        ):
            if "example" not in media:
                continue
            names = {p["name"]: p.get("example") for p in operations["post"]["parameters"]}
            url = path.format(**{name: value for name, value in names.items() if value})
            reply = predictor.client.post(
                url, json=media["example"], headers={"content-type": content_type}
            )
            assert reply.status_code == 200, reply.text
            tried += 1
    assert tried >= 3


def test_the_page_loads_nothing_from_elsewhere(predictor):
    page = predictor.client.get("/docs")
    assert page.status_code == 200
    assert "http://" not in page.text
    assert "https://" not in page.text
    for name in ("swagger-ui-bundle.js", "swagger-ui.css"):
        asset = httpx.get(f"{predictor.url}/docs/{name}")
        assert asset.status_code == 200
        assert len(asset.content) > 100_000
    assert predictor.client.get("/docs/passwd").status_code == 404
