"""Self-contained HTML reports: one file, no script from elsewhere, readable in the pipelines UI."""

import base64
import html
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray

from segmentor.image_io import encode_jpeg

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_TEMPLATES = Environment(
    loader=PackageLoader("segmentor", "."), autoescape=True, undefined=StrictUndefined
)


@dataclass
class Report:
    """A page that grows from top to bottom; every text is escaped."""

    title: str
    subtitle: str = ""
    _blocks: list[Markup] = field(default_factory=list)
    _warnings: list[str] = field(default_factory=list)

    def section(self, title: str, text: str = "") -> None:
        """Start a section."""
        self._add(f"<h2>{html.escape(title)}</h2>")
        if text:
            self.paragraph(text)

    def paragraph(self, text: str) -> None:
        """Add a paragraph."""
        self._add(f"<p>{html.escape(text)}</p>")

    def notice(self, text: str, kind: str = "warning") -> None:
        """Add a coloured box; `kind` is `good`, `neutral`, `warning` or `bad`."""
        if kind in ("warning", "bad"):
            self._warnings.append(" ".join(text.split()))
        self._add(f'<p class="notice {html.escape(kind)}">{html.escape(text)}</p>')

    def key_values(self, values: Iterable[tuple[str, Any]]) -> None:
        """Add a two-column list of facts."""
        rows = "".join(
            f"<tr><th>{html.escape(key)}</th><td>{html.escape(_text(value))}</td></tr>"
            for key, value in values
        )
        self._add(f'<table class="facts">{rows}</table>')

    def tiles(self, values: Iterable[tuple[str, Any]]) -> None:
        """Add large figures with their names: what a reader should see first."""
        cells = "".join(
            f'<div class="tile"><b>{html.escape(_text(value))}</b>{html.escape(name)}</div>'
            for name, value in values
        )
        self._add(f'<div class="tiles">{cells}</div>')

    def table(
        self, header: Sequence[str], rows: Iterable[Sequence[Any]], decimals: int | None = None
    ) -> None:
        """Add a table; numbers are set to the right. `decimals` is for shares: values of 0..1."""
        lines = [list(row) for row in rows]
        body = "".join(
            "<tr>" + "".join(_cell(value, decimals=decimals) for value in row) + "</tr>"
            for row in lines
        )
        # A header stands over its column: to the right where the numbers are.
        first = lines[0] if lines else [""] * len(header)
        head = "".join(
            _cell(name, "th", _is_number(value)) for name, value in zip(header, first, strict=True)
        )
        self._add(
            f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
            f"<tbody>{body}</tbody></table></div>"
        )

    def pictures(
        self, pictures: Iterable[tuple[str, NDArray[np.uint8]]], wide: bool = False
    ) -> None:
        """Add a sheet of pictures, RGB uint8 (H, W, 3), each with its caption."""
        figures = []
        for caption, pixels in pictures:
            source = f"data:image/jpeg;base64,{base64.b64encode(encode_jpeg(pixels)).decode()}"
            text = html.escape(caption)
            figures.append(
                f'<figure><img src="{source}" alt="{text}"><figcaption>{text}</figcaption></figure>'
            )
        kind = "sheet wide" if wide else "sheet"
        self._add(f'<div class="{kind}">{"".join(figures)}</div>')

    def code(self, text: str) -> None:
        """Add commands to copy, as they are."""
        self._add(f"<pre>{html.escape(text)}</pre>")

    def chart(self, figure: "Figure", caption: str = "") -> None:
        """Add a matplotlib figure as SVG."""
        from matplotlib import rc_context  # here, so that the predictor needs no matplotlib

        buffer = io.StringIO()
        # No date and a fixed salt for ids: the same data gives the same file.
        with rc_context({"svg.hashsalt": "segmentor"}):
            figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
        svg = buffer.getvalue()
        svg = svg[svg.index("<svg") :]
        note = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
        self._add(f'<figure class="chart">{svg}{note}</figure>')

    def legend(self, classes: Iterable[tuple[str, tuple[int, int, int]]]) -> None:
        """Add the colour of each class."""
        items = "".join(
            f'<span><i style="background:rgb({r},{g},{b})"></i>{html.escape(name)}</span>'
            for name, (r, g, b) in classes
        )
        self._add(f'<p class="legend">{items}</p>')

    def links(self, links: Iterable[tuple[str, str, str]]) -> None:
        """Add a list of (text, relative address, note)."""
        items = "".join(
            f'<li><a href="{html.escape(address)}">{html.escape(text)}</a> {html.escape(note)}</li>'
            for text, address, note in links
        )
        self._add(f"<ul>{items}</ul>")

    def metadata(self) -> dict[str, str]:
        """What the page warns of, a line each, for the metadata of its artifact; {} if nothing.

        `segmentor run` shows it on the terminal: few people open every page.
        """
        return {"warnings": "\n".join(self._warnings)} if self._warnings else {}

    def html(self) -> str:
        """Return the page."""
        template = _TEMPLATES.get_template("report.html.j2")
        return template.render(title=self.title, subtitle=self.subtitle, blocks=self._blocks)

    def _add(self, markup: str) -> None:
        self._blocks.append(Markup(markup))  # each caller escapes its texts


def _cell(
    value: Any, tag: str = "td", to_the_right: bool | None = None, decimals: int | None = None
) -> str:
    right = _is_number(value) if to_the_right is None else to_the_right
    css = ' class="number"' if right else ""
    return f"<{tag}{css}>{html.escape(_text(value, decimals))}</{tag}>"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _text(value: Any, decimals: int | None = None) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        is_share = decimals is not None and 0 <= value <= 1
        shown = f"{value:.{decimals}f}" if is_share else f"{value:.4g}"
        return "n/a" if value != value else shown
    if isinstance(value, int):
        return f"{value:,}"
    return str(value)
