"""The examples of docs/onnx.md give the predictor's masks, from the same pixels."""

import contextlib
import functools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import ROAD, STREET, scenes, write_checkpoint

from components.export.onnx_file import load_for_export, write_model
from pipelines.runs.triton import write_repository
from segmentor.image_io import encode_png
from segmentor.inference import mask_of
from segmentor.label_map import LabelMap
from segmentor.onnx_model import OnnxModel
from tests.loopback_servers import serving

PAGE = Path(__file__).resolve().parents[1] / "docs" / "onnx.md"
RUNTIMES = ("ONNX Runtime", "OpenVINO", "OpenCV")
MAX_FLIPPED = 1e-5
PATIENCE_MS = 120_000
SIZE = (75, 113)


def blocks(language: str) -> dict[str, str]:
    """The code of each section, by its heading; '' for what stands before the first."""
    text = PAGE.read_text(encoding="utf-8")
    sections = re.split(r"^## (.*)\n", text, flags=re.M)
    named = dict(zip(["", *sections[1::2]], sections[::2], strict=True))
    found = {
        name: re.findall(rf"^```{language}\n(.*?)^```", section, re.M | re.S)
        for name, section in named.items()
    }
    return {name: "".join(codes) for name, codes in found.items() if codes}


@pytest.fixture(scope="module", params=[ROAD, STREET], ids=["binary", "several classes"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> OnnxModel:
    label_map: LabelMap = request.param
    folder = tmp_path_factory.mktemp("model")
    write_checkpoint(folder / "checkpoint", label_map, steps=2)
    write_model(folder / "model.onnx", load_for_export(folder / "checkpoint"))
    return OnnxModel(folder / "model.onnx")


def test_every_runtime_has_its_example() -> None:
    assert set(blocks("python")) == {"", *RUNTIMES, "Browser"}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_each_example_gives_the_mask_of_the_predictor(
    model: OnnxModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(model.path.parent)
    pixels = next(iter(scenes(1, ROAD, SIZE)))[1]
    image = pixels if isinstance(pixels, np.ndarray) else None
    Path("photograph.png").write_bytes(pixels if image is None else encode_png(image))
    names: dict[str, Any] = {}
    code = blocks("python")
    exec(code[""], names)
    expected = None
    for runtime in RUNTIMES:
        exec(code[runtime], names)
        if expected is None:
            expected = mask_of(model.forward, model.contract, names["image"][0], SIZE)
            assert len(np.unique(expected)) > 1
        flipped = np.count_nonzero(names.pop("mask") != expected)
        assert flipped <= max(1, MAX_FLIPPED * expected.size), runtime


def test_tritons_configuration_names_what_the_model_has(model: OnnxModel) -> None:
    config = _parsed_by_triton(blocks("protobuf")["Triton"])
    for declared, real in _tensors_of(config, model):
        # protobuf's JSON writes 64-bit numbers as texts
        for length, actual in zip(map(int, declared["dims"]), real.shape, strict=True):
            assert length in (-1, actual)


def test_the_repository_for_triton_is_laid_out_and_configured(
    model: OnnxModel, tmp_path: Path
) -> None:
    written = write_repository(tmp_path / "triton", "road", model)
    files = {path.relative_to(tmp_path / "triton").as_posix() for path in written.rglob("*.*")}

    assert files == {"road/config.pbtxt", "road/1/model.onnx"}
    assert (written / "1" / "model.onnx").read_bytes() == model.path.read_bytes()
    config = _parsed_by_triton((written / "config.pbtxt").read_text(encoding="utf-8"))
    assert (config["name"], config["backend"]) == ("road", "onnxruntime")
    assert "maxBatchSize" not in config  # 0: the shapes include the batch
    for declared, real in _tensors_of(config, model):
        expected = [length if isinstance(length, int) else -1 for length in real.shape]
        assert list(map(int, declared["dims"])) == expected


def _parsed_by_triton(text: str) -> dict[str, Any]:
    # In a process of its own: Triton's client and KServe register the same protobuf messages.
    code = (
        "import sys; from google.protobuf import json_format, text_format\n"
        "from tritonclient.grpc import model_config_pb2\n"
        "parsed = text_format.Parse(sys.stdin.read(), model_config_pb2.ModelConfig())\n"
        "print(json_format.MessageToJson(parsed))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=text, capture_output=True, text=True, check=True
    )
    config: dict[str, Any] = json.loads(done.stdout)
    return config


def _tensors_of(config: dict[str, Any], model: OnnxModel) -> Iterator[tuple[dict[str, Any], Any]]:
    """Pairs of a declared tensor and the model's; names and types are compared here."""
    types = {"tensor(uint8)": "TYPE_UINT8", "tensor(float)": "TYPE_FP32"}
    for declared, has in (
        (config["input"], model.session.get_inputs()),
        (config["output"], model.session.get_outputs()),
    ):
        (one,), (real,) = declared, has
        assert (one["name"], one["dataType"]) == (real.name, types[real.type])
        yield one, real


@pytest.fixture(scope="module")
def onnxruntime_web(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder into which npm installed what the page names."""
    folder = tmp_path_factory.mktemp("web")
    (command,) = re.findall(r"`(npm install [^`]+)`", PAGE.read_text(encoding="utf-8"))
    quiet = ["--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(folder)]
    subprocess.run([*shlex.split(command), *quiet], check=True, cwd=folder, timeout=250)
    return folder


@pytest.mark.slow
def test_the_browser_gives_the_mask_of_the_predictor(
    model: OnnxModel, onnxruntime_web: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        message = "no Chromium: apt-get install chromium"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    from playwright.sync_api import sync_playwright

    pixels = next(iter(scenes(1, ROAD, SIZE)))[1]
    monkeypatch.chdir(onnxruntime_web)
    Path("photograph.png").write_bytes(encode_png(pixels))
    shutil.copyfile(model.path, "model.onnx")
    exec(blocks("python")["Browser"], {"json": json, "contract": model.contract.to_json()})
    Path("index.html").write_text(blocks("html")["Browser"], encoding="utf-8")
    expected = mask_of(model.forward, model.contract, pixels, SIZE)
    with served(onnxruntime_web) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"], timeout=PATIENCE_MS
        )
        page = browser.new_page()
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(address)
        page.wait_for_function("window.mask", timeout=PATIENCE_MS)
        values = page.evaluate("Array.from(window.mask)")
        browser.close()
    assert problems == []
    mask = np.array(values, np.uint8).reshape(SIZE)
    assert len(np.unique(expected)) > 1
    assert np.count_nonzero(mask != expected) <= max(1, MAX_FLIPPED * expected.size)


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder on loopback; yield its address."""
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(folder))
    with serving(handler) as url:
        yield f"{url}/index.html"
