"""Renew docs/images/ from a run of the demo: `python packaging/site/pictures.py RUN`.

Pictures of pages need Chromium. They are committed, so that `make docs` needs neither it nor a run.
"""

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

IMAGES = Path(__file__).resolve().parents[2] / "docs" / "images"
WIDTH = 1160
# A picture, its page of the run, and the heading at which it ends.
PAGES = {
    "run_page": ("index.html", "Steps"),
    "label_report": ("reports/label_report.html", "Sizes of images"),
    "evaluation_report": ("reports/evaluation_report.html", "Best images"),
}


def main() -> None:
    """Write every picture of docs/images/."""
    run = Path(sys.argv[1]).absolute()
    (overlay,) = run.glob("predictions/*.overlay.png")
    Image.open(overlay).convert("RGB").save(IMAGES / "prediction.jpg", quality=85)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": WIDTH, "height": 900})
        for name, (file, heading) in PAGES.items():
            page.goto((run / file).as_uri())
            _picture(page, heading).save(IMAGES / f"{name}.webp", quality=80, method=6)
        browser.close()


def _picture(page: Page, heading: str) -> Image.Image:
    """Return the page down to a heading."""
    box = page.get_by_role("heading", name=heading, exact=True).bounding_box()
    assert box is not None, heading
    clip = {"x": 0, "y": 0, "width": WIDTH, "height": int(box["y"]) - 12}
    return Image.open(io.BytesIO(page.screenshot(full_page=True, clip=clip)))  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
