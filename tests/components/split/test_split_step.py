"""split as its users run it."""

import json
import shutil
from pathlib import Path

import pytest

from segmentor.dataset import Dataset
from segmentor.errors import ContractError
from segmentor.image_io import decode_image, encode_jpeg
from segmentor.near_duplicates import write_look_alikes
from tests.components.split.split_builders import (
    ALL,
    executor_input,
    frame,
    picture,
    run_split,
    split,
    warnings,
    write_dataset,
)


def drives(folder: Path, count: int = 10, frames: int = 4) -> Path:
    return write_dataset(
        folder,
        (
            (f"drive{d}_{n:03d}", f"drive{d}", "", picture(100 * d + n), ALL)
            for d in range(count)
            for n in range(frames)
        ),
    )


def test_a_split_is_a_partition_that_tears_no_group(tmp_path: Path) -> None:
    source = drives(tmp_path / "dataset")
    parts = split(source, tmp_path)
    ids = [sample.id for part in parts.values() for sample in part.samples]
    assert len(ids) == len(set(ids)) == 40
    assert {name: len(part) for name, part in parts.items()} == {"train": 28, "val": 8, "test": 4}
    groups = [{sample.group for sample in part.samples} for part in parts.values()]
    assert not groups[0] & groups[1] | groups[0] & groups[2] | groups[1] & groups[2]


def test_a_split_writes_no_pixels_and_its_samples_are_the_data_sets(tmp_path: Path) -> None:
    source = Dataset(drives(tmp_path / "dataset"))
    contents = {s.id: (source.image_content(s), source.mask_content(s)) for s in source.samples}
    for part in split(source.folder, tmp_path).values():
        for sample in part.samples:
            found = (part.image_content(sample), part.mask_content(sample))
            assert found == contents[sample.id]
            assert sample.perceptual_hash
        names = {path.name for path in part.folder.iterdir()}
        assert names <= {"manifest.json", "samples.jsonl", "findings.jsonl"}


def test_a_copied_run_has_its_pixels_and_a_list_alone_says_what_is_missing(tmp_path: Path) -> None:
    source = drives(tmp_path / "run" / "convert_labels" / "dataset")
    split(source, tmp_path / "run" / "split")
    copy = tmp_path / "elsewhere" / "deeper" / "copy"
    shutil.copytree(tmp_path / "run", copy)
    shutil.move(tmp_path / "run", tmp_path / "moved")
    for run in (copy, tmp_path / "moved"):
        part = Dataset(run / "split" / "train")
        assert part.image_content(part.samples[0])
    shutil.copytree(copy / "split" / "train", tmp_path / "alone")
    part = Dataset(tmp_path / "alone")
    assert len(list(part)) == 28
    with pytest.raises(
        ContractError, match=r"no shard .*; copy the whole run, or unpack it there"
    ) as caught:
        part.image_content(part.samples[0])
    expected = tmp_path.parent / "convert_labels" / "dataset"  # from alone: ../../convert_labels
    assert Path(caught.value.where).parent == expected


def test_a_data_set_of_schema_version_1_is_split(tmp_path: Path, repository: Path) -> None:
    old = repository / "tests" / "segmentor" / "data" / "schema_version_1"
    parts = split(old, tmp_path, "--near-duplicates", "report")
    samples = [sample for part in parts.values() for sample in part.samples]
    assert sorted(sample.id for sample in samples) == sorted(s.id for s in Dataset(old))
    assert all(part.mask(sample).any() for part in parts.values() for sample in part.samples)


def test_look_alikes_are_taken_from_the_data_set(tmp_path: Path) -> None:
    source = Dataset(drives(tmp_path / "dataset"))
    # Two drives that nobody would take for one.
    write_look_alikes(source.folder, [(0, 20)])
    parts = split(source.folder, tmp_path)
    together = {source.samples[position].id for position in (0, 20)}
    assert any(together <= {sample.id for sample in part} for part in parts.values())
    assert "1 pair kept in one split" in (tmp_path / "report.html").read_text()


def test_two_runs_give_equal_digests_and_another_seed_others(tmp_path: Path) -> None:
    source = drives(tmp_path / "dataset")
    first, second = (split(source, tmp_path / run, "--seed", "3") for run in "ab")
    other = split(source, tmp_path / "c", "--seed", "4")
    digests = [[part.digest for part in parts.values()] for parts in (first, second, other)]
    assert digests[0] == digests[1] != digests[2]


def near_copies(folder: Path) -> Path:
    """Every image has a copy, saved again as JPEG, in another group."""
    entries = []
    for number in range(12):
        image = picture(number)
        again = encode_jpeg(decode_image(image), 90)
        entries.append((f"a{number}", f"a{number}", "", image, ALL))
        entries.append((f"z{number}", f"z{number}", "", again, ALL))
    return write_dataset(folder, entries)


