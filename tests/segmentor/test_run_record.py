import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segmentor.errors import ContractError
from segmentor.run_record import FILE_NAME, ArtifactRecord, RunRecord, StepRecord

TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(TEXTS | NUMBERS | st.booleans(), st.lists, max_leaves=4)
STEPS = st.builds(
    StepRecord, TEXTS, st.just("done"), NUMBERS, st.none() | st.integers(0, 255), TEXTS, TEXTS
)
ARTIFACTS = st.builds(
    ArtifactRecord, TEXTS, TEXTS, TEXTS, TEXTS, TEXTS, st.dictionaries(TEXTS, VALUES, max_size=3)
)
EMPTY = RunRecord(Path("/"), "p", "host", "done", "", 0.0, {}, {}, (), ())


@given(
    steps=st.lists(STEPS, max_size=3),
    artifacts=st.lists(ARTIFACTS, max_size=3),
    parameters=st.dictionaries(TEXTS, VALUES, max_size=3),
)
def test_what_is_written_is_read_back(steps, artifacts, parameters):
    with tempfile.TemporaryDirectory() as folder:
        record = replace(
            EMPTY,
            folder=Path(folder),
            steps=tuple(steps),
            artifacts=tuple(artifacts),
            parameters=parameters,
        )
        record.write()
        assert RunRecord.read(Path(folder)) == record
        assert [path.name for path in Path(folder).iterdir()] == [FILE_NAME]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ('{"schema_version": 99}', "schema version 99, expected 1"),
        ('{"schema_version": 1}', "malformed content"),
        ("[]", "malformed content"),
        ("{", "malformed content"),
    ],
)
def test_a_record_of_another_kind_is_refused(tmp_path, content, told):
    (tmp_path / FILE_NAME).write_text(content)
    with pytest.raises(ContractError, match=told):
        RunRecord.read(tmp_path)
