"""What it costs to recognise a large export: its names are listed a few times, not hundreds."""

from pathlib import Path

import numpy as np
import pytest

from components.convert_labels.formats import layouts
from components.convert_labels.source.listing import open_source
from tests.components.convert_labels.label_builders import encoded, png, write_files


def test_a_folder_is_listed_a_few_times_for_all_suffixes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"{number:03d}" for number in range(5)]
    images = {f"images/{name}.jpg": encoded((8, 8), "a.jpg") for name in names}
    masks = {f"masks/{name}_mask.png": png(np.ones((8, 8), np.uint8)) for name in names}
    files = open_source(write_files(tmp_path / "e", {**images, **masks}), "e")
    listed = []
    names_in = layouts.names_in
    monkeypatch.setattr(
        layouts, "names_in", lambda files, folder: listed.append(folder) or names_in(files, folder)
    )
    (layout,) = layouts.find_layouts(files, has_colours=False)
    assert (layout.mask_suffix, set(layout.mask_names)) == ("_mask", set(names))
    assert len(listed) <= 8
