"""What every step's component.py says it with: a KFP container component plus the step's options.

The decorated function lists the artifacts, as any KFP component does; the parameters are the fields
of the step's options, so that their names, defaults and descriptions are said in one place.
"""

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kfp import dsl
from kfp.dsl.placeholders import InputListOfArtifactsPlaceholder
from kfp.dsl.types.type_annotations import is_artifact_wrapped_in_Input

from components.options import flag_of, pipeline_options

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def step_component(
    image: str, *kinds: "type[DataclassInstance]", module: str = ""
) -> Callable[[Callable[..., None]], Any]:
    """Make a container component of a function that lists artifacts and describes them.

    Args:
        image: The container image.
        kinds: The options; each becomes a parameter and, unless KFP alone reads it, a flag.
        module: The command, `python -m <module>`; empty takes components.<the function's name>.
    """
    options = pipeline_options(*kinds)

    def decorate(function: Callable[..., None]) -> Any:
        artifacts = inspect.signature(function).parameters
        documentation = inspect.getdoc(function) or ""
        parameters = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=item.type)
            for name, item in options.items()
        ]

        def container(*values: Any) -> dsl.ContainerSpec:
            given = dict(zip([*artifacts, *options], values, strict=True))
            is_input = {n: is_artifact_wrapped_in_Input(a.annotation) for n, a in artifacts.items()}
            names = [
                *(name for name in artifacts if is_input[name]),
                *(name for name, item in options.items() if item.is_flag),
                *(name for name in artifacts if not is_input[name]),
            ]
            return dsl.ContainerSpec(
                image=image,
                command=["python", "-m", module or f"components.{function.__name__}"],
                args=[
                    "--executor-input",
                    dsl.PIPELINE_TASK_EXECUTOR_INPUT_PLACEHOLDER,
                    *(part for name in names for part in _argument(name, given[name])),
                ],
            )

        container.__name__ = function.__name__
        container.__doc__ = "\n".join(
            [
                documentation if "\nArgs:\n" in documentation else f"{documentation}\n\nArgs:",
                *(f"    {name}: {item.help}" for name, item in options.items()),
            ]
        )
        container.__signature__ = inspect.Signature([*artifacts.values(), *parameters])  # type: ignore[attr-defined]
        return dsl.container_component(container)

    return decorate


def _argument(name: str, placeholder: Any) -> list[Any]:
    # No placeholder names the elements of a list on a cluster: --executor-input has them.
    if isinstance(placeholder, InputListOfArtifactsPlaceholder):
        return []
    return [flag_of(name), getattr(placeholder, "path", placeholder)]
