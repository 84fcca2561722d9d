"""Search in what is logged: any script, parts of words, with an index or without one."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gptcli.errors import UsageError
from gptcli.store import fulltext
from gptcli.store.conversations import Conversations
from tests.stored import chat


def test_search_finds_any_script_and_parts_of_words(log: Conversations) -> None:
    chinese = chat(log, "我想去北京看长城", "长城很长。")
    german = chat(log, "Wo liegt Österreich?", "In Europa; ẞ and ß.")
    arabic = chat(log, "ما هي عاصمة مصر؟")
    quoted = chat(log, 'He said "never again" twice.')

    def found(query: str) -> list[str]:
        return [each.id for each, _ in log.search(query)]

    assert found("北京") == [chinese]  # two characters
    assert found("城") == [chinese]
    assert found("看长城") == [chinese]
    assert found("ÖSTERR") == [german]
    assert found("ö") == [german]
    assert found("عاصمة") == [arabic]
    assert found('"said "never') == [quoted]
    assert found('"never again"') == [quoted]
    assert found("again never") == [quoted]
    assert found("never gone") == []
    assert found("100% *") == []
    assert found("AND OR NOT") == []
    with pytest.raises(UsageError, match="nothing to search for"):
        log.search(' "" ')


def test_search_sees_what_was_changed_since(log: Conversations) -> None:
    cid = chat(log, "one", "lighthouse")
    assert [excerpt for _, excerpt in log.search("light")] == ["lighthouse"]

    answer = log.load(cid).messages[1].id
    log.finish(answer, "darkness", "stop")

    assert log.search("lighthouse") == []
    assert [each.id for each, _ in log.search("darkness", "chat", limit=1)] == [cid]
    assert log.search("darkness", "generate") == []


def test_an_excerpt_shows_the_word_found() -> None:
    text = "x " * 300 + "the lighthouse\nkeeper " + "y " * 300

    excerpt = fulltext.excerpt(text, ["lighthouse"])

    assert "the lighthouse keeper" in excerpt
    assert excerpt.startswith("…x")
    assert excerpt.endswith("…")
    assert len(excerpt) < 170


def test_search_without_fts5_reads_all_texts(
    log: Conversations, monkeypatch: pytest.MonkeyPatch
) -> None:
    indexed = chat(log, "the old lighthouse")
    assert log.search("lighthouse")  # by the index of a SQLite that has FTS5
    later = chat(log, "a new LIGHTHOUSE")
    monkeypatch.setattr(fulltext, "update_index", lambda connection: None)
    monkeypatch.setattr(fulltext, "_has_index", lambda connection: False)

    assert [each.id for each, _ in log.search("lighthouse")] == [later, indexed]
    assert log.delete([indexed]) == 1


def test_a_damaged_index_is_made_anew(log: Conversations, log_file: Path) -> None:
    cid = chat(log, "the old lighthouse")
    assert log.search("lighthouse")
    with closing(sqlite3.connect(log_file)) as other, other:
        other.execute("DELETE FROM messages_index_data")

    assert [each.id for each, _ in log.search("lighthouse")] == [cid]
    assert not log.notices


words = st.text(st.sampled_from("abcAB äÖ北京路\"'%_*\n"), max_size=12)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(words, min_size=1, max_size=5), words)
def test_search_finds_what_reading_all_texts_finds(
    log: Conversations, kept: list[str], query: str
) -> None:
    log.delete([each.id for each in log.summaries()])
    for text in kept:
        chat(log, text)
    asked = fulltext.words_of(query)
    if not asked:
        return

    found = log.search(query)

    expected = [text for text in kept if all(word in text.casefold() for word in asked)]
    assert len(found) == len(expected)