def test_images_that_look_the_same_land_in_one_split(tmp_path: Path) -> None:
    source = near_copies(tmp_path / "dataset")
    for seed in range(4):
        for part in split(source, tmp_path / str(seed), "--seed", str(seed)).values():
            numbers = sorted(sample.id[1:] for sample in part.samples)
            assert numbers[::2] == numbers[1::2]
    assert "12 pairs kept in one split" in (tmp_path / "0" / "report.html").read_text()


def test_images_that_look_the_same_are_only_reported_when_asked(tmp_path: Path) -> None:
    source = near_copies(tmp_path / "dataset")
    split(source, tmp_path, "--near-duplicates", "report")
    report = (tmp_path / "report.html").read_text()
    assert "pairs of images that look the same are in different splits" in report
    assert "Delete one of each in CVAT, or --near-duplicates together." in report


def test_every_pair_of_images_that_look_the_same_in_different_splits_is_named(
    tmp_path: Path,
) -> None:
    entries = [
        (f"{subset}/{n}", f"{subset}{n}", subset, picture(n), ALL)
        for subset in ("train", "val", "test")
        for n in range(8)
    ]
    source = write_dataset(tmp_path / "dataset", entries)
    split(source, tmp_path, "--honour-subsets")
    report = (tmp_path / "report.html").read_text()
    assert "Delete one of each in CVAT, or leave --honour-subsets out." in report
    table = report.split("looks the same as", 1)[1].split("</table>", 1)[0]
    for n in range(8):
        assert table.count(f"/{n} (") == 4


