"""One declaration of an option makes its flag, its KFP input, its checks and its description."""

import argparse
from dataclasses import dataclass

import pytest
from kfp import dsl

from components.component import step_component
from components.options import (
    FRACTION,
    add_flags,
    cache_salt,
    check_values,
    flag_of,
    make_options,
    option,
    options_of,
    pipeline_options,
    read_options,
    same_as,
)
from segmentor.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Paint:
    """A dummy step's options."""

    wall: str = option(help="Which wall; 'north' or 'south'.", choices=("north", "south"))
    min_share: float = option(0.5, "At least 50 % of it.", rule=FRACTION)
    coats: int = option(2, "How many coats.")
    dry: bool = option(False, "Let it dry.")
    threads: int = option(1, "Painters.", local_because="a pod has its own")
    cache_salt: str = cache_salt()

    def __post_init__(self) -> None:
        check_values(self)


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """Another step's options, one of them the same."""

    min_share: float = same_as(Paint, "min_share")


def parse(*argv: str) -> Paint:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    add_flags(parser, Paint)
    return read_options(Paint, parser.parse_args(argv))


def test_flags_have_the_name_the_type_and_the_default_of_the_field() -> None:
    assert parse("--wall", "north") == Paint(wall="north")
    given = parse("--wall=south", "--min-share=0.25", "--coats=3", "--dry", "--threads=4")
    assert given == Paint(wall="south", min_share=0.25, coats=3, dry=True, threads=4)


@pytest.mark.parametrize(
    ("text", "value"),
    [("true", True), ("True", True), ("1", True), ("yes", True)]
    + [("false", False), ("False", False), ("0", False), ("no", False), ("", False)],
)
def test_booleans_are_read_as_the_cluster_and_kfp_local_write_them(text: str, value: bool) -> None:
    assert parse("--wall", "north", "--dry", text).dry is value


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["--wall", "east"],
        ["--wall", "north", "--coats", "1.5"],
        ["--wall", "north", "--dry", "perhaps"],
        ["--wall", "north", "--cache-salt", "1"],  # KFP's alone
    ],
)
def test_what_is_no_value_of_a_flag_is_a_usage_error(argv: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        parse(*argv)
    assert stop.value.code == 2


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"wall": "east"}, "--wall: 'east', expected one of north, south"),
        ({"wall": "north", "min_share": 1.5}, "--min-share: 1.5, expected a value in 0..1"),
        ({"wall": "north", "min_share": float("nan")}, "--min-share: nan"),
    ],
)
def test_a_value_that_the_step_cannot_use_is_refused_however_it_came(values, message) -> None:
    with pytest.raises(ConfigError) as caught:
        make_options(Paint, {**values, "of_another_step": 1})
    assert message in str(caught.value)


def test_help_shows_each_description_and_default() -> None:
    parser = argparse.ArgumentParser(formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    add_flags(parser, Paint)
    text = " ".join(parser.format_help().split())
    for item in options_of(Paint).values():
        assert (item.help in text) == item.is_flag, item.name
    assert "At least 50 % of it. (default: 0.5)" in text


def test_the_component_has_the_options_that_a_pipeline_passes_and_their_descriptions() -> None:
    @step_component("image:1", Paint, Inspection, module="components.paint")
    def paint(
        house: dsl.Input[dsl.Artifact],
        samples: dsl.Input[list[dsl.Artifact]],
        painted: dsl.Output[dsl.Artifact],
        colour: dsl.OutputPath(str),
    ) -> None:
        """Paints a wall.

        Args:
            house: The house.
            painted: The same house.
        """

    spec = paint.component_spec
    assert spec.description == "Paints a wall."
    assert spec.inputs["house"].description == "The house."
    for name, item in pipeline_options(Paint).items():
        assert spec.inputs[name].description == item.help
        assert not spec.inputs[name].optional  # every parameter is passed: knowledge of defaults
    assert set(spec.inputs) == {"house", "samples", *pipeline_options(Paint)}
    assert "threads" not in spec.inputs
    container = spec.implementation.container
    assert container.command == ["python", "-m", "components.paint"]
    passed = [str(part) for part in container.args if str(part).startswith("--")]
    assert passed == [
        "--executor-input",
        "--house",
        "--wall",
        "--min-share",
        "--coats",
        "--dry",
        "--painted",
        "--colour",
    ]


def test_two_steps_that_mean_different_things_by_one_name_are_a_mistake_of_ours() -> None:
    @dataclass(frozen=True)
    class Roof:
        min_share: float = option(0.1, "At least 50 % of it.", rule=FRACTION)

    assert list(pipeline_options(Paint, Inspection)) == list(pipeline_options(Paint))
    with pytest.raises(TypeError, match=r"Roof\.min_share differs from another step's"):
        pipeline_options(Paint, Roof)


def test_a_list_given_as_a_default_is_not_shared() -> None:
    @dataclass(frozen=True)
    class Rooms:
        names: list[str] = option(["hall"], "Rooms.")

    Rooms().names.append("attic")
    assert Rooms().names == ["hall"]
    assert options_of(Rooms)["names"].default == ["hall"]


def test_a_flag_is_the_name_with_dashes() -> None:
    assert flag_of("min_iou") == "--min-iou"
