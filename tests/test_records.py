"""Records: what is written can be read back, what is broken fails alone, and no record waits."""

from __future__ import annotations

import io
import json
import os
import threading
from collections.abc import Iterator, Sequence
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptcli.documents.lines import CHUNK_BYTES
from gptcli.documents.records import Record, RecordFormat, RecordReader
from gptcli.errors import GptcliError, UsageError
from gptcli.output.records import RecordWriter, WriteFormat, one_line, record_writer


class Stream(io.RawIOBase):
    """Bytes in pieces of a given size."""

    def __init__(self, data: bytes, piece: int = CHUNK_BYTES) -> None:
        self._data, self._piece = io.BytesIO(data), piece

    def fileno(self) -> int:
        raise OSError("no file")

    def read(self, size: int = -1) -> bytes:
        return self._data.read(min(size, self._piece))


def read(data: bytes | str, format: str = "auto", *, name: str = "x", piece: int = 99) -> list[Record]:
    data = data.encode() if isinstance(data, str) else data
    return list(RecordReader(Stream(data, piece), cast(RecordFormat, format), name=name))


def outcome(records: Sequence[Record]) -> list[Any]:
    """Return each record as its line and its values, or its error."""
    return [
        (record.line, record.error.message if record.error else list(record.fields.values()))
        for record in records
    ]


# ------------------------------------------------------------------------------------ round trips

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12) | (
    st.text("a\",;\t\r\n' ", max_size=8)
)
NAMES = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff"), min_size=1, max_size=5
).filter(lambda name: bool(name.strip()) and name not in ("answer", "error"))
VALUES = st.recursive(
    TEXTS | st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=5,
)


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[str], list[dict[str, str]], list[str]]:
    """Return columns, rows of them, and an answer for each row."""
    columns = draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
    rows = draw(st.lists(st.fixed_dictionaries(dict.fromkeys(columns, TEXTS)), max_size=6))
    return columns, rows, [draw(TEXTS) for _ in rows]


def written(writer: RecordWriter, rows: Sequence[dict[str, Any]], answers: Sequence[object]) -> str:
    """Return what a run writes. A record whose answer is None failed."""
    pieces = [writer.head()]
    for row, answer in zip(rows, answers, strict=True):
        pieces.append(
            writer.failed(row, GptcliError("bad\nluck"))
            if answer is None
            else writer.record(row, {"answer": answer})
        )
    return "".join((*pieces, writer.tail()))


@pytest.mark.parametrize("format", ["csv", "tsv"])
@given(table=tables(), piece=st.integers(1, 50))
def test_a_table_can_be_read_back(
    format: WriteFormat, table: tuple[list[str], list[dict[str, str]], list[str]], piece: int
) -> None:
    columns, rows, answers = table

    text = written(record_writer(format, ["answer"], columns), rows, answers)

    found = [record.fields for record in read(text, format, piece=piece)]
    wanted = [{**row, "answer": answer} for row, answer in zip(rows, answers, strict=True)]
    assert found == [{**row, "error": ""} for row in wanted]
    assert RecordReader(Stream(text.encode()), cast(RecordFormat, format)).columns == (
        *columns,
        "answer",
        "error",
    )


@given(st.lists(st.tuples(st.dictionaries(NAMES, VALUES, max_size=4), VALUES), max_size=6))
def test_json_can_be_read_back(records: list[tuple[dict[str, Any], Any]]) -> None:
    rows = [row for row, _ in records]
    answers = [answer if answer is not None else "x" for _, answer in records]
    wanted = [{**row, "answer": answer} for row, answer in zip(rows, answers, strict=True)]

    lines = written(record_writer("jsonl", ["answer"]), rows, answers)
    array = written(record_writer("json", ["answer"]), rows, answers)

    assert [record.fields for record in read(lines, "jsonl", piece=7)] == wanted
    assert json.loads(array) == wanted
    assert [list(record.fields) for record in read(lines, "jsonl")] == [list(row) for row in wanted]


@given(st.lists(TEXTS, max_size=8))
def test_a_plain_answer_is_a_line(answers: list[str]) -> None:
    text = written(record_writer("plain", ["answer"]), [{}] * len(answers), answers)

    assert text.split("\n") == [*(one_line(answer) for answer in answers), ""]
    assert len(text.splitlines()) == len(answers)


