"""The options of propose."""

from dataclasses import dataclass

from components.options import Rule, check_values, option

_WHOLE = Rule(lambda value: value >= 0, "a whole number, 0 or greater")


@dataclass(frozen=True, kw_only=True)
class ProposeOptions:
    """Which model proposes, to which annotators, and how much."""

    model: str = option(
        help="The model: the address of a predictor (http://road-predictor.segmentor), or the "
        "s3:// URI of a published version."
    )
    to: str = option(
        help="The project, task or job of a CVAT server whose unlabelled frames are ranked, and "
        "which gets masks and issues (cvat://host/projects/7)."
    )
    most_images: int = option(
        20, "Frames that get the model's masks, the best to label first.", rule=_WHOLE
    )
    most_issues: int = option(
        20, "Labels that get an issue, the most suspicious first.", rule=_WHOLE
    )

    def __post_init__(self) -> None:
        check_values(self)
        from segmentor.cvat.address import CvatUri

        CvatUri.parse(self.to)
