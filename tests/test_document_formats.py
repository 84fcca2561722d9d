"""What each format hands to a translator, and how translations are written."""

from __future__ import annotations

import gettext
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from gptcli.documents.document import Document, DocumentError
from gptcli.documents.formats import DocumentFormat, DocumentOptions, detect_format, open_document
from gptcli.documents.plurals import RULES, PluralRule, rule_in, rule_of
from gptcli.documents.segments import check_placeholders
from gptcli.errors import UsageError


def opened(text: str, format: DocumentFormat, **options: Any) -> Document:
    return open_document(text.encode(), format, options=DocumentOptions(**options))


def texts(document: Document) -> list[str]:
    return [segment.text for segment in document.segments]


def rendered(
    document: Document, new: Mapping[int, str] | Sequence[str | None], **more: Sequence[int]
) -> str:
    rendering = document.render(new, **more)
    assert dict(rendering.refused) == {}
    return rendering.data.decode()


@pytest.mark.parametrize(
    ("name", "text", "format"),
    [
        ("a.MD", "", "markdown"),
        ("a.pot", "", "po"),
        ("", "WEBVTT\n\n", "vtt"),
        ("", "1\n00:00:01,000 --> 00:00:02,000\nx\n", "srt"),
        ("", "<!DOCTYPE html>\n<p>", "html"),
        ("", '# c\nmsgid ""\nmsgstr ""\n', "po"),
        ("notes", "# not Markdown by its text", "text"),
    ],
)
def test_auto_detects_by_name_then_by_text(name: str, text: str, format: str) -> None:
    assert detect_format(text, name) == format


# -------------------------------------------------------------------------------------- placeholders


def test_placeholders_are_counted_back() -> None:
    segment = opened('{"a": "Hi {{name}}, see <b>all</b> %d files"}', "json").segments[0]

    assert segment.text == "Hi {{name}}, see <b>all</b> %d files"
    assert not check_placeholders(segment, "{{name}}: <b>alle</b> %d Dateien")
    assert check_placeholders(segment, "<b>alle</b> %d").missing == ("{{name}}",)
    assert check_placeholders(segment, "{{name}} {{name}} <b>alle</b> %d").duplicated == ("{{name}}",)
    assert check_placeholders(segment, "{{name}} <b>alle</b> %d %s").invented == ("%s",)
    assert check_placeholders(segment, "{{name}} </b>alle<b> %d").misplaced == ("</b>",)
    assert str(check_placeholders(segment, "%d <b></b>")) == "missing: {{name}}"


def test_unnamed_conversions_keep_their_order() -> None:
    segment = opened('{"a": "%s of %d in %(place)s"}', "json").segments[0]

    assert check_placeholders(segment, "%d von %s in %(place)s").misplaced == ("%d", "%s")
    assert not check_placeholders(segment, "in %(place)s: %s von %d")


def test_a_faulty_translation_keeps_the_source_and_is_named() -> None:
    document = opened("Run `make` now.\n\nThen go.\n", "markdown")

    rendering = document.render(["Los.", "Geh."])

    assert rendering.data == b"Run `make` now.\n\nGeh.\n"
    assert rendering.refused == {0: "missing: `make`"}
    assert document.check(0, " \n").markup == "it is empty"


# ------------------------------------------------------------------------------------------ Markdown


MARKDOWN = """\
---
title: A page
layout: wide
---
# Head [link](a.md "Tip") {#id}

Some **bold** text with `code` and
a second line, ![alt text](i.png).

> Quoted words that go on
> in a second line.

- [ ] task one
- see [Install][] and [^1]

| Name | `x\\|y` |
|------|--------|
| cell | a \\| b |

```sh
echo text
```

<div align="center">
  <img src="a" alt="logo here">
</div>

[^1]: A note.

[Install]: install.md
"""


