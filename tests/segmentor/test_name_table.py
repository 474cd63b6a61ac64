"""Names in little memory: a table gives what a dict and a list would."""

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from segmentor.name_table import NameTable

# Half characters too, as JSON may escape them.
NAMES = st.lists(st.text(st.characters(codec=None), max_size=6), max_size=200)


@given(NAMES, NAMES)
def test_a_table_numbers_names_as_a_dict_does(names: list[str], others: list[str]) -> None:
    table, expected = NameTable(), dict[str, int]()
    for name in names:
        assert table.add(name) == expected.setdefault(name, len(expected))
    assert len(table) == len(expected)
    assert list(table) == list(expected)
    for name in [*names, *others]:
        assert table.number_of(name) == expected.get(name)
        assert (name in table) == (name in expected)


def test_many_names_stay_apart_and_take_little_memory() -> None:
    tracemalloc.start()
    try:
        table = NameTable()
        for number in range(20_000):
            assert table.add(f"images/frame_{number:06d}.jpg") == number
        used = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    # A dict takes 150 bytes for each of these.
    assert used / 20_000 < 60
    assert [table.number_of(table[number]) for number in range(20_000)] == list(range(20_000))
