"""Conversations in SQLite: nothing is lost, nothing is overwritten, nobody is locked out."""

from __future__ import annotations

import os
import sqlite3
import stat
import time
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gptcli.engine.api import ModelInfo, Timings, Usage
from gptcli.errors import StorageError, UsageError
from gptcli.sampling import SamplingParams
from gptcli.store.conversations import Conversations
from gptcli.store.records import Attachment, Provenance, derived_title
from tests.stored import chat, texts

# -------------------------------------------------------------------------------------- what is kept


def test_a_conversation_comes_back_as_it_was_written(log: Conversations, log_file: Path) -> None:
    origin = Provenance(model="tiny", model_hash="abc", sampling={"seed": 7, "top_k": 40})
    cid = log.begin("chat", "tiny", system="Be kind.", settings={"ctx_size": 512})
    log.add(
        cid, "user", "Read this: é 你好 \0", [Attachment("a.txt", "one"), Attachment("b.txt", "two")]
    )
    answer = log.add(cid, "assistant", "", provenance=origin)
    usage, timings = Usage(prompt_tokens=9, completion_tokens=2), Timings(prompt_s=0.5, generate_s=1.0)
    log.finish(answer, "Done.", "length", usage, timings, thinking="Hm.")
    log.close()

    with closing(Conversations(log_file)) as again:
        found = again.load(cid)

    asked, answered = found.messages
    assert (found.kind, found.model, found.system) == ("chat", "tiny", "Be kind.")
    assert found.settings == {"ctx_size": 512}
    assert asked.text == "Read this: é 你好 \0"
    assert [(each.name, each.text) for each in asked.attachments] == [("a.txt", "one"), ("b.txt", "two")]
    assert (answered.text, answered.thinking, answered.finish_reason) == ("Done.", "Hm.", "length")
    assert (answered.usage, answered.timings, answered.provenance) == (usage, timings, origin)
    assert not asked.is_unfinished
    assert not answered.is_unfinished


def test_provenance_has_what_repeats_a_run() -> None:
    model = ModelInfo(name="tiny", path="/m.gguf", build="b1", chat_template="{{ x }}")

    origin = Provenance.of(model, SamplingParams(seed=3, temperature=0.0), "hash")

    assert (origin.model_path, origin.model_hash, origin.build) == ("/m.gguf", "hash", "b1")
    assert (origin.sampling["seed"], origin.sampling["temperature"]) == (3, 0.0)
    assert origin.sampling["top_k"] == 40  # llama.cpp's own default, so that a later one changes nothing
    assert len(origin.template_hash) == 64


def test_members_of_a_later_version_are_left_out(log: Conversations, log_file: Path) -> None:
    cid = chat(log, "a", "b")
    with closing(sqlite3.connect(log_file)) as other, other:
        other.execute("""UPDATE messages SET usage = '{"prompt_tokens": 2, "new": 1}'""")

    assert log.load(cid).messages[-1].usage == Usage(prompt_tokens=2)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(codec=None, exclude_categories=())))  # with lone surrogates
def test_any_text_is_kept(log: Conversations, text: str) -> None:
    cid = log.begin("chat", "tiny")

    log.add(cid, "user", text)

    assert texts(log, cid) == [text.encode(errors="replace").decode()]


def test_an_attachment_is_kept_once(log: Conversations, log_file: Path) -> None:
    cid = log.begin("chat", "tiny")
    for _ in range(3):
        log.add(cid, "user", "again", [Attachment("a.txt", "x" * 100_000)])
    log.fork(cid)
    log.close()

    assert log_file.stat().st_size < 250_000


def test_files_are_private_also_where_they_were_not(log_file: Path) -> None:
    log_file.parent.mkdir()
    log_file.touch(mode=0o644)
    before = os.umask(0)
    try:
        with closing(Conversations(log_file)) as log:
            chat(log, "a")
            modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in log_file.parent.iterdir()}
    finally:
        os.umask(before)

    assert modes == {"logs.db": 0o600, "logs.db-wal": 0o600, "logs.db-shm": 0o600}


# --------------------------------------------------------------------------------------------- turns


def test_what_is_taken_back_is_kept_and_marked(log: Conversations) -> None:
    cid = chat(log, "one", "two", "three", "four")
    second = log.load(cid).messages[1].id

    log.remove_after(cid, second)
    log.add(cid, "user", "five")

    assert texts(log, cid) == ["one", "two", "five"]
    kept = log.load(cid, with_removed=True).messages
    assert [(each.text, each.is_removed) for each in kept[2:4]] == [("three", True), ("four", True)]


