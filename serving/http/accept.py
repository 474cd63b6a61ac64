"""The form of a reply: by parameter, by Accept, or by the route."""

import re
from collections.abc import Iterator

from segmentor.output_forms import OUTPUT_FORMS
from serving.refusals import BadInput

_QUALITY = re.compile(r"[01](\.\d{0,3})?")


def choose_form(asked: str | None, accept: str | None, default: str) -> str:
    """Return the form of a reply: the parameter wins, then Accept, then the route's default.

    Raises:
        BadInput: there is no form of that name.
    """
    if asked is None:
        return _preferred(accept or "", default)
    if asked not in OUTPUT_FORMS:
        raise BadInput(f"output: found '{asked[:40]}', expected one of {', '.join(OUTPUT_FORMS)}")
    return asked


def _preferred(accept: str, default: str) -> str:
    """Return the form an Accept header prefers; the default if it names none, or all alike.

    Source: RFC 9110, section 12.5.1.
    """
    ranges = {name: (quality, -place) for place, (name, quality) in enumerate(_ranges(accept))}
    best, chosen = (0.0, 0), default
    for form in (default, *OUTPUT_FORMS):
        media_type = OUTPUT_FORMS[form].media_type
        for name in (media_type, media_type.partition("/")[0] + "/*", "*/*"):
            if name in ranges:  # the most specific one counts
                if ranges[name][0] > 0 and (best[0] == 0 or ranges[name] > best):
                    best, chosen = ranges[name], form
                break
    return chosen


def _ranges(accept: str) -> Iterator[tuple[str, float]]:
    """Yield the media ranges of an Accept header with their qualities; an invalid quality is 0."""
    for entry in accept.split(","):
        media_range, _, parameters = entry.partition(";")
        quality = 1.0
        for parameter in parameters.split(";"):
            name, _, value = parameter.strip().lower().partition("=")
            if name == "q":
                quality = float(value) if _QUALITY.fullmatch(value) else 0.0
        yield media_range.strip().lower(), quality