def test_markdown_segments() -> None:
    document = opened(MARKDOWN, "markdown")

    assert [(segment.kind, segment.text) for segment in document.segments] == [
        ("value", "A page"),
        ("attribute", "Tip"),
        ("heading", "Head <1>link</1>"),
        ("attribute", "alt text"),
        ("paragraph", "Some **bold** text with `code` and a second line, <3/>."),
        ("paragraph", "Quoted words that go on in a second line."),
        ("item", "task one"),
        ("item", "see <1>Install</1> and [^1]"),
        ("cell", "Name"),
        ("cell", "cell"),
        ("cell", "a | b"),
        ("attribute", "logo here"),
        ("paragraph", "A note."),
    ]


def test_markdown_is_written_in_place() -> None:
    document = opened(MARKDOWN, "markdown")
    new = {
        0: "Seite: eins",
        1: 'Ein "Tipp"',
        5: "Zitierte Worte, die sehr lange weitergehen, bis sie nicht mehr passen",
        7: "<1>Einbau</1>, siehe [^1]",
        10: "a | b | c",
    }

    text = rendered(document, new)

    assert 'title: "Seite: eins"\nlayout: wide\n' in text
    assert '[link](a.md "Ein \\"Tipp\\"") {#id}' in text
    assert "> Zitierte Worte, die\n> sehr lange weitergehen,\n> bis sie nicht mehr\n> passen\n" in text
    assert "- [Einbau][Install], siehe [^1]\n" in text  # its own text named the link
    assert "| cell | a \\| b \\| c |\n" in text


@pytest.mark.parametrize(
    ("source", "new", "written"),
    [
        ("Plain words\n", "2 * 3 = 6, snake_case", "2 * 3 = 6, snake_case\n"),
        ("Plain words\n", "ein *Wort*", "ein \\*Wort\\*\n"),
        ("Plain words\n", "<b>fett</b>", "\\<b>fett\\</b>\n"),
        ("Plain words\n", "# Kopf", "\\# Kopf\n"),
        ("> A break  \n> here\\\n> now\n", "Ein<1/>Bruch<2/>jetzt", "> Ein  \n> Bruch\\\n> jetzt\n"),
        ("Well :smile: done\n", "Gut gemacht :smile:", "Gut gemacht :smile:\n"),
        ("Plain words\n", "1. Punkt", "1\\. Punkt\n"),
        ("Plain words\n", "a\n\nb", "a b\n"),
        ("2 \\* 3 &amp; more\n", "2 * 4 & mehr", "2 * 4 & mehr\n"),
        ("> See [a](\n> b.md) and `c\n> d` too\n", "<2/> <1>A</1>", "> `c\n> d` [A](\n> b.md)\n"),
        ("This is **“bold”** here\n", "这是**“粗体”**的", "这是 **“粗体”** 的\n"),
    ],
)
def test_markdown_escapes_no_more_than_it_takes(source: str, new: str, written: str) -> None:
    assert rendered(opened(source, "markdown"), [new]) == written


# ---------------------------------------------------------------------------------------------- HTML


def test_html_segments_and_entities() -> None:
    document = opened(
        '<!doctype html><title>A &amp; B</title><p title="tip it">Go&nbsp;to <a href="x" title="T x">the'
        "\n  page</a> or <code>f(x)</code>.</p><p translate=no>kept</p><ul><li>one<li>two</ul>"
        '<script>var text = "no"</script><!-- no --><input type=submit value=Send><meta name=description'
        ' content="About us">',
        "html",
    )

    assert [(segment.kind, segment.text) for segment in document.segments] == [
        ("heading", "A & B"),
        ("attribute", "tip it"),
        ("attribute", "T x"),
        ("paragraph", "Go\u00a0to <1>the page</1> or <code>f(x)</code>."),
        ("item", "one"),
        ("item", "two"),
        ("attribute", "Send"),
        ("attribute", "About us"),
    ]
    text = rendered(
        document, {0: "A < B", 2: 'Das "T"', 3: "Zur\u00a0<1>Seite</1>, <code>f(x)</code>.", 6: "Ab"}
    )
    assert "<title>A &lt; B</title>" in text
    assert 'Zur&nbsp;<a href="x" title="Das &quot;T&quot;">Seite</a>,\n  <code>f(x)</code>.</p>' in text
    assert 'value="Ab"' in text


