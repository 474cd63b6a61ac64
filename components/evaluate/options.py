"""The options of evaluate."""

from dataclasses import dataclass

from components.options import Rule, check_values, option


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """How the evaluation runs; it has no influence on the figures."""

    threads: int = option(
        0,
        "CPU threads; 0 uses all there are.",
        rule=Rule(lambda value: value >= 0, "a whole number, 0 or greater"),
        local_because="a pod uses the CPUs it has",
    )

    def __post_init__(self) -> None:
        check_values(self)
