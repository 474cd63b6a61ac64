"""The reference of the Python face: signatures and docstrings of `segmentor.__all__`."""

import dataclasses
import inspect
import re
from collections.abc import Callable

import segmentor

_SECTIONS = re.compile(r"^(Args|Attributes|Returns|Yields|Raises|Source):\s*(.*)$")
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
_MODULE = re.compile(r"\b(?:[a-z_]+\.)+(?=[A-Za-z])")
_WIDTH = 80


def page() -> str:
    """Return the page in Markdown."""
    parts = ["# Python\n", _text(segmentor.__doc__ or "").partition("\nThe package is")[0] + "\n"]
    things = [(name, getattr(segmentor, name)) for name in segmentor.__all__]
    for name, thing in sorted(things, key=lambda item: inspect.isclass(item[1])):
        parts.append(f"## segmentor.{name}\n")
        parts.append(_described(name, thing))
        if inspect.isclass(thing):
            parts += _members(name, thing)
    return "\n".join(parts)


def _members(owner: str, kind: type) -> list[str]:
    parts = []
    for name, member in vars(kind).items():
        function = member.fget if isinstance(member, property) else member
        function = getattr(function, "__func__", function)
        if name.startswith("_") or not inspect.isfunction(function):
            continue
        parts.append(f"### {owner}.{name}\n")
        parts.append(_described(name, function, is_property=isinstance(member, property)))
    return parts


def _described(name: str, thing: object, *, is_property: bool = False) -> str:
    text = _text(inspect.getdoc(thing) or "")
    if inspect.isfunction(thing) and not is_property:
        return f"```python\n{_signature(name, thing)}\n```\n\n{text}\n"
    if dataclasses.is_dataclass(thing) and "**Attributes:**" not in text:
        fields = [f"* `{item.name}`: `{_type(item.type)}`" for item in dataclasses.fields(thing)]
        text = "\n".join([text, "", "**Attributes:**", "", *fields])
    return f"{text}\n"


def _signature(name: str, function: Callable[..., object]) -> str:
    """Return a signature with the bare names of types, and a line each if it is long."""
    text = _MODULE.sub("", _ADDRESS.sub("", str(inspect.signature(function))))
    text = name + text.replace("(self, ", "(").replace("(self)", "()")
    if len(text) <= _WIDTH:
        return text
    inside, _, after = text.partition("(")[2].rpartition(") ->")
    inside = re.sub(r", (?=\*|\w+[:=])", ",\n    ", inside)
    return f"{name}(\n    {inside},\n) ->{after}"


def _type(annotation: object) -> str:
    text = annotation.__name__ if inspect.isclass(annotation) else str(annotation)
    return _MODULE.sub("", text)


def _text(docstring: str) -> str:
    """Return a docstring of Google's style as Markdown."""
    lines, inside = [], False
    for line in inspect.cleandoc(docstring).splitlines():
        if section := _SECTIONS.match(line):
            inside = not section[2]
            lines += ["", f"**{section[1]}:** {section[2]}", ""]
        elif inside and (entry := re.match(r"    (\w[\w.]*): (.*)", line)):
            lines.append(f"* `{entry[1]}`: {entry[2]}")
        elif inside and line.startswith("        "):
            lines.append(f"  {line.strip()}")
        else:
            lines.append(line)
    return "\n".join(lines)