@pytest.mark.parametrize("format", ["csv", "tsv", "jsonl", "plain"])
@pytest.mark.parametrize("knows_columns", [True, False])
@given(table=tables(), failed=st.integers(0, 5), share=st.floats(0, 1))
@settings(max_examples=60)
def test_an_output_cut_at_any_byte_can_be_continued(
    format: WriteFormat,
    knows_columns: bool,
    table: tuple[list[str], list[dict[str, str]], list[str]],
    failed: int,
    share: float,
) -> None:
    columns, rows, texts = table
    known = columns if knows_columns else None
    answers = [None if number == failed else text for number, text in enumerate(texts)]
    whole = written(record_writer(format, ["answer"], known), rows, answers).encode()
    cut = whole[: round(share * len(whole))]

    writer = record_writer(format, ["answer"], known)
    done, end = 0, 0
    for found in writer.read_back(io.BytesIO(cut)):
        end = found.end
        if found.cells is not None:
            assert writer.belongs(found, rows[done])
            assert found.is_failed == (answers[done] is None and format != "plain")
            done += 1

    assert end <= len(cut)
    assert cut[:end] + written(writer, rows[done:], answers[done:]).encode() == whole


@pytest.mark.parametrize("format", ["csv", "jsonl"])
def test_other_records_do_not_belong(format: WriteFormat) -> None:
    text = written(record_writer(format, ["answer"], ["a", "b"]), [{"a": "1", "b": ""}], ["x"])
    writer = record_writer(format, ["answer"], ["a", "b"])
    found = [each for each in writer.read_back(io.BytesIO(text.encode())) if each.cells is not None]

    assert writer.belongs(found[0], {"a": "1", "b": ""})
    assert not writer.belongs(found[0], {"a": "2", "b": ""})


# ------------------------------------------------------------------------------- what is not there


def test_a_line_is_a_record_and_a_bom_is_none() -> None:
    assert outcome(read(b"\xef\xbb\xbfone\r\n\n three \nlast", piece=1)) == [
        (1, ["one"]),
        (2, [""]),
        (3, [" three "]),
        (4, ["last"]),
    ]


def test_broken_lines_fail_alone() -> None:
    assert outcome(read(b"fine\n\xff\xfe\nnul\0\nfine", "lines")) == [
        (1, ["fine"]),
        (2, "not UTF-8 text: byte 0xff at position 1"),
        (3, "not text: it contains a NUL byte"),
        (4, ["fine"]),
    ]


def test_broken_json_lines_fail_alone() -> None:
    lines = ['{"a": 1}', "", "nope", "[1]", '{"a": NaN}', '{"a": 1e999}', r'{"a": "\ud800"}', '{"a": 2}']

    assert outcome(read("\n".join(lines))) == [
        (1, [1]),
        (3, "not JSON: Expecting value (column 1)"),
        (4, "not a JSON object"),
        (5, "not JSON: NaN is not a JSON value"),
        (6, "not JSON: the number 1e999 is out of range"),
        (7, r"not text: one half of a \u surrogate pair alone"),
        (8, [2]),
    ]
    assert read("[" * 100_000, "jsonl")[0].error is not None


def test_broken_rows_fail_alone() -> None:
    data = b'a,b\n1,"x\ny"\n\n2\n3,4,5\n4,\xff\n5,"bad\n6,ok\n7,"q"\n8,"open\n9,z'

    records = read(data, name="x.csv", piece=3)

    assert outcome(records) == [
        (2, ["1", "x\ny"]),
        (5, "1 cells for 2 columns"),
        (6, "3 cells for 2 columns"),
        (7, "not UTF-8 text: byte 0xff at position 3"),
        (8, """not CSV: ',' expected after '"' in '5,"bad'"""),
        (9, ["6", "ok"]),
        (10, ["7", "q"]),
        (11, """not CSV: unexpected end of data in '8,"open'"""),
        (12, ["9", "z"]),
    ]
    assert [record.number for record in records] == list(range(1, 10))
    assert records[-1].end == len(data)


