"""Finds the image of an item: inside the export, beside it, or in another place that is named."""

import posixpath
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath

from components.convert_labels.source.files import SourceFile, SourceFiles
from segmentor.errors import DataError
from segmentor.image_io import EXTENSIONS


def stem(name: str) -> str:
    """Return a name without an image's extension; other dots belong to the name."""
    # No Path objects: they intern their parts, and there may be millions of names.
    plain, extension = posixpath.splitext(name)
    if extension.lower() not in EXTENSIONS:
        return name
    if "//" in plain or plain.startswith("./") or "/./" in plain:
        return str(PurePosixPath(plain))
    return plain


def same_letters(name: str) -> str:
    """Return a name with letters and their accents composed: macOS zips have them apart."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def by_letters(names: Iterable[str]) -> Mapping[str, str]:
    """Return names by their `same_letters`, to look up what a text file calls otherwise."""
    return {same_letters(name): name for name in names}


# Folders of another place where images usually lie, and that place's number.
_USUAL = ("", "images", "JPEGImages")
_ELSEWHERE = 1


class ImageFinder:
    """The images there are, by their name with and without extension."""

    def __init__(
        self, export: SourceFiles, folders: Sequence[str], elsewhere: SourceFiles | None
    ) -> None:
        """List the images.

        Args:
            export: The export's own files.
            folders: Where its images lie, best first.
            elsewhere: Another place, used when the export has no image of that name.
        """
        self._tops: list[str] = []
        self._places = [(export, tuple(folder.rstrip("/") for folder in folders))]
        if elsewhere is not None:
            # Names may begin with a folder that wraps everything, or lie in it.
            wrappers = [files.wrapper for files in elsewhere.unwrapped()]
            usual = tuple(f"{top}{inner}".rstrip("/") for top in wrappers for inner in _USUAL)
            self._places.append((elsewhere, usual))
            inmost = list(elsewhere.unwrapped())[-1]
            tops = (f"{inmost.wrapper}{top}" for top in inmost.top_folders())
            self._tops = [top for top in tops if top not in usual]
        self._where = elsewhere.where if elsewhere is not None else export.where
        self._is_elsewhere = elsewhere is not None
        self._by_stem: list[dict[str, str | list[str]] | None] = [None] * len(self._places)
        self._by_letters = list(self._by_stem)
        self._by_case: list[dict[str, str] | None] = [None] * len(self._places)
        self._by_base: dict[str, str] | None = None
        # One byte for each file of the export: whether an item asked for it.
        self._found = bytearray(len(export))

    def find(self, name: str, image_name: str = "", subset: str = "") -> SourceFile:
        """Return the image of an item.

        Args:
            name: The item's name, without extension.
            image_name: Its file name where the export states it.
            subset: The item's subset, which may be a folder.

        Raises:
            DataError: no such image, or several.
        """
        for place, inner in self._folders(subset):
            found = self._at(place, inner, name, image_name)
            if found:
                return self._take(place, found)
        for place, inner in self._folders(subset):
            found = self._otherwise_written(place, inner, name)
            if found:
                return self._take(place, found)
        found = self._guessed(name, image_name, subset)
        if found:
            return self._take(_ELSEWHERE, found)
        raise self._absent(name, image_name, subset)

    def _at(self, place: int, inner: str, name: str, image_name: str) -> str:
        """Return the image of a folder, or ""."""
        exact = f"{inner}/{image_name}".lstrip("/")
        if image_name and exact in self._places[place][0] and exact.lower().endswith(EXTENSIONS):
            return exact
        return _one(name, self._stems(place).get(f"{inner}/{name}".lstrip("/")))

    def _otherwise_written(self, place: int, inner: str, name: str) -> str:
        """Return the image of a folder whose letters have their accents apart, or ""."""
        key = f"{inner}/{name}".lstrip("/")
        return "" if key.isascii() else _one(name, self._letters(place).get(same_letters(key)))

    def _guessed(self, name: str, image_name: str, subset: str) -> str:
        """Return the image of a folder that nothing names, or "".

        Raises:
            DataError: several have one of this name: a folder a camera or a day is usual.
        """
        found: dict[str, SourceFile] = {}
        folders: dict[str, str] = {}
        for place, inner in self._guesses(subset):
            image = self._at(place, inner, name, image_name)
            image = image or self._otherwise_written(place, inner, name)
            if image:
                found.setdefault(image, self._places[place][0][image])
                folders.setdefault(image, inner)
        first, *others = found or [""]
        if any(not _is_equal(found[first], found[other]) for other in others):
            shown = ", ".join(list(found)[:3]) + (", ..." if len(found) > 3 else "")
            remedy = f"give the folder of these with --images (.../{folders[first]})"
            raise DataError(image_name or name, f"{len(found)} images: {shown}", "one", remedy)
        return first

    def _absent(self, name: str, image_name: str, subset: str) -> DataError:
        """Say that there is no such image, and what there is."""
        folders = (*self._folders(subset), *self._guesses(subset))
        for place, inner in folders:
            exact = f"{inner}/{image_name}".lstrip("/")
            if image_name and exact in self._places[place][0]:
                kind = PurePosixPath(exact).suffix
                found = f"a '{kind}' file" if kind else "a file without an extension"
                return DataError(exact, found, "JPEG, PNG, WebP, BMP or TIFF", "convert it")
        remedy = "" if self._is_elsewhere else "say with --images where they are"
        found = f"no image in {self._where}"
        for place, inner in folders:
            near = self._cases(place).get(f"{inner}/{name}".lstrip("/").casefold())
            if near:
                found, remedy = f"{found}, but {near}, which differs in case", "rename one of them"
                break
        else:
            if kind := _kind_of_place(image_name):
                found, expected = f"{kind}, which is not looked for", "a name below a folder"
                remedy = "cut the names down to what follows the folder of the images"
                if kind == "a URL":
                    remedy = f"download the images, and {remedy}"
                return DataError(image_name, found, expected, remedy)
            if same := self._same_base(name):
                found += f", but {same}, in another folder"
                remedy = "give the folder that the names begin in with --images"
        return DataError(image_name or name, found, "an image of this name", remedy)

    def _same_base(self, name: str) -> str:
        """Return an image whose name is the same but for its folders, or ""."""
        if self._by_base is None:
            self._by_base = {
                PurePosixPath(stem(found)).name: found
                for files, _ in reversed(self._places)
                for found in files
                if found.lower().endswith(EXTENSIONS)
            }
        return self._by_base.get(PurePosixPath(name).name, "")

    def unnamed(self) -> list[str]:
        """Return the images in the export's folders for images that no item asked for, sorted."""
        files, folders = self._places[0]
        prefixes = tuple(f"{folder}/" for folder in folders if folder)
        return sorted(
            name
            for row, name in enumerate(files)
            if not self._found[row]
            and name.startswith(prefixes)
            and name.lower().endswith(EXTENSIONS)
        )

    def _take(self, place: int, name: str) -> SourceFile:
        files = self._places[place][0]
        if place == 0:
            self._found[files.row_of(name)] = True
        return files[name]

    def _folders(self, subset: str) -> Iterator[tuple[int, str]]:
        """Yield each place and a folder of it where an image may be, best first."""
        for place, (_, folders) in enumerate(self._places):
            for folder in folders:
                if subset:
                    yield place, f"{folder}/{subset}"
                yield place, folder

    def _guesses(self, subset: str) -> Iterator[tuple[int, str]]:
        """Yield the other folders at the top of the other place: the subset's, if one has it."""
        for inner in (f"/{subset}", "") if subset else ("",):
            for top in self._tops:
                yield _ELSEWHERE, f"{top}{inner}"

    def _letters(self, place: int) -> dict[str, str | list[str]]:
        """Return the images of a place that have other than ASCII letters, by these, composed."""
        names = self._by_letters[place]
        if names is None:
            names = {}
            for key, found in self._stems(place).items():
                if not key.isascii():
                    composed = same_letters(key)
                    names[composed] = [*_listed(names.get(composed)), *_listed(found)]
            self._by_letters[place] = names
        return names

    def _cases(self, place: int) -> dict[str, str]:
        """Return an image of a place by its name in small letters; made when one is absent."""
        names = self._by_case[place]
        if names is None:
            stems = self._stems(place).items()
            names = {key.casefold(): _listed(found)[0] for key, found in stems}
            self._by_case[place] = names
        return names

    def _stems(self, place: int) -> dict[str, str | list[str]]:
        """Return the images of a place by their name without extension; made when first needed.

        An export that names its images in full never needs it, and there may be millions: so a
        name alone has no list around it.
        """
        names = self._by_stem[place]
        if names is None:
            names = {}
            files, places = self._places[place]
            for name in files:
                inside = not places or any(not p or name.startswith(p + "/") for p in places)
                if inside and name.lower().endswith(EXTENSIONS):
                    key = stem(name)
                    names[key] = [*_listed(names.get(key)), name] if key in names else name
            self._by_stem[place] = names
        return names


def _kind_of_place(image_name: str) -> str:
    """Return what a name is that leads out of every export; "" for a name below a folder."""
    if "://" in image_name:
        return "a URL"
    return "an absolute path" if re.match(r"/|[A-Za-z]:/", image_name) else ""


def _is_equal(one: SourceFile, other: SourceFile) -> bool:
    return one.size == other.size and one.read() == other.read()


def _one(name: str, names: str | list[str] | None) -> str:
    """Return the image found, or ""."""
    found = _listed(names)
    if len(found) > 1:
        remedy = "rename one, or export as CVAT for images 1.1, which names images in full"
        raise DataError(
            name, f"{len(found)} images: {', '.join(found)}", "one image a name", remedy
        )
    return found[0] if found else ""


def _listed(names: str | list[str] | None) -> list[str]:
    if names is None:
        return []
    return [names] if isinstance(names, str) else names
