"""Documents: what is not translated comes back byte for byte."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gptcli.documents.document import Document, DocumentError
from gptcli.documents.formats import FORMATS, DocumentFormat, open_document
from gptcli.documents.plurals import rule_of
from gptcli.errors import UsageError
from tests.document_checks import (
    OPTIONS,
    anything,
    assert_identity,
    assert_skeleton,
    hostile,
    opened,
    translation,
    words,
)

DATA = Path(__file__).resolve().parent / "data" / "documents"
CORPUS = os.environ.get("GPTCLI_TEST_DOCUMENTS")
FILES = sorted(DATA.iterdir())

property_test = settings(
    max_examples=120,
    deadline=timedelta(seconds=5),
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)

# ----------------------------------------------------------------------- generated documents by format

line_ends = st.sampled_from(["\n", "\r\n"])
plain_words = st.lists(
    st.sampled_from(["the", "quick", "fox", "sees", "3", "dogs,", "café", "漢字", "%s", "{{name}}"]),
    min_size=1,
)
phrases = plain_words.map(" ".join)


def joined(blocks: st.SearchStrategy[str], separator: str = "") -> st.SearchStrategy[str]:
    return st.lists(blocks, max_size=6).map(separator.join)


markdown_inline = st.one_of(
    phrases,
    phrases.map(lambda text: f"**{text}**"),
    phrases.map(lambda text: f"_{text}_"),
    phrases.map(lambda text: f"`{text}`"),
    phrases.map(lambda text: f"[{text}](http://a.b/c_d 'The {text[:9]}')".replace("'", '"')),
    phrases.map(lambda text: f"![{text}](d.png)"),
    st.sampled_from(
        ["<b>bold</b>", "<https://a.b>", "\\*", "&amp;", "a  \nb", "x\ny", "[ref]", "[^1]", "<br>"]
    ),
)
inline_text = st.lists(markdown_inline, min_size=1, max_size=4).map(" ".join)
markdown_block = st.one_of(
    inline_text,
    inline_text.map(lambda text: "# " + text.replace("\n", " ")),
    inline_text.map(lambda text: "> " + text.replace("\n", "\n> ")),
    inline_text.map(lambda text: "- " + text.replace("\n", "\n  ") + "\n- [x] done it"),
    inline_text.map(lambda text: "1. " + text.replace("\n", "\n   ") + "\n\n   more of it"),
    phrases.map(lambda text: f"| a | head |\n|---|:--:|\n| `x\\|y` | {text} |"),
    phrases.map(lambda text: f"```\n{text}\n```"),
    phrases.map(lambda text: f"<div title='{text}'>\n  <p>{text}</p>\n</div>"),
    phrases.map(lambda text: f"[^1]: {text}"),
    phrases.map(lambda text: f'!!! note "{text}"\n    {text}'),
    st.sampled_from(
        ["[ref]: http://e.f", "<!-- note -->", "---", "    code", ":::tip\ntext\n:::", "Head\n==="]
    ),
    hostile,
)
front = st.sampled_from(["", "---\ntitle: A page\nlayout: x\n---\n\n", "+++\ntitle = 'B'\n+++\n"])
html_block = st.one_of(
    phrases.map(lambda text: f"<p>{text} <b class='x'>bold</b> &eacute;&nbsp;x</p>"),
    phrases.map(lambda text: f"<li>{text} <code>f({text})</code><br>after\n   the break</li>"),
    phrases.map(lambda text: f'<img alt="{text}" src=x.png><a title=\'{text}\' href="y">{text}</a>'),
    phrases.map(lambda text: f"<p translate=no>{text}</p><!-- {text} --><pre>{text}</pre>"),
    st.sampled_from(
        ["<script>if (a < b) { c('text') }</script>", "AT&T x < y", "<p", "</b>", "<input value=go>"]
    ),
    hostile,
)
clock = st.tuples(*[st.integers(0, 59)] * 2).map(lambda t: f"00:{t[0]:02}:{t[1]:02}")
cue_text = st.one_of(
    phrases,
    phrases.map(lambda text: f"<i>{text}</i>"),
    st.tuples(phrases, phrases).map("\n".join),
    st.tuples(phrases, phrases).map(lambda two: f"- {two[0]}\n- {two[1]}"),
    phrases.map(lambda text: f"{{\\an8}}{text}"),
)
srt_cue = st.tuples(st.integers(1, 99), clock, clock, cue_text).map(
    lambda cue: f"{cue[0]}\n{cue[1]},000 --> {cue[2]},500\n{cue[3]}\n\n"
)
vtt_cue = st.tuples(clock, clock, cue_text).map(
    lambda cue: f"{cue[0]}.000 --> {cue[1]}.500 align:start\n{cue[2]} &amp; <c.y>z</c>\n\n"
)
po_string = st.text(st.sampled_from('abc é"\\\n\t中%'), min_size=1, max_size=12).map(
    lambda text: (
        '"'
        + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", '\\n"\n"').replace("\t", "\\t")
        + '"'
    )
)
po_entry = st.one_of(
    po_string.map(lambda text: f'#: a.c:1\n#, c-format\nmsgid {text}\nmsgstr ""\n\n'),
    po_string.map(
        lambda text: (
            f'#, fuzzy, c-format\n#| msgid "old"\nmsgctxt "menu"\nmsgid {text}\nmsgstr "alt"\n\n'
        )
    ),
    po_string.map(lambda text: f'msgid {text}\nmsgid_plural "%d files"\nmsgstr[0] ""\nmsgstr[1] ""\n\n'),
    st.just('#~ msgid "gone"\n#~ msgstr "weg"\n\n'),
)
PO_HEADER = (
    'msgid ""\nmsgstr ""\n"Language: ru\\n"\n"Content-Type: text/plain; charset=UTF-8\\n"\n'
    f'"Plural-Forms: {rule_of("ru")}\\n"\n\n'
)
json_values = st.recursive(
    st.one_of(
        phrases, hostile, st.integers(), st.none(), st.just("{n, plural, one {# item} other {# items}}")
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=8,
)
cell = st.one_of(phrases, st.just(""), hostile.map(lambda text: '"' + text.replace('"', '""') + '"'))

GENERATED: dict[DocumentFormat, st.SearchStrategy[str]] = {
    "text": joined(st.one_of(phrases, hostile, phrases.map(lambda text: f"- {text}\n  {text}")), "\n\n"),
    "lines": joined(st.one_of(phrases, hostile), "\n"),
    "markdown": st.tuples(front, joined(markdown_block, "\n\n")).map("".join),
    "html": joined(html_block, "\n"),
    "srt": st.lists(srt_cue, min_size=1, max_size=5).map("".join),
    "vtt": joined(vtt_cue).map(lambda cues: f"WEBVTT\n\nNOTE a comment\n\n{cues}"),
    "po": st.tuples(st.sampled_from(["ru", "de"]), joined(po_entry)).map(
        lambda it: PO_HEADER.replace("Language: ru", f"Language: {it[0]}") + it[1]
    ),
    "json": st.builds(
        lambda value, indent, ascii_only: json.dumps(value, indent=indent, ensure_ascii=ascii_only),
        json_values,
        st.sampled_from([None, 2, "\t"]),
        st.booleans(),
    ),
    "csv": st.lists(st.tuples(cell, cell, cell), max_size=5).map(
        lambda rows: "\n".join(["id,name,text", *map(",".join, rows)]) + "\n"
    ),
    "tsv": st.lists(st.tuples(phrases, phrases, phrases), max_size=5).map(
        lambda rows: "\n".join(["id\tname\ttext", *map("\t".join, rows)])
    ),
}


@pytest.mark.parametrize("format", FORMATS)
@property_test
@given(data=st.data())
def test_identity_gives_the_bytes_back(format: DocumentFormat, data: st.DataObject) -> None:
    text = data.draw(GENERATED[format]).replace("\n", data.draw(line_ends))
    source = data.draw(st.sampled_from([b"", b"\xef\xbb\xbf"])) + text.encode("utf-8", "surrogatepass")

    assert_identity(source, opened(source, format))


@pytest.mark.parametrize("format", FORMATS)
@property_test
@given(data=st.data())
def test_no_translation_changes_the_skeleton(format: DocumentFormat, data: st.DataObject) -> None:
    text = data.draw(GENERATED[format]).replace("\n", data.draw(line_ends))
    document = opened(text.encode("utf-8"), format)

    texts = st.lists(st.one_of(words, hostile), max_size=4)
    new = [translation(segment, data.draw(texts)) for segment in document.segments]

    assert_skeleton(document, document.render(new))


@pytest.mark.parametrize("format", FORMATS)
@property_test
@given(data=st.data())
def test_any_text_at_all_is_written_or_refused(format: DocumentFormat, data: st.DataObject) -> None:
    document = opened(data.draw(GENERATED[format]).encode("utf-8"), format)
    new = [data.draw(st.one_of(anything, hostile)) for _ in document.segments]

    rendering = document.render(new)

    for index, text in enumerate(new):
        assert bool(document.check(index, text)) <= (index in rendering.refused)
    opened(rendering.data, format)


@pytest.mark.parametrize("format", FORMATS)
@property_test
@given(st.one_of(st.binary(max_size=80), hostile.map(str.encode)))
def test_any_bytes_are_a_document_or_an_error(format: DocumentFormat, data: bytes) -> None:
    try:
        document = opened(data, format)
    except (DocumentError, UsageError):
        return
    assert_identity(data, document)


def every_translation(document: Document) -> None:
    """Try texts that are longer, shorter, wide and full of special characters."""
    for text in ("ein *sehr* viel längerer Text [x] & <y> | 1. # -- " * 2, "中文，没有空格。" * 4, "z"):
        new = [translation(segment, [text] * 50) for segment in document.segments]
        assert_skeleton(document, document.render(new))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_files(path: Path) -> None:
    document = open_document(path.read_bytes(), name=path.name, options=OPTIONS)

    assert document.segments
    assert_identity(path.read_bytes(), document)
    every_translation(document)


@pytest.mark.skipif(not CORPUS, reason="GPTCLI_TEST_DOCUMENTS names no folder")
def test_every_file_of_the_corpus() -> None:
    paths = [path for path in sorted(Path(str(CORPUS)).rglob("*")) if path.is_file()]
    assert paths
    for path in paths:
        test_files(path)
