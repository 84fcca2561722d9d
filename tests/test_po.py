"""gettext files that are translated into another language than their own."""

from __future__ import annotations

import pytest

from gptcli.documents.document import Document
from gptcli.documents.formats import DocumentOptions, open_document
from gptcli.documents.plurals import rule_of
from gptcli.documents.po import is_same_language

GERMAN = """\
# The translators
msgid ""
msgstr ""
"Project-Id-Version: x\\n"
"Language: de\\n"
"Last-Translator: Ann <a@b.c>\\n"
"Plural-Forms: nplurals=2; "
"plural=(n != 1);\\n"
"X-Domain: app\\n"

#: a.py:1
msgctxt "menu"
msgid "Open"
msgstr "Öffnen"

#: a.py:2
#, fuzzy, python-format
#| msgid "%d line"
msgid "%d file"
msgid_plural "%d files"
msgstr[0] "%d Zeile"
msgstr[1] "%d Zeilen"

#: a.py:3
msgid "Close"
msgstr "Schließen"

msgid "%s"
msgstr "%s"

#~ msgid "gone"
#~ msgstr "weg"
"""


def opened(text: str, language: str, *, all_entries: bool = False) -> Document:
    options = DocumentOptions(target_language=language, all_entries=all_entries)
    return open_document(text.encode(), "po", options=options)


def test_a_file_of_another_language_is_translated_whole() -> None:
    document = opened(GERMAN, "fr")

    assert [(each.text, each.context, each.present) for each in document.segments] == [
        ("Open", "menu", None),
        ("%d file", "", None),
        ("%d files", "", None),
        ("Close", "", None),
    ]
    text = document.render(["Ouvrir", "%d fichier", "%d fichiers", "Fermer"]).data.decode()
    expected = (
        GERMAN.replace("Öffnen", "Ouvrir")
        .replace("Zeilen", "fichiers")
        .replace("Zeile", "fichier")
        .replace("Schließen", "Fermer")
        .replace("fuzzy, ", "")
        .replace('#| msgid "%d line"\n', "")
        .replace("Language: de", "Language: fr")
        .replace('nplurals=2; "\n"plural=(n != 1)', "nplurals=2; plural=(n > 1)")
    )
    assert text == expected


def test_a_message_without_a_translation_keeps_none_of_another_language() -> None:
    document = opened(GERMAN, "ja")

    rendering = document.render({0: "開く", 1: "ファイル"})  # the second lost its %d

    text = rendering.data.decode()
    assert rendering.refused == {1: "missing: %d"}
    assert '#: a.py:2\n#, python-format\nmsgid "%d file"' in text
    assert 'msgid_plural "%d files"\nmsgstr[0] ""\n\n' in text
    assert 'msgid "Close"\nmsgstr ""\n' in text
    assert 'msgid "%s"\nmsgstr "%s"\n' in text
    assert "msgstr[1]" not in text
    assert '#~ msgid "gone"\n#~ msgstr "weg"\n' in text


def test_nothing_translated_is_nothing_changed() -> None:
    assert opened(GERMAN, "fr").render({}).data == GERMAN.encode()


@pytest.mark.parametrize("language", ["de", "de-AT"])
def test_a_file_of_the_target_language_keeps_what_it_has(language: str) -> None:
    document = opened(GERMAN, language)

    assert [each.text for each in document.segments] == ["%d file", "%d files"]
    text = document.render(["%d Datei", "%d Dateien"], doubtful=[1]).data.decode()
    assert '"Language: de\\n"' in text
    assert '#, fuzzy, python-format\nmsgid "%d file"' in text
    assert 'msgstr "Öffnen"' in text


@pytest.mark.parametrize("language", ["ar", "de", "fr", "ja", "pl", "ru"])
def test_every_plural_form_of_the_target_is_there(language: str) -> None:
    document = opened(GERMAN, language, all_entries=True)

    text = document.render([f"x {each.text}" for each in document.segments]).data.decode()

    count = rule_of(language).count
    assert [f"msgstr[{n}]" in text for n in range(7)] == [n < count for n in range(7)]
    again = opened(text, language, all_entries=True)
    assert again.skeleton == document.skeleton
    assert len([each for each in again.segments if each.plural]) == count


@pytest.mark.parametrize(
    ("header", "fields"),
    [
        ('"Language: \\n"', '"Language: pl\\n"\n"Plural-Forms: {rule}\\n"'),
        (
            '"A: b\\nLanguage: de\\nC: d\\n"',
            '"A: b\\nLanguage: pl\\nC: d\\n"\n"Plural-Forms: {rule}\\n"',
        ),
        ('"A: b\\n"', '"A: b\\n"\n"Language: pl\\n"\n"Plural-Forms: {rule}\\n"'),
        (
            '"Plural-Forms: nplurals=INTEGER; plural=EXPRESSION;\\n"\n"A: b\\n"',
            '"Plural-Forms: {rule}\\n"\n"A: b\\n"\n"Language: pl\\n"',
        ),
        # Two forms of nobody knows which language are not the target's.
        (
            '"Plural-Forms: nplurals=2; plural=(n != 1);\\n"',
            '"Plural-Forms: {rule}\\n"\n"Language: pl\\n"',
        ),
    ],
)
def test_the_header_names_the_language_and_its_plural_forms(header: str, fields: str) -> None:
    body = '\n\nmsgid "Open"\nmsgstr ""\n'
    begin = 'msgid ""\nmsgstr ""\n'
    document = opened(begin + header + body, "pl")

    text = document.render(["Otwórz"]).data.decode()

    assert text == begin + fields.format(rule=rule_of("pl")) + body.replace(
        'msgstr ""', 'msgstr "Otwórz"'
    )
    assert opened(text, "pl", all_entries=True).skeleton == document.skeleton


@pytest.mark.parametrize(
    ("locale", "tag", "same"),
    [
        ("zh_TW", "zh-Hant", True),
        ("zh_TW", "zh", False),
        ("zh_CN", "zh-Hans", True),
        ("sr@latin", "sr-Latn", True),
        ("sr", "sr-Latn", False),
        ("pt_BR", "pt", True),
        ("tlh", "tlh", True),
        ("x_unknown", "de", False),
    ],
)
def test_locales_are_languages_in_scripts(locale: str, tag: str, same: bool) -> None:
    assert is_same_language(locale, tag) is same


def test_the_language_is_written_as_a_locale() -> None:
    text = opened(GERMAN, "zh-Hant").render({0: "開啟"}).data.decode()

    assert '"Language: zh_TW\\n"' in text
