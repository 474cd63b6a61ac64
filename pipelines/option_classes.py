"""Every dataclass of options, found by the files that hold them."""

import dataclasses
import importlib
import inspect
import pkgutil
from functools import cache
from typing import TYPE_CHECKING

import components
import pipelines

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


@cache
def option_classes() -> tuple["type[DataclassInstance]", ...]:
    """Return the classes of components/<step>/options.py, and those that belong to no step."""
    names = [
        f"components.{step.name}.options"
        for step in pkgutil.iter_modules(components.__path__)
        if step.ispkg
    ]
    names += [
        f"{package.__name__}.{module.name}"
        for package in (components, pipelines)
        for module in pkgutil.iter_modules(package.__path__)
        if module.name.endswith("_options")
    ]
    return tuple(
        kind
        for name in names
        for _, kind in inspect.getmembers(importlib.import_module(name), inspect.isclass)
        if dataclasses.is_dataclass(kind) and kind.__module__ == name
    )
