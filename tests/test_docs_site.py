"""The documentation site: no warning, every link leads somewhere, nothing is remote."""

import functools
import os
import re
import shutil
import subprocess
import sys
import threading
import tomllib
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import typer.main

import segmentor
from pipelines.cli import app

LARGEST_PICTURE = 300_000
PATIENCE_MS = 60_000
REPOSITORY = Path(__file__).resolve().parent.parent


class Page(HTMLParser):
    """The links, the anchors and the loaded files of one page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.loaded: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if "id" in values:
            self.anchors.add(values["id"])
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        elif tag == "link" and values.get("rel") in ("stylesheet", "icon", "preload"):
            self.loaded.append(values["href"])
        elif "src" in values:
            self.loaded.append(values["src"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs") / "site"
    build = REPOSITORY / "packaging" / "site" / "build.py"
    done = subprocess.run(
        [sys.executable, build, folder], capture_output=True, text=True, cwd=REPOSITORY
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "site"


def test_every_link_and_anchor_leads_somewhere(site: Path) -> None:
    pages = {path.resolve(): Page(path) for path in site.rglob("*.html") if path.stem != "404"}
    assert len(pages) > 40
    broken = []
    for path, page in pages.items():
        for link in (*page.links, *page.loaded):
            parts = urlsplit(link)
            if parts.scheme:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            anchor = unquote(parts.fragment)
            if not target.is_file() or (
                anchor and target in pages and anchor not in pages[target].anchors
            ):
                broken.append(f"{path.relative_to(site)}: {link}")
    assert broken == []


def test_the_navigation_has_every_page_but_single_decisions(site: Path) -> None:
    configuration = tomllib.loads((site.parent / "zensical.toml").read_text(encoding="utf-8"))
    listed = re.findall(r"'([\w/-]+\.md)'", repr(configuration["project"]["nav"]))
    docs = site.parent / "docs"
    pages = [page.relative_to(docs).as_posix() for page in docs.rglob("*.md")]
    assert sorted(listed) == sorted(page for page in pages if not re.match(r"decisions/\d", page))


def test_no_page_loses_a_placeholder_as_html(site: Path) -> None:
    for page in (site.parent / "docs").rglob("*.md"):
        text = re.sub(r"^(```.*?^```|    .*?)$", "", page.read_text(), flags=re.M | re.S)
        assert re.findall(r"<[a-zA-Z_]+>", re.sub(r"`.*?`", "", text)) == [], page


def test_titles_differ(site: Path) -> None:
    found = Counter(
        re.findall(r"<title>(.*?)</title>", page.read_text(encoding="utf-8"))[0]
        for page in site.rglob("*.html")
    )
    assert [title for title, count in found.items() if count > 1] == []


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    for path in site.rglob("*.html"):
        assert [link for link in Page(path).loaded if urlsplit(link).netloc] == [], path


def test_search_has_its_index_beside_the_pages(site: Path) -> None:
    assert "near-duplicates" in (site / "search.js").read_text(encoding="utf-8")


def test_the_reference_has_every_command_and_every_public_name(site: Path) -> None:
    commands = (site / "reference" / "commands.html").read_text(encoding="utf-8")
    for name in typer.main.get_command(app).commands:
        assert f"segmentor {name}" in commands
    python = (site / "reference" / "python.html").read_text(encoding="utf-8")
    for name in segmentor.__all__:
        assert f"segmentor.{name}" in python


def test_pictures_are_small() -> None:
    for path in (REPOSITORY / "docs" / "images").iterdir():
        assert path.stat().st_size < LARGEST_PICTURE, path


@pytest.fixture
def served(site: Path) -> Iterator[str]:
    """The site on a web server of this machine."""
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(site))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.slow
def test_search_finds_without_a_network(site: Path, served: str) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        message = "no Chromium: apt-get install chromium"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"], timeout=PATIENCE_MS
        )
        for address in (site.as_uri(), served):
            page = browser.new_page()
            asked: list[str] = []
            page.on("request", lambda request, asked=asked: asked.append(request.url))
            page.goto(f"{address}/cluster/kind.html")
            # The key does nothing until the worker has read the index.
            for _ in range(PATIENCE_MS // 500):
                page.keyboard.press("Control+k")
                page.wait_for_timeout(500)
                if page.evaluate("document.activeElement !== document.body"):
                    break
            page.keyboard.type("near-duplicates")
            page.get_by_text(re.compile(r"^\d+ results$")).wait_for(timeout=PATIENCE_MS)
            assert not [url for url in asked if not url.startswith((address, "data:", "blob:"))]
        browser.close()
