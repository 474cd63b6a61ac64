import numpy as np
from matplotlib.figure import Figure

from segmentor.report import Report


def test_every_text_is_escaped():
    evil = "<script>alert(1)</script>"
    report = Report(evil, evil)
    report.section(evil, evil)
    report.notice(evil)
    report.key_values([(evil, evil)])
    report.tiles([(evil, evil)])
    report.table([evil], [[evil]])
    report.pictures([(evil, np.zeros((4, 4, 3), np.uint8))])
    report.legend([(evil, (1, 2, 3))])
    report.links([(evil, "a.html", evil)])
    page = report.html()
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 14


def test_page_asks_nothing_of_the_network():
    report = Report("Title")
    figure = Figure()
    figure.subplots().plot([1, 2])
    report.chart(figure, "curve")
    report.pictures([("p", np.zeros((4, 4, 3), np.uint8))])
    page = report.html()
    assert "<svg" in page
    assert "data:image/jpeg;base64," in page
    for outside in ('src="http', 'href="http', "@import", "url(http"):
        assert outside not in page


def test_warnings_of_the_page_are_the_metadata_of_its_artifact():
    report = Report("Title")
    report.notice("all is well", "good")
    assert report.metadata() == {}
    report.notice("few groups,\nwide interval")
    report.notice("a leak", "bad")
    assert report.metadata() == {"warnings": "few groups, wide interval\na leak"}


def test_numbers_are_readable():
    report = Report("Title")
    report.table(["a", "b", "c"], [[1234567, 0.123456, float("nan")]])
    assert "1,234,567" in report.html()
    assert "0.1235" in report.html()
    assert "n/a" in report.html()


def test_a_column_of_one_precision_lines_up():
    report = Report("Title")
    report.table(
        ["count", "iou"], [[12, 0.929], [3, 0.94541], [4, 38.5], [0, float("nan")]], decimals=4
    )
    for text in (">12<", ">0.9290<", ">0.9454<", ">38.5<", ">n/a<"):
        assert text in report.html()
