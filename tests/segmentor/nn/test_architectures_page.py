"""docs/architectures.md has the rows that its script writes; figures are the machine's."""

import pytest

from benchmarks.architectures import COLUMNS, networks


@pytest.mark.parametrize("heading", networks())
def test_the_page_has_a_row_for_each_network_in_order(heading, repository):
    page = (repository / "docs" / "architectures.md").read_text(encoding="utf-8")
    first, expected = networks()[heading]
    section = page.split(f"## {heading}\n")[1].split("\n## ")[0]
    assert f"| {first} | encoder | {COLUMNS}" in section
    lines = [line for line in section.splitlines() if line.startswith("| ")][1:]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert [row[:2] for row in cells] == [[item.name, item.encoder] for item in expected]
    for item, row in zip(expected, cells, strict=True):
        assert len(row) == 8
        for policy, verdict in zip(("resize", "native"), row[3:5], strict=True):
            assert verdict in ("yes", "no", "not measured")
            note = f"* {item.architecture} with {item.encoder}, {policy}: "
            assert (note in page) == (verdict == "no")