@pytest.mark.parametrize(
    ("source", "texts_found"),
    [
        ('<p>First\n<div>Second <a href="x>third</a></div>', ["First", "Second"]),
        ("<p>First\n<!-- no end <p>Second</p>", ["First"]),
    ],
)
def test_html_without_an_end_is_kept_from_there_on_and_said(source: str, texts_found: list[str]) -> None:
    document = opened(source, "html")

    assert texts(document) == texts_found
    assert document.notices == ("line 2: a tag or a comment without an end is kept as it is",)
    text = rendered(document, ["x < y"] * len(texts_found))
    assert text.endswith(source[source.index("<", source.index("\n") + 6) :])


# ----------------------------------------------------------------------------------------- subtitles


def test_subtitles_are_joined_and_reflowed() -> None:
    document = opened(
        "1\n00:00:01,000 --> 00:00:02,000 X1:40\n{\\an8}<i>We go on\nuntil the end.</i>\n\n"
        "2\n00:00:03,000 --> 00:00:04,000\n- Who?\n- Me.\n",
        "srt",
    )

    assert texts(document) == ["We go on until the end.", "Who?", "Me."]
    text = rendered(document, ["Wir machen immer weiter, bis es vorbei ist.", "Wer?", "Ich."])
    assert "{\\an8}<i>Wir machen immer weiter,\nbis es vorbei ist.</i>\n" in text
    assert "- Wer?\n- Ich.\n" in text


def test_two_sentences_take_a_line_each() -> None:
    document = opened("WEBVTT\n\n00:01.000 --> 00:02.000\nI don't think so.\nYou?\n", "vtt")

    assert rendered(document, ["Das glaube ich eher nicht. Du?"]).endswith(
        "\nDas glaube ich eher nicht.\nDu?\n"
    )


def test_a_cue_that_is_too_long_takes_more_lines_of_the_width() -> None:
    document = opened("1\n00:00:01,000 --> 00:00:02,000\nShort one.\n", "srt")

    *_, one, two, three = rendered(document, ["wort " * 24]).splitlines()

    assert max(map(len, (one, two, three))) <= 42


def test_webvtt_keeps_what_is_no_cue() -> None:
    source = (
        "WEBVTT - title\n\nSTYLE\n::cue { color: red }\n\nNOTE a note\n\nname\n"
        "00:01.000 --> 00:02.000 line:0\n"
        "<v Ann>Salt &amp; <c.x>pepper</c> <00:01.500>now\n\nNOTE\n00:01 is no time\n"
    )
    document = opened(source, "vtt")

    assert texts(document) == ["Salt & <c.x>pepper</c> <00:01.500>now"]
    assert "<v Ann><00:01.500>A &lt; <c.x>B</c>\n" in rendered(document, ["<00:01.500>A < <c.x>B</c>"])


def test_a_broken_timing_is_kept_and_said() -> None:
    good = "1\n00:00:01,000 --> 00:00:02,000\none\n\n"
    document = opened(f"{good}2\n00:00:0x,000 --> 00:00:04,000\ntwo\n\n{good}", "srt")

    assert texts(document) == ["one", "one"]
    assert document.notices == ("line 6: a timing that is broken is kept as it is",)


def test_a_cue_without_a_timing_is_kept_and_said() -> None:
    good = "1\n00:00:01,000 --> 00:00:02,000\none\n\n"
    document = opened(f"{good}2\ntwo\n\n{good}", "srt")

    assert texts(document) == ["one", "one"]
    assert document.notices == ("line 5: a cue without a timing is kept as it is",)


# ----------------------------------------------------------------------------------------------- PO


PO = """\
msgid ""
msgstr ""
"Content-Type: text/plain; charset=CHARSET\\n"

#. What the button says
#: a.py:1
msgctxt "button"
msgid "Open"
msgstr ""

#, fuzzy, c-format
#| msgid "%d line"
msgid "%d file"
msgid_plural "%d files"
msgstr[0] "%d Zeile"
msgstr[1] "%d Zeilen"

msgid "Done"
msgstr "Fertig"

#~ msgid "gone"
#~ msgstr "weg"
"""