def test_a_row_is_broken_by_any_of_its_lines() -> None:
    assert outcome(read(b'a\n"\xff\ny"\nfine\n', "csv")) == [
        (2, "not UTF-8 text: byte 0xff at position 2"),
        (4, ["fine"]),
    ]


def test_a_cell_may_be_large() -> None:
    assert len(read(f'a\n"{"x" * 300_000}"\n', "csv", piece=1000)[0].fields["a"]) == 300_000


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a,,c\n", "x.csv has no name for its column 2"),
        (b"a,b,a\n", 'x.csv has two columns of the name "a"'),
        (b'"a\n', "x.csv has a broken header: unexpected end of data"),
        (b"\xe4,b\n", "the header of x.csv is not UTF-8 text: byte 0xe4 at position 1"),
        ("a,b\n".encode("utf-16"), "x.csv is not UTF-8 text: it begins with the mark of UTF-16 or"),
    ],
)
def test_what_concerns_the_whole_input(data: bytes, message: str) -> None:
    with pytest.raises(UsageError) as raised:
        read(data, name="x.csv")

    assert raised.value.message.startswith(message)


@pytest.mark.parametrize(
    ("data", "name", "format"),
    [
        (b"a,b\n", "x.CSV", "csv"),
        (b"a\tb\n", "x.tsv", "tsv"),
        (b'\n  {"a": 1}\n', "stdin", "jsonl"),
        (b"plain {}\n", "x.txt", "lines"),
        (b"", "stdin", "lines"),
    ],
)
def test_the_format_is_told(data: bytes, name: str, format: str) -> None:
    assert RecordReader(Stream(data), name=name).format == format


def test_a_json_array_is_refused_with_the_way_out() -> None:
    with pytest.raises(UsageError) as raised:
        read("[1]", name="x.json")

    assert raised.value.hint == "jq -c '.[]' x.json | gptcli …"


def test_a_whole_text_is_one_record() -> None:
    assert outcome(read("a\nb\n", "text")) == [(1, ["a\nb\n"])]
    assert read("", "text") == []


@pytest.mark.parametrize(
    ("format", "pieces"),
    [
        ("lines", ["one\n", "tw", "o\n"]),
        ("auto", ["one\n", "two\n"]),
        ("jsonl", ['{"a": 1}\n', "\n", '{"a":', " 2}\n"]),
        ("csv", ["a,b\n1,2\n", '3,"4', '\n5"\n']),
    ],
)
def test_a_record_is_there_as_soon_as_its_line_is(format: str, pieces: list[str]) -> None:
    reading, writing = os.pipe()
    arrived = threading.Semaphore(0)
    records: list[Record] = []

    def read_all() -> None:
        with os.fdopen(reading, "rb", buffering=0) as stream:
            for record in RecordReader(stream, cast(RecordFormat, format)):
                records.append(record)
                arrived.release()

    thread = threading.Thread(target=read_all)
    thread.start()
    for expected, group in enumerate(_by_record(pieces), 1):
        for piece in group:
            os.write(writing, piece.encode())
        assert arrived.acquire(timeout=10), "the record waits for more input"
        assert len(records) == expected
    os.close(writing)
    thread.join(10)
    assert len(records) == 2


def _by_record(pieces: list[str]) -> Iterator[list[str]]:
    yield pieces[:1]
    yield pieces[1:]


def test_a_json_record_of_more_or_fewer_fields_does_not_belong() -> None:
    writer = record_writer("jsonl", ["answer"])
    (found,) = writer.read_back([b'{"a": 1, "b": 2, "answer": "x"}\n'])

    assert writer.belongs(found, {"a": 1, "b": 2})
    assert not writer.belongs(found, {"a": 1})
    assert not writer.belongs(found, {"a": 1, "b": 2, "c": 3})
    assert not writer.belongs(found, {"a": 1, "b": 2, "answer": "x"})


def test_fields_without_a_column_are_told() -> None:
    writer = record_writer("csv", ["answer"])
    rows: list[dict[str, Any]] = [{}, {"a": 1}, {"a": None, "b": [1]}]

    text = written(writer, rows, [None, "x", "y"])

    assert text == 'a,answer,error\n,,"bad\nluck"\n1,x,\n,y,\n'
    assert set(writer.dropped) == {"b"}
