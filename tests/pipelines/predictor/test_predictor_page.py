"""The page for people, in a headless browser: upload, look, change the threshold, download."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from free_ports import free_port
from red_model import write_red_model

from pipelines.predictor.page import SHOWN_SIDE, _shown_image, serve_page
from pipelines.predictor.process import running_predictor
from segmentor.errors import ConfigError
from segmentor.image_io import decode_image, decode_index, encode_jpeg, encode_png, read_header
from segmentor.label_map import class_colour
from segmentor.pixel_conversion import WHITE
from segmentor.predictor_client import Predictor
from tests.waiting import answers, wait_for

# A third of the picture is fully red, a third at 40 %, the rest black.
THRESHOLD = 0.725
# A busy machine starts a browser slowly.
PATIENCE_MS = 120_000
COLOUR_OF = "element => getComputedStyle(element).backgroundColor"
IMAGE = np.zeros((120, 300, 3), np.uint8)
IMAGE[:, :100, 0] = 255
IMAGE[:, 100:200, 0] = 102


# Files, and what the page says of them.
UNUSUAL = [
    ("row.png", encode_png(np.full((1, 3000, 3), 255, np.uint8)), "3,000"),
    ("column.png", encode_png(np.full((4000, 1, 3), 255, np.uint8)), "4,000"),
    ("empty.png", b"", "empty.png: no data, expected JPEG"),
    ("text_.png", b"no image", "text_.png: data in no known image format"),
]


@pytest.fixture
def urls(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """The page, and the predictor behind it."""
    images = tmp_path / "images"
    images.mkdir()
    (images / "stripes.png").write_bytes(encode_png(IMAGE))
    model = write_red_model(tmp_path / "model", THRESHOLD)
    port = free_port()
    with running_predictor("red", str(model), os.environ, tmp_path / "log") as predictor:
        command = [sys.executable, "-m", "pipelines.cli", "ui", "--url", predictor]
        command += ["--images", str(images), "--port", str(port)]
        process = subprocess.Popen(command)
        try:
            wait_for(lambda: answers(f"http://127.0.0.1:{port}/_stcore/health"))
            yield f"http://127.0.0.1:{port}", predictor
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)


def test_a_busy_port_of_the_page_is_refused() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(ConfigError, match="a port in use, expected a free one"):
            serve_page("http://127.0.0.1:9", "red", None, other.getsockname()[1])


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        ((120, 300), (120, 300)),
        ((1, 15_000), (1, SHOWN_SIDE)),
        ((15_000, 1), (SHOWN_SIDE, 1)),
        ((3000, 4000), (1095, SHOWN_SIDE)),
    ],
)
def test_an_image_is_shown_no_larger_than_a_browser_can(
    size: tuple[int, int], shown: tuple[int, int]
) -> None:
    for encode in (encode_png, encode_jpeg):
        content = encode(np.full((*size, 3), 90, np.uint8))
        assert _shown_image(content, read_header(content).size, WHITE).shape == (*shown, 3)


def test_an_image_of_12_bits_is_shown_as_the_model_sees_it(tmp_path: Path) -> None:
    values = np.full((40, 60), 4095, np.uint16)
    content = cv2.imencode(".png", values)[1].tobytes()
    model = write_red_model(tmp_path / "model", white=4095)
    with running_predictor("red", str(model), os.environ, tmp_path / "log") as predictor:
        facts = Predictor(predictor).facts()
    assert (_shown_image(content, (40, 60), facts["white"]) == 255).all()


@pytest.mark.slow
def test_an_image_is_uploaded_seen_and_its_mask_downloaded(
    urls: tuple[str, str], tmp_path: Path
) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        message = "no Chromium: apt-get install chromium"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    from playwright.sync_api import sync_playwright

    page_url, predictor = urls
    (tmp_path / "up*load*.png").write_bytes(encode_png(IMAGE))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"], timeout=PATIENCE_MS
        )
        page = browser.new_page(viewport={"width": 1200, "height": 800})
        page.set_default_timeout(PATIENCE_MS)
        page.goto(page_url)
        page.get_by_text("Choose an image at the left.").wait_for()

        page.locator("input[type=file]").set_input_files(str(tmp_path / "up*load*.png"))
        page.get_by_role("button", name="Download the mask").wait_for()
        road = page.get_by_role("row").filter(has_text="road")
        road.filter(has_text="33.3%").wait_for()
        page.get_by_text("up*load*.png", exact=True).last.wait_for()  # not as Markdown
        assert road.locator("span").evaluate(COLOUR_OF) == f"rgb{class_colour(1)}"
        picture = page.locator("img").first.screenshot()
        page.screenshot(path=str(tmp_path / "page.png"))
        assert predictions(predictor) == 1  # one request for one look
        with page.expect_download() as download:
            page.get_by_role("button", name="Download the mask").click()
        mask = decode_index(Path(download.value.path()).read_bytes(), "mask")
        saved_as = download.value.suggested_filename

        asked = predictions(predictor)
        page.get_by_role("slider", name="mask").press("Home")
        page.wait_for_function("document.querySelector('img').naturalWidth > 0")
        page.wait_for_timeout(500)
        assert predictions(predictor) == asked

        slider = page.get_by_role("slider", name="threshold")
        assert float(slider.input_value()) == THRESHOLD
        slider.press("Home")  # 0.05
        road.filter(has_text="66.7%").wait_for()
        assert predictions(predictor) == asked + 1

        for name, content, text in UNUSUAL:
            (tmp_path / name).write_bytes(content)
            page.locator("input[type=file]").set_input_files(str(tmp_path / name))
            page.get_by_text(text).last.wait_for()
            page.wait_for_timeout(500)
            page.screenshot(path=str(tmp_path / f"{name}.shot.png"))
            assert page.get_by_text("Traceback").count() == 0
        browser.close()

    assert saved_as == "up_load_.mask.png"  # as the browser saves it
    np.testing.assert_array_equal(mask, (IMAGE[:, :, 0] == 255).astype(np.uint8))
    shown = decode_image(picture)
    middle, height = shown.shape[1] // 2, shown.shape[0] // 2
    assert np.ptp(shown[height, middle + 5]) > 30  # the dim red, not under the mask
    assert shown[height, 20, 0] < 255  # the mask lies over the full red


def predictions(predictor: str) -> int:
    """How many images the predictor has predicted."""
    with urllib.request.urlopen(f"{predictor}/metrics", timeout=60) as reply:
        text = reply.read().decode()
    return int(float(re.findall(r'stage_seconds_count\{stage="infer"\} (\S+)', text)[0]))