def test_po_segments_and_plural_forms_of_the_target() -> None:
    document = opened(PO, "po", target_language="pl")
    button, one, few, many = document.segments

    assert (button.text, button.context, button.notes) == ("Open", "button", ("What the button says",))
    assert [(each.text, each.plural.examples) for each in (one, few, many) if each.plural] == [
        ("%d file", (1,)),
        ("%d files", (2, 3, 4, 22)),
        ("%d files", (0, 5, 6, 7)),
    ]
    text = rendered(document, ['Otwórz "to"', "plik", "%d pliki", "%d plików"])
    assert 'msgid "Open"\nmsgstr "Otwórz \\"to\\""\n' in text
    assert (
        '#, c-format\nmsgid "%d file"\nmsgid_plural "%d files"\n'
        'msgstr[0] "plik"\nmsgstr[1] "%d pliki"\nmsgstr[2] "%d plików"\n'
    ) in text
    assert 'charset=UTF-8\\n"\n"Language: pl\\n"\n"Plural-Forms: nplurals=3; plural=(n==1 ' in text
    assert '#~ msgid "gone"\n' in text


def test_po_marks_doubtful_entries_as_fuzzy() -> None:
    document = opened(PO, "po")

    text = rendered(document, {0: "Auf"}, doubtful=[0])

    assert '#: a.py:1\n#, fuzzy\nmsgctxt "button"\nmsgid "Open"\nmsgstr "Auf"\n' in text


def test_po_writes_a_plural_entry_whole_or_not_at_all() -> None:
    document = opened(PO, "po", target_language="pl")

    rendering = document.render({1: "%d plik"})

    assert rendering.refused == {1: "another plural form has no translation"}
    assert b'#, fuzzy, c-format\n#| msgid "%d line"\n' in rendering.data
    assert b'msgstr[0] "%d Zeile"\nmsgstr[1] "%d Zeilen"\n\n' in rendering.data


def test_po_all_entries_on_demand() -> None:
    assert "Done" not in texts(opened(PO, "po"))
    assert opened(PO, "po", all_entries=True).segments[-1].present == "Fertig"


@pytest.mark.parametrize(("count", "expression", "languages"), RULES)
def test_plural_rules_have_an_example_of_each_form(count: int, expression: str, languages: str) -> None:
    assert all(form.examples for form in PluralRule(count, expression).forms)
    assert max(gettext.c2py(expression)(n) for n in range(1000)) == count - 1
    assert rule_of(languages.split()[0]).expression == expression


def test_plural_rules_by_tag_and_header() -> None:
    assert rule_of("pt-BR").expression == "(n > 1)"
    assert rule_of("zh-Hans-CN").count == 1
    assert rule_of("tlh").count == 2
    assert rule_in("Plural-Forms: nplurals=2; plural=n>1;\n") == PluralRule(2, "n>1")
    assert rule_in("Plural-Forms: nplurals=INTEGER; plural=EXPRESSION;\n") is None
    assert rule_in("Plural-Forms: nplurals=1; plural=n%0;\n") is None


# ---------------------------------------------------------------------------------------------- JSON


def test_json_keeps_keys_order_indentation_and_escapes() -> None:
    source = (
        '{\r\n\t"a" : {"b": ["One \\u2013 two", 3, null, "http://x.y", "#fff", "snake_case", "A_KEY",'
        ' "1.5em", "pt-BR"]}'
        ',\r\n\t"c":"A\\/B x"}'
    )
    document = opened(source, "json")

    assert [(each.context, each.text) for each in document.segments] == [
        ("a.b.0", "One – two"),
        ("c", "A/B x"),
    ]
    expected = source.replace("One \\u2013 two", 'Eins \\u2013 \\"zwei\\"').replace("A\\/B x", "C\\/D")
    assert rendered(document, ['Eins – "zwei"', "C/D"]) == expected


def test_json_icu_messages_keep_their_arguments() -> None:
    source = '{"a": "You have {n, plural, =0 {no files} one {# file} other {# files}} here"}'
    document = opened(source, "json")
    segment = document.segments[0]

    new = "Vous avez {n, plural, =0 {l'} one {# fichier} other {# fichiers}} ici"
    assert rendered(document, [new]) == source.replace(segment.text, new.replace("l'", "l''"))
    assert check_placeholders(segment, segment.text.replace("one {", "")).missing
    assert document.check(0, segment.text.replace("here", "} x")).markup


