"""A page for people (Streamlit): an image in, its mask over it, classes and coverage beside it.

It talks to the predictor over HTTP, as any client does. Streamlit runs this file as a script.
"""

import argparse
import html
import os
import re
import string
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.image_files import find_images
from pipelines.processes import is_free_port, start_process, stop_process
from pipelines.source_revision import SOURCE_FOLDER
from segmentor.errors import ConfigError, SegmentorError
from segmentor.image_io import decode_image, decode_index, read_header
from segmentor.label_map import LabelClass, LabelMap
from segmentor.masks import overlay, resize_mask
from segmentor.pixel_conversion import WHITE
from segmentor.predictor_client import MEDIA_TYPES, Predictor

STOP_SECONDS = 5.0
UPLOAD = "upload one"
# What a browser can show of an image; Streamlit scales no picture down further.
SHOWN_SIDE = 1460


def require_streamlit() -> None:
    """Raise the error of a module that is not installed, before a server is asked."""
    if find_spec("streamlit") is None:
        raise ModuleNotFoundError("No module named 'streamlit'", name="streamlit")


def serve_page(url: str, model: str, images: Path | None, port: int) -> int:
    """Serve the page on loopback until Ctrl-C; return the exit code.

    Raises:
        ConfigError: the port is in use.
    """
    if not is_free_port(port):
        raise ConfigError(
            f"127.0.0.1:{port}", "a port in use", "a free one", "choose another --port"
        )
    command = [sys.executable, "-m", "streamlit", "run", __file__]
    command += ["--server.address", "127.0.0.1", "--server.port", str(port)]
    command += ["--server.headless", "true", "--browser.gatherUsageStats", "false"]
    command += ["--client.toolbarMode", "minimal"]
    command += ["--", "--url", url, "--model", model]
    if images is not None:
        command += ["--images", str(images.absolute())]
    print(f"page: http://127.0.0.1:{port} (Ctrl-C ends it)", file=sys.stderr)
    # Streamlit puts the script's own folder first in the path; our packages lie above it.
    environment = {**os.environ, "PYTHONPATH": str(SOURCE_FOLDER)}
    process = start_process(command, environment, sys.stderr.buffer)
    try:
        return process.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        stop_process(process, STOP_SECONDS)


def show_page(url: str, model: str, images: Path | None) -> None:
    """Draw the page; Streamlit calls this again at every click."""
    import streamlit as st

    st.set_page_config(page_title=f"Segmentor: {model}", layout="wide")
    st.title(_plain(model))
    with st.sidebar:
        name, content = _choose_image(images)
        opacity = st.slider("mask", 0.0, 1.0, 0.5, 0.05, help="0 shows the image alone")
    if not name:
        st.info("Choose an image at the left.")
        return
    try:
        _show_prediction(url, model, name, content, opacity)
    except SegmentorError as error:
        st.error(_plain(str(error)))


def _choose_image(images: Path | None) -> tuple[str, bytes]:
    import streamlit as st

    paths = find_images(images) if images else []
    names = [str(path.relative_to(images)) if images else "" for path in paths]
    chosen = st.selectbox("image", [UPLOAD, *names]) if paths else UPLOAD
    if chosen != UPLOAD:
        return chosen, paths[names.index(chosen)].read_bytes()
    upload = st.file_uploader("image file", [suffix[1:] for suffix in MEDIA_TYPES])
    return (upload.name, upload.getvalue()) if upload else ("", b"")


def _show_prediction(url: str, model: str, name: str, content: bytes, opacity: float) -> None:
    import streamlit as st

    size = read_header(content, name).size
    with Predictor(url, model) as predictor:
        facts = predictor.facts()
    threshold = _choose_threshold(facts["threshold"]) if "threshold" in facts else None
    # Streamlit runs this at every click; moving the opacity must not predict again.
    cached = st.cache_data(max_entries=8, show_spinner=False)
    shown = cached(_shown_image)(content, size, facts.get("white", WHITE))
    predict = cached(_predict)
    described, mask, small = predict(url, model, facts.get("digest", ""), content, threshold)
    label_map = _label_map(described)
    # Stretching a tall image to the width of the page would make it many screens high.
    width: Literal["content", "stretch"] = "content" if size[0] > 2 * size[1] else "stretch"
    st.image(overlay(shown, small, label_map, opacity), caption=_plain(name), width=width)
    st.download_button("Download the mask", mask, f"{Path(name).stem}.mask.png", "image/png")
    st.html(_class_table(described["classes"], label_map))
    st.caption(f"model {described['digest']}")


def _shown_image(content: bytes, size: tuple[int, int], white: int) -> NDArray[np.uint8]:
    """Decode an image, as the model does, to RGB uint8 (H, W, 3) of the size it is shown at."""
    height, width = _shown_size(size)
    pixels = decode_image(content, at_least=(height, width), white=white)
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _shown_size(size: tuple[int, int]) -> tuple[int, int]:
    scale = min(1.0, SHOWN_SIDE / max(size))
    height, width = (max(1, round(side * scale)) for side in size)
    return height, width


def _predict(
    url: str, model: str, digest: str, content: bytes, threshold: float | None
) -> tuple[dict[str, Any], bytes, NDArray[np.uint8]]:
    """Return the description, the mask as PNG, and as uint8 (H, W) of the size it is shown at.

    `digest` tells what is kept of another model apart.
    """
    with Predictor(url, model) as predictor:
        described, mask = predictor.predict_described(content, threshold)
    height, width = described["size"]
    return described, mask, resize_mask(decode_index(mask, "mask"), _shown_size((height, width)))


def _class_table(classes: Sequence[dict[str, Any]], label_map: LabelMap) -> str:
    """Return the classes as an HTML table, largest coverage first."""
    colours = [f"rgb{label.colour}" for label in label_map.classes]
    if label_map.has_background:  # it is not painted
        colours[0] = "transparent"
    rows = [
        "<tr><td><span style='display:inline-block;width:1.1em;height:1.1em;border:1px solid #888;"
        f"vertical-align:text-bottom;background:{colours[item['index']]}'></span> "
        f"{html.escape(item['name'])}</td>"
        f"<td style='text-align:right'>{item['coverage']:.1%}</td>"
        f"<td style='text-align:right'>{item['pixels']:,}</td></tr>"
        for item in sorted(classes, key=lambda item: -item["pixels"])
    ]
    head = "<tr><th style='text-align:left'>class</th>"
    head += "".join(f"<th style='text-align:right'>{name}</th>" for name in ("coverage", "pixels"))
    return f"<table style='width:100%'>{head}</tr>{''.join(rows)}</table>"


def _plain(text: str) -> str:
    """Escape a name, because Streamlit renders captions and titles as Markdown."""
    return re.sub(f"([{re.escape(string.punctuation)}])", r"\\\1", text)


def _choose_threshold(own: float) -> float:
    """Return the threshold that was chosen; the slider starts where the model does."""
    import streamlit as st

    with st.sidebar:
        low, high = min(0.05, own), max(0.95, own)
        hint = f"foreground where the probability is above it; the model's own is {own:g}"
        return float(st.slider("threshold", low, high, own, 0.001, "%.3f", help=hint))


def _label_map(reply: dict[str, Any]) -> LabelMap:
    return LabelMap(
        tuple(LabelClass(item["name"], tuple(item["colour"])) for item in reply["classes"])
    )


def _main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--images", type=Path)
    arguments = parser.parse_args()
    show_page(arguments.url, arguments.model, arguments.images)


if __name__ == "__main__":
    _main()
