"""CVAT for images 1.1: annotations.xml with an <image> for each image; the only lossless export."""

from collections.abc import Iterator
from xml.etree.ElementTree import Element

from components.convert_labels.formats.cvat_xml import (
    NOT_PAINTED,
    PAINTED,
    Meta,
    annotation_file,
    elements,
    first_tag,
    parse_meta,
    parse_shape,
    task_names,
)
from components.convert_labels.raw_labels import Export, Format, Item, Notes, ShapesLabel
from components.convert_labels.source.files import SourceFiles
from components.convert_labels.source.image_finder import stem
from segmentor.errors import DataError


def recognises(files: SourceFiles) -> bool:
    """Return True when the annotations hold images and not tracks."""
    file = annotation_file(files)
    if file is None:
        return False
    return first_tag(file, ("image", "track")) != "track"


def read(files: SourceFiles, elsewhere: SourceFiles | None = None) -> Export:
    """Open the export.

    Raises:
        DataError: the XML cannot be read, or names no labels.
    """
    file = annotation_file(files)
    assert file is not None  # `recognises` has seen it
    meta = Meta()
    subsets, tasks, count = set(), set(), 0
    for element in elements(file, ("meta", "image")):
        if element.tag == "meta":
            meta = parse_meta(element)
        else:
            count += 1
            subsets.add(element.get("subset", ""))
            tasks.add(element.get("task_id", ""))
    if not meta.classes:
        raise DataError(file.name, "no meta with labels", "what CVAT exports")
    notes = Notes()

    def items() -> Iterator[Item]:
        notes.clear()
        for element in elements(file, ("image",)):
            yield _item(element, notes)

    return Export(
        format="CVAT for images 1.1",
        classes=meta.classes,
        items=items,
        image_folders=("images", ""),
        subsets=tuple(sorted(subsets)),
        tasks=tuple(sorted(tasks)),
        task_names=task_names(meta),
        count=count,
        notes=notes,
    )


def _item(element: Element, notes: Notes) -> Item:
    # Written on Windows by some tools; no file of an export has this sign in its name.
    name = element.get("name", "").replace("\\", "/")
    where = f"{element.get('subset')}/{name}" if element.get("subset") else name
    if element.get("id"):
        where = f"{where} (image id {element.get('id')})"
    records = []
    for child in element:
        if child.tag in PAINTED:
            records.append((child.tag, dict(child.attrib)))
        elif child.tag in NOT_PAINTED:
            notes.count(f"{child.tag} annotations (no area: not painted)", where)
        else:
            notes.count(f"<{child.tag}> elements (unknown: not painted)", where)
    size = element.get("height", ""), element.get("width", "")
    stated = (int(size[0]), int(size[1])) if size[0].isdecimal() and size[1].isdecimal() else None
    return Item(
        name=stem(name),
        label=ShapesLabel(tuple(records), parse_shape, stated, where),
        subset=element.get("subset", ""),
        task=element.get("task_id", ""),
        image_name=name,
    )


FORMAT = Format("CVAT for images 1.1", "`annotations.xml` with `<image>`", recognises, read)
