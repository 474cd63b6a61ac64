"""Declares a pipeline whose parameters are the options of its steps."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import MISSING
from typing import TYPE_CHECKING, Any

from kfp import dsl

from components.options import pipeline_options
from pipelines.task_settings import pipeline_settings

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Channels = Mapping[str, Any]


def pipeline(
    name: str, display_name: str, *kinds: "type[DataclassInstance]"
) -> Callable[[Callable[[Channels], None]], Any]:
    """Make a KFP pipeline of a function that builds the graph from the parameters by name.

    The parameters are the fields of `kinds`, with their types, defaults and descriptions.
    """
    options = pipeline_options(*kinds)

    def decorate(graph: Callable[[Channels], None]) -> Any:
        def function(*channels: Any) -> None:
            graph(dict(zip(options, channels, strict=True)))

        function.__name__ = graph.__name__
        function.__doc__ = "\n".join(
            [
                inspect.getdoc(graph) or "",
                "",
                "Args:",
                *(f"    {item.name}: {item.help}" for item in options.values()),
            ]
        )
        function.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [
                inspect.Parameter(
                    item.name,
                    inspect.Parameter.KEYWORD_ONLY,
                    annotation=item.type,
                    default=inspect.Parameter.empty if item.default is MISSING else item.default,
                )
                for item in options.values()
            ]
        )
        declare = dsl.pipeline(
            name=name, display_name=display_name, pipeline_config=pipeline_settings()
        )
        return declare(function)

    return decorate


def inputs_of(channels: Channels, *kinds: "type[DataclassInstance]") -> dict[str, Any]:
    """Return the parameters that the options of a step are passed by."""
    return {name: channels[name] for name in pipeline_options(*kinds)}