def test_json_icu_forms_may_be_one_word() -> None:
    document = opened('{"a": "{g, select, male {He} other {They}} saw {n}"}', "json")

    new = "{g, select, male {Il} other {Ils}} {n} gesehen"
    assert rendered(document, [new]) == '{"a": "' + new + '"}'
    assert check_placeholders(document.segments[0], new + " {m}").invented == ("{m}",)
    assert check_placeholders(document.segments[0], new.replace("{n}", "")).missing == ("{n}",)


def test_json_of_extensions_and_of_flutter() -> None:
    extension = '{"greet": {"message": "Hello $NAME$", "description": "A greeting", "placeholders": {}}}'
    flutter = '{"@@locale": "en", "hi": "Hi there", "@hi": {"description": "Short"}}'

    assert [(each.text, each.notes) for each in opened(extension, "json").segments] == [
        ("Hello $NAME$", ("A greeting",))
    ]
    assert [(each.text, each.notes) for each in opened(flutter, "json").segments] == [
        ("Hi there", ("Short",))
    ]


# ----------------------------------------------------------------------------------------- CSV, text


def test_csv_keeps_quoting_and_line_ends() -> None:
    document = opened(
        'id;text;note\r\n1;"Good ""day""";x y\r\n2;Two words;\r\n', "csv", columns=["text"]
    )

    assert texts(document) == ['Good "day"', "Two words"]
    text = rendered(document, ['"Tag"', "Zwei; Worte"])
    assert text == 'id;text;note\r\n1;"""Tag""";x y\r\n2;"Zwei; Worte";\r\n'


def test_csv_columns_that_hold_prose() -> None:
    document = opened("id,sku,text\n1,ab,Some words here\n2,cd,More of them\n", "csv")

    assert document.notices == ("columns that hold prose: text",)
    with pytest.raises(UsageError, match='no column "name"'):
        opened("id,text\n", "csv", columns=["name"])


def test_wrapped_text_is_joined_and_wrapped_again() -> None:
    source = (
        "  The first line of this paragraph is about as long\n"
        "  as the second one, and the third ends it\n"
        "  here.\n\nA list:\n- one\n- two\n\nVerse one\nverse two\n"
    )
    document = opened(source, "text")

    assert texts(document)[0].endswith("as long as the second one, and the third ends it here.")
    assert texts(document)[1:] == ["A list:", "one", "two", "Verse one", "verse two"]
    lines = rendered(document, {0: "wort " * 15}).splitlines()
    assert [len(line) for line in lines[:2]] == [51, 26]
    assert lines[:2] == ["  " + "wort " * 9 + "wort"[:4], "  " + ("wort " * 5).strip()]


# ------------------------------------------------------------------------------------------- broken


@pytest.mark.parametrize(
    ("format", "text", "line", "message"),
    [
        ("srt", "\nhello\n", 2, "there is no timing, as in 00:00:01,000 --> 00:00:02,000"),
        ("vtt", "hello\n", 1, "it does not begin with WEBVTT"),
        ("po", 'msgid "a"\nmsgstr "b\n', 2, "a string is not closed, or something follows it"),
        ("po", 'msgid "a"\n\nhello\n', 3, "neither a keyword nor a string"),
        ("po", 'msgid "a"\n', 2, "an entry has no msgstr"),
        ("json", '{\n"a": "b"\n"c": 1}', 3, "Expecting ',' delimiter, column 1"),
        ("json", "[" * 100_000, 1, "it is nested too deeply"),
        ("csv", 'a,b\n1,"x\n', 2, "a quote is not closed, or something follows it"),
    ],
)
def test_a_broken_file_is_an_error_with_its_line(
    format: DocumentFormat, text: str, line: int, message: str
) -> None:
    with pytest.raises(DocumentError) as caught:
        opened(text, format)

    assert caught.value.message == f"the input is not {format}: {message} (line {line})"
    assert caught.value.details == {"line": line}