def test_a_fork_goes_its_own_way(log: Conversations) -> None:
    cid = chat(log, "one", "two", "three")
    log.remove_after(cid, log.load(cid).messages[1].id)
    first = log.load(cid).messages[0]

    fork, whole = log.fork(cid, first.id), log.fork(cid)
    log.add(fork, "user", "other")

    assert texts(log, fork) == ["one", "other"]
    assert texts(log, whole) == ["one", "two"]
    assert texts(log, cid) == ["one", "two"]
    assert log.load(fork).forked_from == cid


def test_a_continued_answer_is_unfinished_until_it_ends(log: Conversations) -> None:
    cid = chat(log, "one", "two")
    answer = log.load(cid).messages[1].id

    log.reopen(answer)
    log.grow(answer, "two and")
    log.flush()
    growing_answer = log.load(cid).messages[1]
    log.finish(answer, "two and a half", "stop")

    assert (growing_answer.text, growing_answer.is_unfinished) == ("two and", True)
    assert not log.load(cid).messages[1].is_unfinished


def test_ids_are_in_the_order_of_time_also_where_the_clock_goes_back(
    log: Conversations, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([1.8e9, 1.8e9, 1.7e9, 1.9e9])
    monkeypatch.setattr(time, "time", lambda: next(clock))

    cids = [log.begin("chat", "tiny") for _ in range(4)]

    assert cids == sorted(set(cids))
    assert {len(cid) for cid in cids} == {8}


def test_the_last_one_is_the_one_last_written_to(log: Conversations) -> None:
    assert log.last() is None
    first, second = chat(log, "a"), chat(log, "b")
    log.begin("chat", "tiny")  # killed before its first message: it is no conversation
    assert log.last() == second

    log.add(first, "user", "again")
    run = log.begin("generate", "tiny")
    log.add(run, "user", "x")

    assert (log.last(), log.last("generate"), log.last(None)) == (first, run, run)


def test_a_name_is_the_beginning_of_an_id_or_a_title(log: Conversations) -> None:
    first, second = chat(log, "what is red?"), chat(log, "what is blue?")
    log.rename(second, "colours")

    assert log.resolve(first) == first
    assert log.resolve(first.upper()) == first
    assert log.resolve("colours") == second
    with pytest.raises(UsageError, match=rf"may be {second} \(colours\), {first} \(what is red\?\)"):
        log.resolve(first[:4])
    for nothing in ("", "zzzz", "%", "colour"):
        with pytest.raises(UsageError, match="there is no conversation"):
            log.resolve(nothing)


def test_titles_are_how_the_first_message_begins() -> None:
    assert derived_title("  one\n two ") == "one two"
    assert derived_title("word " * 30) == "word " * 10 + "word…"
    assert len(derived_title("字" * 100)) == 60


def test_what_a_chat_is_held_with_can_change(log: Conversations) -> None:
    cid = chat(log, "a")

    log.set_model(cid, "larger")
    log.set_system(cid, "Be brief.")
    log.set_settings(cid, {"temperature": 0})

    found = log.load(cid)
    assert (found.model, found.system, found.settings) == ("larger", "Be brief.", {"temperature": 0})


def test_a_chat_deleted_by_another_process_is_told(log: Conversations) -> None:
    cid = chat(log, "a", "b")
    answer = log.load(cid).messages[1].id
    log.delete([cid])

    log.grow(answer, "more")
    log.flush()
    with pytest.raises(StorageError, match="no longer there"):
        log.finish(answer, "more", "stop")
    with pytest.raises(StorageError, match="no longer there"):
        log.add(cid, "user", "hello?")
    with pytest.raises(UsageError, match="there is no conversation"):
        log.load(cid)


def test_what_is_deleted_is_gone_from_the_disk(log: Conversations, log_file: Path) -> None:
    kept = chat(log, "a keepsake")
    cid = log.begin("chat", "tiny", system="quetzal in the system prompt")
    log.add(cid, "user", "quetzalcoatl " * 500, [Attachment("q", "quetzal " * 200_000)])
    assert [each.id for each, _ in log.search("quetzalcoatl")] == [cid]

    assert log.delete([cid, "nothing"]) == 1

    left = b"".join(each.read_bytes() for each in log_file.parent.iterdir())
    assert b"keepsake" in left
    for trace in (b"quetzal", b"zal", b"zalco"):
        assert trace not in left
    assert texts(log, kept) == ["a keepsake"]
    assert log_file.stat().st_size < 200_000
