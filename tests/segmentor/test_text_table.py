from segmentor.text_table import text_table


def test_numbers_are_aligned_to_the_right_and_texts_to_the_left():
    rows = [("road", "1,204", "99.5%", "a"), ("sky, far", "n/a", "", "longer text")]
    assert text_table(("class", "pixels", "share", "note"), rows) == [
        "class    | pixels | share | note",
        "-------- | ------ | ----- | -----------",
        "road     |  1,204 | 99.5% | a",
        "sky, far |    n/a |       | longer text",
    ]


def test_a_table_without_rows_has_its_header():
    assert text_table(("a", "bc"), []) == ["a | bc", "- | --"]
