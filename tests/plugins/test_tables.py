"""Tables as they are found in the wild, read by the bundled formats."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlstudio.api import DataError, Preview, Rejected, Sample, Task
from tlstudio_formats.columns import guess_columns
from tlstudio_formats.delimited import Dialect, Record, read_records, sniff
from tlstudio_formats.image_table import ImageTable
from tlstudio_formats.sources import open_table
from tlstudio_formats.text_table import TextTable, TextTableOptions

ROWS = [
    ("Das Café war schön, „sehr“ gut", "gut"),
    ("Überteuert, laut und öde", "schlecht"),
    ("Größe und Qualität passen", "gut"),
    ("Nie wieder", "schlecht"),
]


def write(path: Path, rows: list[tuple[str, ...]], *, encoding: str = "utf-8", delimiter: str = ",") -> Path:
    with path.open("w", encoding=encoding, newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    return path


def look(path: Path, **options: Any) -> Preview:
    return TextTable().preview(path, options)


def read(path: Path, task: Task = "classification", **options: Any) -> list[Sample | Rejected]:
    preview = look(path, **options)
    return list(TextTable().read(path, TextTableOptions(**preview.options), task))


def samples(path: Path, task: Task = "classification", **options: Any) -> list[Sample]:
    found = read(path, task, **options)
    assert not [item for item in found if isinstance(item, Rejected)]
    return [item for item in found if isinstance(item, Sample)]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_any_encoding_and_delimiter_is_detected(tmp_path: Path, encoding: str, delimiter: str) -> None:
    path = write(tmp_path / "a.csv", [("text", "label"), *ROWS], encoding=encoding, delimiter=delimiter)
    assert TextTable().detect(path) > 0.5
    found = samples(path)
    assert [(item.text, item.label) for item in found] == ROWS
    assert [item.source for item in found] == [f"a.csv, row {number}" for number in range(2, 6)]


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("cp1251", "Очень хороший фильм, мне понравилось"),
        ("gb18030", "这部电影非常好看。我很喜欢。演员也很棒。"),
        ("cp932", "とても面白い映画でした。また見たいです。"),
        ("cp1250", "Příliš žluťoučký kůň úpěl ďábelské ódy"),
    ],
)
def test_other_scripts_in_old_encodings_are_read(tmp_path: Path, encoding: str, text: str) -> None:
    path = write(
        tmp_path / "a.csv", [("text", "label"), *((f"{text} {n}", "ab"[n % 2]) for n in range(10))], encoding=encoding
    )
    preview = look(path)
    assert any("not in UTF-8" in note for note in preview.notes)
    assert samples(path)[0].text == f"{text} 0"


def test_a_letter_far_below_still_decides_the_encoding(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    plain = b"text,label\n" + (b"plain words only " * 60_000 + b",good\n") * 17  # more than the preview looks at
    path.write_bytes(plain + "caf\u00e9,bad\n".encode("cp1252"))
    last = read(path)[-1]
    assert isinstance(last, Sample)
    assert last.text == "café"


def test_quotes_newlines_and_blank_lines_keep_the_row_numbers_of_an_editor(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b'text,label\r\n"two\r\nlines, ""quoted""",a\r\n\r\nplain,b\r\n"three\n\nlines",a\nlast,\n')
    found = read(path)
    assert [(item.source, item.text) for item in found if isinstance(item, Sample)] == [
        ("a.csv, row 2", 'two\r\nlines, "quoted"'),
        ("a.csv, row 5", "plain"),
        ("a.csv, row 6", "three\n\nlines"),
    ]
    assert found[3] == Rejected("a.csv, row 9", "It has no label.", "Correct the row, or leave it out.")


