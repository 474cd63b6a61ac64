import pytest

from pipelines.local import progress_lines


@pytest.fixture(scope="module", autouse=True)
def no_line_is_due_by_time():
    """Lines that a busy machine adds would be among those that tests compare."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(progress_lines, "SECONDS_BETWEEN_LINES", 3600.0)
        yield
