"""The grammar of --classes and of the YAML file, and what becomes of labels that no rule names."""

import pytest

from components.convert_labels.classes.label_map_file import parse_rules
from components.convert_labels.classes.mapping import ClassMapping, map_classes, parse_classes
from segmentor.errors import LabelMapError
from segmentor.label_map import LabelClass

LABELS = tuple(
    LabelClass(name, (position, 0, 9))
    for position, name in enumerate(("sky", "Road", "car", "lane mark", "background"))
)


def mapped(text: str, unlabelled: str = "background", labels: tuple[LabelClass, ...] = LABELS,
           **rules: bool) -> ClassMapping:  # fmt: skip
    return map_classes(labels, parse_classes(text), unlabelled, **rules)


def named(mapping: ClassMapping) -> dict[str, str]:
    names = {index: name for index, name in enumerate(mapping.label_map.names)} | {255: "ignore"}
    return {label: names[target] for label, target in mapping.targets.items()}


def test_without_rules_every_label_is_a_class_sorted_by_name_after_background() -> None:
    mapping = mapped("")
    assert mapping.label_map.names == ("background", "Road", "car", "lane mark", "sky")
    assert named(mapping) == {name: name for name in ("sky", "Road", "car", "lane mark")}
    assert mapping.unlabelled == 0


def test_index_masks_keep_the_order_of_their_class_list() -> None:
    assert mapped("", is_ordered=True).label_map.names[1:] == ("sky", "Road", "car", "lane mark")


def test_labels_are_merged_and_all_others_are_background() -> None:
    mapping = mapped("road=Road+lane mark")
    assert mapping.label_map.names == ("background", "road")
    assert mapping.label_map.is_binary
    assert named(mapping) == {
        "sky": "background", "Road": "road", "car": "background", "lane mark": "road",
    }  # fmt: skip
    assert mapping.label_map.classes[1].colour == (1, 0, 9)


def test_a_bare_name_is_itself_and_the_order_of_the_rules_is_the_order_of_the_classes() -> None:
    assert mapped("sky,car").label_map.names == ("background", "sky", "car")


def test_rules_that_only_ignore_keep_the_other_labels() -> None:
    mapping = mapped("ignore=sky")
    assert named(mapping)["sky"] == "ignore"
    assert mapping.label_map.names == ("background", "Road", "car", "lane mark")


def test_a_label_that_differs_in_case_is_named() -> None:
    with pytest.raises(LabelMapError) as error:
        mapped("road,car")
    assert str(error.value) == (
        "classes: no label 'road' in the export ('Road' differs in case), expected one of 'sky', "
        "'Road', 'car', 'lane mark'; did you mean 'Road'?"
    )


def test_a_label_may_be_called_a_star() -> None:
    labels = (*LABELS, LabelClass("*", (9, 9, 9)))
    for text in ("", "*=*", "ignore=sky"):
        assert named(mapped(text, labels=labels))["*"] == "*"
    assert named(mapped("car", labels=labels))["*"] == "background"


def test_a_star_is_every_label_not_named() -> None:
    assert set(named(mapped("Road,ignore=*")).values()) == {"Road", "ignore"}
    assert named(mapped("road=Road,*=*"))["car"] == "car"
    assert mapped("road=Road,other=*").label_map.names == ("background", "road", "other")


def test_unlabelled_pixels_may_be_ignored_and_then_there_is_no_background() -> None:
    mapping = mapped("", "ignore")
    assert "background" not in mapping.label_map.names
    assert mapping.unlabelled == 255


def test_labels_sent_to_background_are_background_though_unlabelled_pixels_are_ignored() -> None:
    mapping = mapped("car", "ignore")
    assert mapping.label_map.names == ("background", "car")
    assert named(mapping)["sky"] == "background"
    assert mapping.unlabelled == 255


def test_a_rule_for_the_label_background_is_the_rule_for_unlabelled_pixels() -> None:
    assert mapped("car,ignore=background").unlabelled == 255


def test_a_label_called_ignore_stays_ignored_whatever_happens_to_the_others() -> None:
    labels = (*LABELS, LabelClass("ignore", (0, 0, 0)))
    assert named(mapped("car", labels=labels))["ignore"] == "ignore"


def test_a_complete_class_list_without_background_gets_none() -> None:
    labels = LABELS[:3]
    assert "background" not in mapped("", labels=labels, is_complete=True).label_map.names


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "raod",
            r"no label 'raod' in the export, expected one of 'sky', 'Road', 'car', 'lane mark'$",
        ),
        ("a=car,b=car", r"label 'car' for 'a' and 'b', expected one target a label"),
        ("=car", r"'=car', expected target=label\+label"),
        ("road=", r"'road=', expected target=label\+label"),
        ("ignore=*", r"no class but background"),
    ],
)
def test_rules_that_cannot_be_meant_are_refused(text: str, message: str) -> None:
    with pytest.raises(LabelMapError, match=message):
        mapped(text)


@pytest.mark.parametrize(
    ("text", "is_complete", "remedy"),
    [
        ("", False, "; --unlabelled background$"),
        ("street=*", False, "; --unlabelled background$"),
        ("", True, "masks and their class list need both$"),
    ],
)
def test_one_class_without_background_is_refused(text: str, is_complete: bool, remedy: str) -> None:
    labels = LABELS[1:2] if not text else LABELS[:3]
    with pytest.raises(LabelMapError, match=f"one class, '.*', and nothing to tell .*{remedy}"):
        mapped(text, "ignore", labels=labels, is_complete=is_complete)


def test_a_yaml_file_says_the_same_with_odd_names_and_colours() -> None:
    rules = parse_rules(
        {
            "classes": {"road": ["Road", "lane mark"], "car": {"colour": [1, 2, 3]}},
            "ignore": "sky",
            "others": "background",
        },
        "labels.yaml",
    )
    mapping = map_classes(LABELS, rules, "background")
    assert mapping.label_map.names == ("background", "road", "car")
    assert mapping.label_map.classes[2].colour == (1, 2, 3)
    assert named(mapping) == {"sky": "ignore", "Road": "road", "car": "car", "lane mark": "road"}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (["road"], r"labels.yaml: keys list"),
        ({"class": {}}, r"keys class, expected some of classes, background, ignore, others"),
        ({"classes": {"a": {"from": [["x"]]}}}, r"expected a label, or a list of labels"),
        ({"classes": {"a": {"colour": [1, 2, 300]}}}, r"colour \[1, 2, 300\]"),
        (
            {"classes": ["car", {"name": "road"}]},
            r"classes: {'name': 'road'} in the list, expected names alone; write '- road', or",
        ),
        ({"classes": [["car", "road"]]}, r"\['car', 'road'\] in the list, expected names alone"),
        ({"others": "drop"}, r"'drop', expected one of background, ignore, keep"),
    ],
)
def test_a_yaml_file_of_another_shape_is_refused(value: object, message: str) -> None:
    with pytest.raises(LabelMapError, match=message):
        parse_rules(value, "labels.yaml")
