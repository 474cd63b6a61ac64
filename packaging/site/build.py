"""Build the documentation site: `python packaging/site/build.py FOLDER`; needs no network.

The pages are docs/ as it is, README.md as the first page, and a reference that is generated from
the code each time. A warning of the generator ends the build.
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import commands_page
import configuration_page
import http_page
import python_page
import zensical

REPOSITORY = Path(__file__).resolve().parents[2]
# What stands beside docs/ in the repository, and its page.
BESIDE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
REFERENCE = {
    "commands.md": commands_page.page,
    "configuration.md": configuration_page.page,
    "python.md": python_page.page,
    "http.md": http_page.page,
}
CLEAN = "No issues found"
# Search runs in a web worker, and browsers start none from a file. They do start one from text.
# A script of this name replaces the one that the generator's offline mode loads from a CDN.
WORKER = "iframe-worker.js"
_WORKER = """\
if (location.protocol === "file:") {
  const search = URL.createObjectURL(new Blob([%s]));
  window.Worker = class extends Worker { constructor() { super(search); } };
}
"""


def main() -> None:
    """Collect the pages, and build the site in FOLDER/site."""
    folder = Path(sys.argv[1]).absolute()
    if folder.exists():
        shutil.rmtree(folder)
    docs = folder / "docs"
    shutil.copytree(REPOSITORY / "docs", docs)
    for name, page in BESIDE.items():
        text = (REPOSITORY / name).read_text(encoding="utf-8")
        (docs / page).write_text(_moved(text), encoding="utf-8")
    (docs / "reference").mkdir()
    for name, write in REFERENCE.items():
        (docs / "reference" / name).write_text(write(), encoding="utf-8")
    (docs / "decisions" / "index.md").write_text(_decisions(docs / "decisions"), encoding="utf-8")
    (docs / WORKER).write_text(_search_worker(), encoding="utf-8")
    shutil.copyfile(Path(__file__).with_name("tables.css"), docs / "tables.css")
    shutil.copyfile(Path(__file__).with_name("zensical.toml"), folder / "zensical.toml")
    program = Path(sys.executable).with_name("zensical")
    done = subprocess.run(
        [program, "build", "--strict"], cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode or CLEAN not in done.stdout + done.stderr:
        sys.exit(f"{done.stdout}{done.stderr}\nerror: the site does not build cleanly")
    print(folder / "site" / "index.html")


def _search_worker() -> str:
    """Return a script that starts the theme's search worker on pages opened as files."""
    theme = Path(zensical.__file__).parent / "templates/assets/javascripts"
    (worker,) = theme.glob("workers/search.*.js")
    return _WORKER % json.dumps(worker.read_text(encoding="utf-8"))


def _moved(text: str) -> str:
    """Return a page of the repository's root with its links as they are from docs/."""

    def moved(match: re.Match[str]) -> str:
        text, link = match.groups()
        if link.startswith("docs/"):
            link = link.removeprefix("docs/")
            return f"[{text}]({link})" if Path(link).suffix else f"[{text}]({link}/index.md)"
        if link in BESIDE:
            return f"[{text}]({BESIDE[link]})"
        return match[0] if ":" in link else text  # files of the repository are not on the site

    return re.sub(r"\[([^]\[]*)\]\(([^)]+)\)", moved, text)


def _decisions(folder: Path) -> str:
    """Return the list of decisions, by the title of each page."""
    lines = [
        "# Decisions",
        "",
        "Each page is a decision that surprises: what, why, what else was tried.",
        "",
    ]
    for page in sorted(folder.glob("[0-9]*.md")):
        title = page.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
        lines.append(f"* [{title}]({page.name})")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