def test_fields_of_many_kilobytes_are_read_and_the_limit_of_others_stays(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    path = write(tmp_path / "a.csv", [("text", "label"), ("x" * 300_000, "a"), ("y" * 2_000_000, "b")])
    assert [len(item.text or "") for item in samples(path)] == [300_000, 2_000_000]
    assert csv.field_size_limit() == before


def test_a_hint_for_spreadsheets_is_no_record(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"sep=;\r\ntext;label\r\none, two;a\r\nthree;b\r\n")
    assert [(item.text, item.source) for item in samples(path)] == [
        ("one, two", "a.csv, row 3"),
        ("three", "a.csv, row 4"),
    ]


def test_a_byte_order_mark_is_no_part_of_a_name_even_if_the_encoding_is_given(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", [("text", "label"), *ROWS], encoding="utf-8-sig")
    assert look(path, encoding="utf-8").columns == ("text", "label")
    with pytest.raises(DataError, match="no text encoding 'klingon'"):
        look(path, encoding="klingon")


def test_the_rows_of_a_small_file_are_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", [("text", "label"), *((f"some words {n}", "ab"[n % 2]) for n in range(1234))])
    assert look(path).count == 1234


def test_nul_bytes_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"text,label\nab\x00c,g\x00ood\nfine,bad\n")
    assert [(item.text, item.label) for item in samples(path)] == [("abc", "good"), ("fine", "bad")]


def test_a_quotation_mark_that_is_never_closed_costs_one_row(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    lines = ["text,label", *(f"text {n},{'ab'[n % 2]}" for n in range(300))]
    lines[250] = '"text opened,a'
    path.write_text("\n".join(lines))
    found = read(path)
    rejected = [item for item in found if isinstance(item, Rejected)]
    assert [item.source for item in rejected] == ["a.csv, row 251"]
    assert "not closed" in rejected[0].reason
    assert len(found) == 300
    assert isinstance(found[-1], Sample)
    assert found[-1].source == "a.csv, row 301"


def test_two_stray_quotation_marks_do_not_swallow_the_rows_between(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    lines = ["text,label", *(f"text {n},{'ab'[n % 2]}" for n in range(40))]
    lines[10:13] = ['"ten, a",a', '"eleven, ""b""",b', '"twelve\nand on",a']
    lines[5] = '"five,a'
    lines[20] = '"twenty,b'
    path.write_text("\n".join(lines))
    found = read(path)
    assert [item.source for item in found if isinstance(item, Rejected)] == ["a.csv, row 6", "a.csv, row 22"]
    assert len(found) == 40


def test_quotation_marks_of_a_tsv_without_quoting_are_text(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text('text\tlabel\n"Open and not closed\tgood\nplain\tbad\nsay "hi"\tgood\n"again\tbad\nend\tgood\n')
    assert samples(path)[0].text == '"Open and not closed'
    assert any("part of the text" in note for note in look(path).notes)


def test_too_many_fields_are_rejected_by_row(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,label\ngood film,a\nbad, very bad film,b\nshort,b\nanother,a\n")
    found = read(path)
    assert isinstance(found[1], Rejected)
    assert (found[1].source, found[1].reason) == ("a.csv, row 3", "It has 3 fields, and there are 2 columns.")
    assert len(found) == 4


@pytest.mark.parametrize(
    ("header", "row", "text", "label"),
    [
        (("id", "score", "sentiment", "text"), ("1", "2.5", "good", "a longer text here"), "text", "sentiment"),
        (("Kommentar", "Klasse"), ("das ist ein Satz", "eins"), "Kommentar", "Klasse"),
        (("标签", "内容"), ("好", "这部电影非常好看我很喜欢"), "内容", "标签"),
        (("ラベル", "本文"), ("良い", "とても面白い映画でしたまた見たい"), "本文", "ラベル"),
        (("texte", "catégorie"), ("une phrase en français", "un"), "texte", "catégorie"),
        (("отзыв", "класс"), ("очень хороший фильм", "да"), "отзыв", "класс"),
        (("a", "b"), ("some words in a row, more than a few of them", "yes"), "a", "b"),
        (("Review Text", "Label ID"), ("a nice thing to have", "3"), "Review Text", "Label ID"),
    ],
)
def test_columns_are_guessed_by_name_and_content(
    tmp_path: Path, header: tuple[str, ...], row: tuple[str, ...], text: str, label: str
) -> None:
    rows = [
        tuple(
            f"{n}" if name == "id" else f"{cell} {n}" if len(cell) > 8 else cell
            for name, cell in zip(header, row, strict=True)
        )
        for n in range(20)
    ]
    rows += [
        tuple(
            f"{n + 20}" if name == "id" else f"other {n} words of it" if len(cell) > 8 else "9"
            for name, cell in zip(header, row, strict=True)
        )
        for n in range(10)
    ]
    preview = look(write(tmp_path / "a.csv", [header, *rows]))
    assert (preview.options["text_column"], preview.options["label_column"]) == (text, label)
    assert len(preview.rows) == 20


def test_group_and_split_columns_are_guessed_and_read(tmp_path: Path) -> None:
    rows = [
        (f"a text of some words {n}", "ab"[n % 2], f"p{n // 4}", ("train", "VAL", "test")[n % 3]) for n in range(24)
    ]
    path = write(
        tmp_path / "a.csv", [("text", "label", "patient_id", "subset"), *rows, ("more words here", "a", "p1", "trial")]
    )
    found = read(path)
    assert isinstance(found[1], Sample)
    assert (found[1].group, found[1].split) == ("p0", "validation")
    assert isinstance(found[-1], Rejected)
    assert '"trial" is none of train, validation and test' in found[-1].reason


def test_a_file_without_header_has_numbered_columns(tmp_path: Path) -> None:
    rows = [(f"some text of a few words {n}", "good" if n % 2 else "bad") for n in range(12)]
    path = write(tmp_path / "a.csv", [*rows])
    preview = look(path)
    assert preview.columns == ("column 1", "column 2")
    found = samples(path)
    assert len(found) == 12
    assert found[0].source == "a.csv, row 1"


def test_a_missing_column_names_those_that_exist_and_the_nearest(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", [("text", "label"), *ROWS])
    with pytest.raises(
        DataError, match=r'has no column "lable". Its columns are: "text", "label". Did you mean "label"'
    ):
        look(path, label_column="lable")
    with pytest.raises(DataError) as caught:
        list(TextTable().read(path, TextTableOptions(text_column="Text", label_column="label"), "classification"))
    assert caught.value.field == "text_column"
    assert 'Did you mean "text"' in str(caught.value)


@pytest.mark.parametrize(
    ("labels", "task"),
    [
        (["1", "2", "3", "4", "5"] * 8, "classification"),
        ([str(n) for n in range(40)], "regression"),
        ([f"{n / 3:.2f}" for n in range(40)], "regression"),
        (["0.0", "1.0"] * 20, "classification"),
        (["a", "b", "a;b", "c|a"] * 10, "multi_label"),
        (["good", "bad"] * 20, "classification"),
        (["rock; alternative (1990)", *["pop", "jazz"] * 20], "classification"),
    ],
)
def test_the_task_is_suggested_by_the_labels(tmp_path: Path, labels: list[str], task: Task) -> None:
    rows = [(f"a text of some words {n}", label) for n, label in enumerate(labels)]
    assert look(write(tmp_path / "a.csv", [("text", "label"), *rows])).task == task


def test_a_decimal_comma_is_read_where_the_comma_does_not_delimit(tmp_path: Path) -> None:
    rows = [(f"ein Text {n}", f"{n},5") for n in range(30)]
    path = write(tmp_path / "a.csv", [("text", "Ziel"), *rows], delimiter=";")
    assert look(path).task == "regression"
    assert samples(path, "regression")[2].label == 2.5


def test_a_word_among_numbers_is_rejected_by_row(tmp_path: Path) -> None:
    rows = [(f"a text {n}", "many" if n == 7 else str(n / 2)) for n in range(30)]
    found = read(write(tmp_path / "a.csv", [("text", "score"), *rows]), "regression")
    assert found[7] == Rejected(
        "a.csv, row 9", 'Its label "many" is not a number.', "Correct the row, or leave it out."
    )


def test_json_lines_are_read_and_bad_ones_rejected_by_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    lines = [json.dumps({"text": f"line\u2028{n}", "tags": ["a", "b"][: n % 3]}) for n in range(6)]
    lines[2:2] = ["", "{not json", "[1, 2]"]
    path.write_text("\n".join(lines), encoding="utf-8-sig")
    found = read(path, "multi_label")
    assert [item.source for item in found if isinstance(item, Rejected)] == ["a.jsonl, row 4", "a.jsonl, row 5"]
    assert [item.label for item in found if isinstance(item, Sample)] == [(), ("a",), ("a", "b")] * 2
    assert look(path).task == "multi_label"


def test_a_json_array_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps([{"text": f"some words {n}", "label": n % 2} for n in range(10)]))
    assert [item.label for item in samples(path)] == ["0", "1"] * 5


def test_parquet_is_read_with_its_types(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    texts = [f"some words in a text {n}" for n in range(12)]
    columns = {
        "text": pa.array([*texts[:11], None]),
        "label": pa.array(["a", "b"] * 6).dictionary_encode(),
        "number": pa.array([float(n % 3) for n in range(12)]),
        "tags": pa.array([["x"], ["x", "y"]] * 6),
    }
    pq.write_table(pa.table(columns), path)
    found = read(path, label_column="label")
    assert found[11] == Rejected("a.parquet, row 12", "It has no text.", "Write its text, or leave the row out.")
    assert isinstance(found[0], Sample)
    assert found[0].label == "a"
    assert look(path).count == 12
    numbers = read(path, label_column="number")[:3]
    assert [item.label for item in numbers if isinstance(item, Sample)] == ["0", "1", "2"]
    tags = read(path, "multi_label", label_column="tags")[1]
    assert isinstance(tags, Sample)
    assert tags.label == ("x", "y")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.csv", b"", "empty"),
        ("a.parquet", b"PAR1 but not really", "not a Parquet file"),
        ("a.jsonl", b"hello\nworld\n", "no rows that can be read"),
        ("a.json", b"[1, 2", "not valid JSON"),
        ("a.csv", b"\n\n", "has no rows"),
        ("a.xlsx", b"PK", "Save the sheet as CSV"),
    ],
)
def test_files_that_are_no_tables_get_a_sentence(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(content)
    assert TextTable().detect(tmp_path / name) < 0.1
    with pytest.raises(DataError, match=says):
        look(tmp_path / name)


def test_without_labels_every_row_with_a_text_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", [("text", "label"), ("one", ""), ("two", "a"), ("", "b")])
    found = read(path, **TextTable().without_labels())
    assert [item.label for item in found if isinstance(item, Sample)] == [None, None]
    assert isinstance(found[2], Rejected)


@given(
    st.lists(
        st.lists(
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20),
            min_size=2,
            max_size=2,
        ),
        min_size=1,
        max_size=20,
    ),
    st.sampled_from([",", ";", "\t", "|"]),
)
def test_what_the_csv_module_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]], delimiter: str
) -> None:
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    found = list(read_records(path, Dialect("utf-8", delimiter)))
    assert [item.fields for item in found if isinstance(item, Record)] == rows


@given(st.binary(max_size=400))
def test_no_bytes_at_all_make_the_reader_fail(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("bytes") / "a.csv"
    path.write_bytes(content)
    if content:
        list(read_records(path, sniff(path)[0]))
    assert 0 <= TextTable().detect(path) <= 1


def test_images_inside_a_parquet_column_are_told_and_found_by_their_paths(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    cells = [{"bytes": b"\x89PNG", "path": f"{n}.png"} for n in range(11)] + [{"bytes": b"\x89PNG", "path": None}]
    pq.write_table(pa.table({"image": cells, "label": ["a", "b"] * 6}), path)
    (tmp_path / "0.png").write_bytes(b"\x89PNG")
    preview = ImageTable().preview(path)
    assert preview.options["image_column"] == "image"
    assert preview.notes[0].startswith('The column "image" holds the images themselves')
    options = ImageTable.Options.model_validate(preview.options)
    found = list(ImageTable().read(path, options, "classification"))
    assert isinstance(found[0], Sample)
    assert found[0].image == tmp_path / "0.png"
    assert [item.reason for item in found[10:] if isinstance(item, Rejected)] == [
        f"There is no image 10.png in {tmp_path}.",
        "It names no image.",
    ]


@pytest.mark.parametrize("name", ["wide.csv", "wide.jsonl", "wide.parquet"])
def test_a_table_with_a_million_columns_is_told_at_once(tmp_path: Path, name: str) -> None:
    path, count = tmp_path / name, 20_000
    if path.suffix == ".parquet":
        pq.write_table(pa.table({f"c{n}": [1] for n in range(count)}), path)
    elif path.suffix == ".jsonl":
        path.write_text(json.dumps({f"c{n}": n for n in range(count)}) + "\n", encoding="utf-8")
    else:
        path.write_text(",".join(["x"] * 10**6) + "\n" + ",".join(["1"] * 10**6) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"columns; at most 10,000 are read"):
        look(path)


def test_a_file_of_one_endless_line_is_looked_at_by_its_beginning(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"text,label\n" + b"a word " * 700_000 + b",good\n")
    (tmp_path / "b.csv").write_bytes(b"x" * 4_900_000)
    (tmp_path / "c.csv").write_bytes(b"text,label\n" + b'"a word, and another ",good\n' * 200_000)
    first, second, third = (open_table(tmp_path / name) for name in ("a.csv", "b.csv", "c.csv"))
    assert (first.columns, first.head()) == (("text", "label"), [])  # its first row is cut
    assert second.columns == ("column 1",)  # no name has so many letters
    assert len(second.head()[0][0]) < 4_900_000
    assert (len(third.head()), len(list(third.rows(("label",), beginning=True)))) == (1000, 4_194_293 // 28)
    assert len(list(first.rows(("text",)))) == 1


def test_a_column_whose_name_is_as_long_as_a_book_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"x" * 20_000: 1, "label": "a"}), encoding="utf-8")
    with pytest.raises(DataError, match=r"has 20,000 letters; at most 10,000 are read"):
        open_table(path)


def test_of_two_columns_that_could_be_labels_the_one_that_recurs_more_often_is_taken() -> None:
    fields = ("optics", "chemistry", "biology")
    rows = [(f"A sentence about subject {n} of {fields[n % 3]}.", fields[n % 3], f"note {n % 20}") for n in range(60)]
    assert guess_columns(("sentence", "field", "note"), rows, ("text", "label"))["label"] == "field"