def test_groups_joined_into_too_few_are_explained(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    image = picture(0)
    again = encode_jpeg(decode_image(image), 90)
    entries = [("a", "a", "", image, ALL), ("b", "b", "", again, ALL)]
    entries.append(("c", "c", "", picture(5), ALL))
    assert run_split(write_dataset(tmp_path / "dataset", entries), tmp_path) == 3
    error = capfd.readouterr().err
    assert "2 groups, after 3 were joined because images are equal or look the same" in error
    assert "(a and b), expected at least 3" in error
    assert "--near-duplicates report" in error
    assert not (tmp_path / "train").exists()


def test_groups_joined_by_equal_images_get_advice_that_helps(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    # One calibration picture in each task.
    entries = [(f"{t}/{n}", t, "", picture(10 * i + n), ALL)
               for i, t in enumerate("xyz") for n in range(3)]  # fmt: skip
    entries += [(f"{t}/calibration", t, "", picture(99), ALL) for t in "xyz"]
    source = write_dataset(tmp_path / "dataset", entries)
    assert run_split(source, tmp_path, "--near-duplicates", "report") == 3
    error = capfd.readouterr().err
    assert "1 group, after 3 were joined" in error
    assert "(x/calibration and y/calibration, y/calibration and z/calibration)" in error
    assert "delete the copies in CVAT, or choose a finer --group-pattern" in error
    assert "--near-duplicates report" not in error
    same = [(f"{n}", f"{n}", "", picture(0), ALL) for n in range(4)]
    assert run_split(write_dataset(tmp_path / "same", same), tmp_path) == 3
    assert "label images that differ" in capfd.readouterr().err


def test_groups_that_images_join_are_counted_in_the_report(tmp_path: Path) -> None:
    split(near_copies(tmp_path / "dataset"), tmp_path)
    text = "24 groups, joined where images are equal, look the same or are of one picture to 12 g"
    assert text in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    ("flag", "place", "message"),
    [
        ("--train", "dataset", "the place of --dataset too"),
        ("--test", "val", "the place of --test too"),
        ("--train", "val/../val", "the place of --val too"),
        ("--train", "", "a folder that holds --dataset,"),
        ("--split-report", "val/report.html", "a folder that holds --split-report,"),
    ],
)
def test_an_output_in_the_place_of_another_path_is_refused(
    flag: str, place: str, message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source = drives(tmp_path / "dataset")
    before = sorted(path.read_bytes() for path in source.iterdir())
    assert run_split(source, tmp_path, flag, str(tmp_path / place)) == 3
    assert message in capfd.readouterr().err
    assert sorted(path.read_bytes() for path in source.iterdir()) == before
    assert [path.name for path in tmp_path.iterdir()] == ["dataset"]


def test_warnings_are_where_a_program_finds_them(tmp_path: Path) -> None:
    clean = drives(tmp_path / "dataset")
    split(clean, tmp_path / "a", "--executor-input", executor_input(tmp_path))
    assert warnings(tmp_path) == []
    entries = [(f"drive_{n:03d}", f"g{n}", "", frame(0, n), (0, 1)) for n in range(20)]
    entries[7] = (*entries[7][:4], ALL)
    source = write_dataset(tmp_path / "film", entries)
    split(source, tmp_path / "b", "--executor-input", executor_input(tmp_path))
    leaks, missing = warnings(tmp_path)
    assert "neighbouring frames" in leaks
    assert missing == "Classes that a split does not have: 'car' in val, 'car' in test."


def test_shares_far_from_those_asked_for_are_warned_of(tmp_path: Path) -> None:
    entries = [(f"{t}/{n:c}", t, "", picture(50 * i + n), ALL)
               for i, t in enumerate("xyz") for n in range(97, 111)]  # fmt: skip
    source = write_dataset(tmp_path / "dataset", entries)
    split(source, tmp_path, "--executor-input", executor_input(tmp_path))
    assert warnings(tmp_path)[0] == (
        "train has 33 % of the images (70 % asked for), val has 33 % of the images (20 % asked for)"
        ", test has 33 % of the images (10 % asked for): no group is torn, and of the 3 groups the "
        "largest has 33 % of the images. A finer --group-pattern makes smaller ones, where that "
        "tears no film."
    )


def test_few_images_have_no_finer_groups(tmp_path: Path) -> None:
    entries = [(f"x{n:c}", f"{n}", "", picture(n), ALL) for n in range(97, 100)]
    source = write_dataset(tmp_path / "dataset", entries)
    split(source, tmp_path, "--executor-input", executor_input(tmp_path))
    assert warnings(tmp_path)[0].endswith(": the data set has only 3 images. Label more.")


def test_a_leak_is_warned_of_and_shown(tmp_path: Path) -> None:
    entries = [(f"drive_{n:03d}", f"g{n}", "", frame(0, n), ALL) for n in range(20)]
    split(write_dataset(tmp_path / "dataset", entries), tmp_path)
    report = (tmp_path / "report.html").read_text()
    assert "neighbouring frames" in report
    assert "1 frame apart" in report
    assert report.count("<img") >= 2


def test_a_short_film_is_told_from_a_few_numbered_photographs(tmp_path: Path) -> None:
    film = [(f"drive_{n:03d}", f"g{n}", "", frame(0, n), ALL) for n in range(6)]
    split(write_dataset(tmp_path / "film", film), tmp_path / "a")
    assert "neighbouring frames" in (tmp_path / "a" / "report.html").read_text()
    photographs = [(f"photo_{n:03d}", f"g{n}", "", picture(n), ALL) for n in range(6)]
    split(write_dataset(tmp_path / "photographs", photographs), tmp_path / "b")
    assert "no equal images, look-alikes" in (tmp_path / "b" / "report.html").read_text()


def test_numbered_images_that_have_nothing_in_common_are_no_film(tmp_path: Path) -> None:
    entries = [(f"photo_{n:03d}", f"g{n}", "", picture(n), ALL) for n in range(20)]
    split(write_dataset(tmp_path / "dataset", entries), tmp_path)
    report = (tmp_path / "report.html").read_text()
    assert "Each split has each class; no equal images" in report


def test_classes_that_a_split_lacks_are_named(tmp_path: Path) -> None:
    entries = [(f"s{n}x", f"s{n}", "", picture(n), ALL if n == 4 else (0, 1)) for n in range(10)]
    split(write_dataset(tmp_path / "dataset", entries), tmp_path)
    report = (tmp_path / "report.html").read_text()
    assert (
        "Classes that a split does not have: &#x27;car&#x27; in val, &#x27;car&#x27; in test"
        in report
    )


def test_findings_go_where_their_samples_go(tmp_path: Path) -> None:
    source = drives(tmp_path / "dataset")
    lines = [{"id": f"drive{d}_001", "kind": "overlap", "text": "x"} for d in range(10)]
    (source / "findings.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    total = 0
    for part in split(source, tmp_path).values():
        ids = {sample.id for sample in part.samples}
        found = (part.folder / "findings.jsonl").read_text().splitlines()
        assert {json.loads(line)["id"] for line in found} <= ids
        total += len(found)
    assert total == 10


def test_a_folder_that_is_no_data_set_is_named(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run_split(tmp_path / "nothing", tmp_path) == 3
    assert "no such folder, expected a data set artifact" in capfd.readouterr().err


def test_a_class_of_enough_groups_that_a_split_lacks_is_said_to_be_one(tmp_path: Path) -> None:
    # Val and test take one image each, which has one of the two classes.
    entries = [(f"{n:02d}", f"g{n}", "", picture(n), (0, 1 + n % 2)) for n in range(20)]
    source = write_dataset(tmp_path / "dataset", entries)
    flags = ("--ratios", "18,1,1", "--executor-input", executor_input(tmp_path))
    split(source, tmp_path / "out", *flags)
    (text,) = (text for text in warnings(tmp_path) if text.startswith("Classes that a split"))
    assert "Of enough groups for all three: 'car' (10); no division" in text
    assert "Another seed, other ratios or a finer --group-pattern may give one." in text


@pytest.mark.parametrize("seed", ["1.5", "one"])
def test_a_seed_that_is_not_a_whole_number_is_a_wrong_flag(
    seed: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        run_split(drives(tmp_path / "dataset"), tmp_path, "--seed", seed)
    assert stop.value.code == 2
    assert f"argument --seed: invalid int value: '{seed}'" in capfd.readouterr().err


def test_a_negative_seed_is_refused_before_the_data_set_is_read(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run_split(tmp_path / "nothing", tmp_path, "--seed", "-1") == 3
    assert "--seed: -1, expected a whole number, 0 or greater" in capfd.readouterr().err
