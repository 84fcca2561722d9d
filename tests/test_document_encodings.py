"""Encodings, marks and line ends of documents."""

from __future__ import annotations

import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptcli.documents.document import DocumentError
from gptcli.documents.encodings import decode
from gptcli.documents.formats import DocumentFormat, open_document

SAMPLES = {
    "cp1252": "Où est le café ? Ça va déjà très bien, “merci”.",
    "cp1250": "Příliš žluťoučký kůň úpěl ďábelské ódy.",
    "cp1251": "Привет мир, как дела? Это простой текст.",
    "koi8_r": "Привет мир, как дела? Это простой текст.",
    "gb18030": "宇宙守护神保护我们远离邪恶。他能徒手抓住子弹。",
    "big5": "這是一個繁體中文的文件，有很多字。",
    "cp932": "日本語のテキストです。漢字とかな。",
    "euc_jp": "日本語のテキストです。漢字とかな。",
    "cp949": "안녕하세요 세계, 오늘 날씨가 좋네요.",
    "cp1253": "Γειά σου Κόσμε, τι κάνεις;",
}


@pytest.mark.parametrize(("encoding", "text"), SAMPLES.items(), ids=SAMPLES)
def test_a_legacy_encoding_is_detected_and_said(encoding: str, text: str) -> None:
    document = open_document((text + "\n").encode(encoding))

    assert document.text == text + "\n"
    assert document.encoding == encoding
    assert document.notices == (f"not UTF-8: read as {encoding.upper().replace('_', '-')} (detected)",)


@pytest.mark.parametrize(
    ("bom", "encoding"),
    [
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
        (b"", "utf-16-le"),
        (b"", "utf-16-be"),
    ],
)
def test_unicode_with_and_without_a_mark(bom: bytes, encoding: str) -> None:
    document = open_document(bom + "one café\r\nzwei\n".encode(encoding), "lines")

    assert (document.encoding, document.bom) == (encoding, bom)
    assert document.render(["ein 中", "two"]).data == bom + "ein 中\r\ntwo\n".encode(encoding)


@pytest.mark.parametrize(
    "data",
    [b"%PDF-1.7\nsome text", b"\x89PNG\r\n\x1a\n", b"PK\x03\x04abc", bytes(range(256)), b"a\0b\0\0c\0"],
)
def test_a_binary_file_is_an_error(data: bytes) -> None:
    with pytest.raises(DocumentError, match=r"^a\.md is a binary file, not text$"):
        open_document(data, name="a.md")


def test_stray_bytes_and_nuls_are_kept() -> None:
    data = "ça va déjà, où ça ? À côté, là où ça brûle.\n".encode() * 3 + b"a \xff b \0 c here\n"
    document = open_document(data, "lines")
    last = document.segments[3]

    assert document.notices == ("line 4: 1 bytes that are not UTF-8 are kept as they are",)
    assert last.text == "a <1/> b <2/> c here"
    assert document.render({3: "<1/> x <2/>"}).data.endswith(b"\n\xff x \0\n")
    assert 3 in document.render({3: "x"}).refused


def test_characters_that_an_encoding_lacks() -> None:
    html = open_document(b'<meta charset="iso-8859-1"><p>cafe</p>', "html")
    json = open_document(b'{"a": "caf\\u00e9 here"}', "json")
    text = open_document("déjà vu, déjà lu\n".encode("cp1252"))

    assert html.render(["é 中"]).data == '<meta charset="iso-8859-1"><p>é &#20013;</p>'.encode("latin-1")
    assert json.render(["中 x"]).data == b'{"a": "\\u4e2d x"}'
    rendering = text.render(["中 é"])
    assert (rendering.data, rendering.encoding) == ("中 é\n".encode(), "utf-8")
    assert rendering.notices == ('written as UTF-8: CP1252 has no "中"',)


def test_line_ends_stay_as_they_are_line_by_line() -> None:
    document = open_document(b"one\r\ntwo\rthree\nfour", "lines")

    assert document.render(["a", "b", "c", "d"]).data == b"a\r\nb\rc\nd"


@pytest.mark.parametrize(
    "format", ["text", "lines", "markdown", "html", "srt", "vtt", "po", "json", "csv"]
)
def test_an_empty_file_is_a_document_without_segments(format: DocumentFormat) -> None:
    document = open_document(b"", format)

    assert (list(document.segments), document.render({}).data) == ([], b"")


@given(st.binary(max_size=200))
def test_what_is_decoded_encodes_to_the_same_bytes(data: bytes) -> None:
    decoded = decode(data)

    assert decoded is None or decoded.encode(decoded.text) == data
