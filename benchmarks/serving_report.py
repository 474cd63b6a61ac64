"""What the serving benchmark says of its figures: table, plot, and each target met or missed."""

from dataclasses import dataclass
from pathlib import Path

from measuring import Row

OURS = "Segmentor"
EXACT = "onnxruntime"


@dataclass(frozen=True)
class Measured:
    """All rows, and the IoU of each engine (empty without a test set)."""

    rows: list[Row]
    iou: dict[str, float]

    def rate(self, server: str, form: str, callers: int) -> float:
        """Requests/s of one case; 0 when it was not measured."""
        return next((row.requests_s for row in self._of(server, form, callers)), 0.0)

    def cpu(self, server: str, form: str, callers: int) -> float:
        """CPU milliseconds a request of one case; NaN when it was not measured."""
        return next((row.cpu_ms for row in self._of(server, form, callers)), float("nan"))

    def peers(self) -> list[Row]:
        """The rows of other people's servers."""
        return [row for row in self.rows if not row.server.startswith((OURS, "in-process"))]

    def _of(self, server: str, form: str, callers: int) -> list[Row]:
        key = (server, form, callers)
        return [row for row in self.rows if (row.server, row.form, row.concurrency) == key]


def table(measured: Measured) -> str:
    """One line a case, as Markdown."""
    head = (
        "| server | form | callers | requests/s | p50 ms | p99 ms | CPU ms/request | idle, peak "
        "RSS MiB | ready s | engine |\n|---|---|---|---|---|---|---|---|---|---|\n"
    )
    lines = [
        f"| {r.server} | {r.form} | {r.concurrency} | {r.requests_s} | {r.p50_ms} | {r.p99_ms} "
        f"| {r.cpu_ms} | {r.idle_rss_mib or ''}, {r.peak_rss_mib or ''} | {r.start_s or ''} "
        f"| {r.engine} |"
        for r in measured.rows
    ]
    scores = [f"IoU on the test set, {name}: {iou:.5f}" for name, iou in measured.iou.items()]
    return head + "\n".join([*lines, "", *scores]) + "\n"


def targets(measured: Measured) -> str:
    """Each target of the project: pass or MISS, and the figure."""
    checks = [*_against_ourselves(measured), *_against_peers(measured)]
    return "\n".join(f"{'pass' if met else 'MISS'}  {text}" for met, text in checks) + "\n"


def plot(measured: Measured, path: Path) -> None:
    """Draws requests/s with two callers, and CPU a request with one, of every server."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    cases = [(row.server, row.form) for row in measured.rows if row.concurrency == 2]
    labels = [f"{server}, {form}" for server, form in cases]
    rates = [measured.rate(server, form, 2) for server, form in cases]
    cpu = [measured.cpu(server, form, 1) for server, form in cases]
    colours = [
        "tab:blue" if server.startswith((OURS, "in-")) else "tab:gray" for server, _ in cases
    ]
    figure, axes = pyplot.subplots(1, 2, figsize=(11, 0.38 * len(cases) + 1.2), sharey=True)
    for axis, values, title in (
        (axes[0], rates, "requests/s, 2 callers (more is better)"),
        (axes[1], cpu, "CPU ms a request, 1 caller (less is better)"),
    ):
        axis.bar_label(axis.barh(labels, values, color=colours), fmt="%.1f", padding=3)
        axis.set_title(title, fontsize=10)
        axis.spines[["top", "right"]].set_visible(False)
        axis.margins(x=0.15)
    axes[0].invert_yaxis()
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _against_ourselves(measured: Measured) -> list[tuple[bool, str]]:
    ours = [row for row in measured.rows if row.server == OURS]
    if not ours or not measured.rate("in-process", "path", 1):
        return []
    checks = []
    for callers in (2, 8):
        ratio = next(row.of_path for row in ours if row.concurrency == callers and row.of_path)
        text = f"{callers} callers: {ratio:.2f} of in-process (>= 0.9), the median of paired passes"
        checks.append((ratio >= 0.9, text))
    extra = measured.cpu(OURS, "V1 image", 1) - measured.cpu("in-process", "path", 1)
    checks.append((extra < 3, f"CPU beyond the in-process path {extra:.1f} ms (< 3)"))
    checks.append((ours[0].idle_rss_mib < 250, f"idle RSS {ours[0].idle_rss_mib} MiB (< 250)"))
    checks.append((ours[0].start_s <= 3, f"ready after {ours[0].start_s} s (<= 3)"))
    return checks


def _against_peers(measured: Measured) -> list[tuple[bool, str]]:
    peers = measured.peers()
    if not peers or not measured.rate(OURS, "V1 image", 1):
        return []
    checks = []
    for callers in (1, 2, 8):
        best = max((r for r in peers if r.concurrency == callers), key=lambda r: r.requests_s)
        ratio = measured.rate(OURS, "V1 image", callers) / best.requests_s
        text = f"{callers} callers, exact: {ratio:.2f} of the best peer, {best.server} (> 1)"
        checks.append((ratio > 1, text))
    best = max(peers, key=lambda row: row.requests_s)
    quick = [row for row in measured.rows if row.server.startswith(f"{OURS} ")]
    for row in quick:
        if row.concurrency != best.concurrency:
            continue
        ratio = row.requests_s / best.requests_s
        loss = measured.iou.get(EXACT, float("nan")) - measured.iou.get(row.engine, float("nan"))
        text = (
            f"{row.server} (served {row.engine}): {ratio:.2f} of the best peer (>= 2), "
            f"IoU loss {loss:.5f} (<= 0.002)"
        )
        checks.append((ratio >= 2 and loss <= 0.002, text))
    return checks
