"""Refuses before a run what a step would refuse later: a typing error should not cost hours."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from components.options import flag_of, make_options, options_of, pipeline_options
from pipelines.option_classes import option_classes
from segmentor.errors import SegmentorError


def check_options(values: Mapping[str, Any]) -> None:
    """Refuse parameters that a step of the pipeline would refuse.

    Args:
        values: Every parameter of the pipeline. A step whose options it lacks is not checked.

    Raises:
        SegmentorError: a value that its step cannot use, named by its parameter.
    """
    for kind in option_classes():
        if pipeline_options(kind).keys() <= values.keys():
            with _named_as_parameter():
                make_options(kind, values)


@contextlib.contextmanager
def _named_as_parameter() -> Iterator[None]:
    """Name what is wrong by its parameter; a step's message has the flag."""
    try:
        yield
    except SegmentorError as error:
        names = {flag_of(name): name for kind in option_classes() for name in options_of(kind)}
        if error.where not in names:
            raise
        where = f"parameter {names[error.where]}"
        raise type(error)(where, error.found, error.expected, error.remedy) from error
