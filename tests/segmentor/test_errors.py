import pickle

from segmentor.errors import DataError, MaskError, SegmentorError


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


def test_collected_names_the_count_and_the_first_ten():
    error = DataError.collected("export.zip", [f"p{i}" for i in range(12)])
    assert "12 problems" in str(error)
    assert "p9" in str(error)
    assert "p10" not in str(error)
    assert "and 2 more" in str(error)
    assert isinstance(error, SegmentorError)
