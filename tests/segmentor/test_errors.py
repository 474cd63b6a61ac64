import pickle

from segmentor.errors import DataError, MaskError, Problem


def test_message_reads_where_found_expected_remedy():
    error = MaskError("a.png", "class index 9", "0..6", "rerun convert_labels")
    assert str(error) == "a.png: class index 9, expected 0..6; rerun convert_labels"


def test_error_raised_in_a_worker_process_arrives_whole():
    error = pickle.loads(pickle.dumps(MaskError("a.png", "class index 9", "0..6", "do this")))
    assert type(error) is MaskError
    assert (error.where, error.found, error.expected, error.remedy) == (
        "a.png",
        "class index 9",
        "0..6",
        "do this",
    )


def _mask_error(name: str, index: int) -> MaskError:
    return MaskError(name, f"class index {index} at (y=3, x={index})", "0..2 or 255", "extend it")


def test_a_cause_is_said_once_whatever_the_masks_are_called():
    names = [f"town_{town}" for town in ("aachen", "bochum", "cologne", "dresden", "essen")]
    problems = [
        Problem.of(name, _mask_error(f"gtFine/{name[5:]}_labelIds.png", 3 + place))
        for place, name in enumerate(names)
    ]
    text = str(DataError.collected("export.zip", problems, "leave them out"))
    assert text == (
        "export.zip: 5 problems: town_aachen: gtFine/aachen_labelIds.png: class index 3 at "
        "(y=3, x=3), expected 0..2 or 255; extend it (5 times: also town_bochum, town_cologne, "
        "town_dresden, ...); leave them out"
    )


def test_the_most_frequent_cause_is_first_and_only_ten_are_named():
    causes = [MaskError(f"{kind}.png", kind * 3) for kind in "abcdefghijkl"]
    problems = [Problem.of(error.where, error) for error in causes]
    problems += [Problem.of("m.png", MaskError("m.png", "lll"))]
    text = str(DataError.collected("masks", problems))
    assert text.startswith("masks: 13 problems: l.png: lll (2 times: also m.png); a.png: aaa; ")
    assert text.endswith("; and 2 more kinds")
