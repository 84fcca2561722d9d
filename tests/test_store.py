"""Conversations in SQLite: nothing is lost, nothing is overwritten, nobody is locked out."""

from __future__ import annotations

import os
import random
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gptcli.engine.api import ModelInfo, Timings, Usage
from gptcli.errors import StorageError, UsageError
from gptcli.sampling import SamplingParams
from gptcli.store import fulltext, growing, schema
from gptcli.store.conversations import Conversations
from gptcli.store.records import Attachment, Provenance, derived_title

WRITER = Path(__file__).with_name("growing_answer.py")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "logs.db"


@pytest.fixture
def log(path: Path) -> Iterator[Conversations]:
    log = Conversations(path)
    yield log
    log.close()


def chat(log: Conversations, *texts: str) -> str:
    """Keep a chat: what the user says and what is answered, in turns."""
    cid = log.begin("chat", "tiny")
    for number, text in enumerate(texts):
        message = log.add(cid, "assistant" if number % 2 else "user", text)
        if number % 2:
            log.finish(message, text, "stop")
    return cid


def texts(log: Conversations, cid: str) -> list[str]:
    return [message.text for message in log.load(cid).messages]


# ------------------------------------------------------------------------------------ what is kept


def test_a_conversation_comes_back_as_it_was_written(log: Conversations, path: Path) -> None:
    origin = Provenance(model="tiny", model_hash="abc", sampling={"seed": 7, "top_k": 40})
    cid = log.begin("chat", "tiny", system="Be kind.", settings={"ctx_size": 512})
    log.add(
        cid, "user", "Read this: é 你好 \0", [Attachment("a.txt", "one"), Attachment("b.txt", "two")]
    )
    answer = log.add(cid, "assistant", "", provenance=origin)
    usage, timings = Usage(prompt_tokens=9, completion_tokens=2), Timings(prompt_s=0.5, generate_s=1.0)
    log.finish(answer, "Done.", "length", usage, timings, thinking="Hm.")
    log.close()

    with closing(Conversations(path)) as again:
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


def test_members_of_a_later_version_are_left_out(log: Conversations, path: Path) -> None:
    cid = chat(log, "a", "b")
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("""UPDATE messages SET usage = '{"prompt_tokens": 2, "new": 1}'""")

    assert log.load(cid).messages[-1].usage == Usage(prompt_tokens=2)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(codec=None, exclude_categories=())))  # with lone surrogates
def test_any_text_is_kept(log: Conversations, text: str) -> None:
    cid = log.begin("chat", "tiny")

    log.add(cid, "user", text)

    assert texts(log, cid) == [text.encode(errors="replace").decode()]


def test_an_attachment_is_kept_once(log: Conversations, path: Path) -> None:
    cid = log.begin("chat", "tiny")
    for _ in range(3):
        log.add(cid, "user", "again", [Attachment("a.txt", "x" * 100_000)])
    log.fork(cid)
    log.close()

    assert path.stat().st_size < 250_000


def test_files_are_private_also_where_they_were_not(path: Path) -> None:
    path.parent.mkdir()
    path.touch(mode=0o644)
    before = os.umask(0)
    try:
        with closing(Conversations(path)) as log:
            chat(log, "a")
            modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()}
    finally:
        os.umask(before)

    assert modes == {"logs.db": 0o600, "logs.db-wal": 0o600, "logs.db-shm": 0o600}


# ----------------------------------------------------------------------------------------- turns


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


def test_what_is_deleted_is_gone_from_the_disk(log: Conversations, path: Path) -> None:
    kept = chat(log, "a keepsake")
    cid = log.begin("chat", "tiny", system="quetzal in the system prompt")
    log.add(cid, "user", "quetzalcoatl " * 500, [Attachment("q", "quetzal " * 200_000)])
    assert [each.id for each, _ in log.search("quetzalcoatl")] == [cid]

    assert log.delete([cid, "nothing"]) == 1

    left = b"".join(each.read_bytes() for each in path.parent.iterdir())
    assert b"keepsake" in left
    for trace in (b"quetzal", b"zal", b"zalco"):
        assert trace not in left
    assert texts(log, kept) == ["a keepsake"]
    assert path.stat().st_size < 200_000


# ---------------------------------------------------------------------------------------- search


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


def test_a_damaged_index_is_made_anew(log: Conversations, path: Path) -> None:
    cid = chat(log, "the old lighthouse")
    assert log.search("lighthouse")
    with closing(sqlite3.connect(path)) as other, other:
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


# ---------------------------------------------------------------------------- processes that die


def test_an_answer_is_on_the_disk_within_a_second(log: Conversations, path: Path) -> None:
    cid = chat(log, "a")
    answer = log.add(cid, "assistant", "")
    log.grow(answer, "so")
    log.grow(answer, "so far")  # and then the model stalls

    deadline = time.monotonic() + 20
    with closing(Conversations(path)) as other:
        while texts(other, cid)[1] != "so far":
            assert time.monotonic() < deadline
            time.sleep(0.02)
    assert growing.INTERVAL_S < 1


def test_a_growing_answer_never_undoes_a_finished_one(log: Conversations) -> None:
    cid = log.begin("chat", "tiny")
    stop = threading.Event()

    def flush() -> None:
        while not stop.is_set():
            log.flush()

    flushing = threading.Thread(target=flush)
    flushing.start()
    try:
        for _ in range(200):
            answer = log.add(cid, "assistant", "")
            log.grow(answer, "so far")
            log.finish(answer, "whole", "stop")
            assert log.load(cid).messages[-1].text == "whole"
    finally:
        stop.set()
        flushing.join()


def test_killed_at_any_moment_only_the_last_second_is_lost(path: Path) -> None:
    """A child writes the time as its answer grows. It is killed fifty times."""
    random.seed(4)
    with closing(Conversations(path)):
        pass
    for number in range(50):
        with subprocess.Popen(
            [sys.executable, str(WRITER), str(path), str(number)], stdout=subprocess.PIPE, text=True
        ) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == "asked\n"  # the user's line is in
            time.sleep(random.choice([0, random.uniform(0, 0.05), random.uniform(0, 1.2)]))
            child.kill()
            said = child.stdout.read().split()
        with closing(sqlite3.connect(path)) as check:
            assert check.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        with closing(Conversations(path)) as log:
            cid = log.last()
            assert cid is not None
            asked, *answers = log.load(cid).messages
        assert asked.text == f"question {number}"
        # What the child had said more than a second before its last word is kept.
        kept = answers[0].text.split() if answers else []
        assert kept == said[: len(kept)]
        if lost := said[len(kept) :]:
            assert float(said[-1]) - float(lost[0]) < 1.0, f"round {number}"
        assert not answers or answers[0].is_unfinished
    with closing(Conversations(path)) as log:
        assert len(log.summaries()) == 50
        assert not log.notices


def test_two_writers_do_not_lock_each_other_out(path: Path) -> None:
    """Both open a database that is not there yet, and write at once; a reader looks on."""
    children = [
        subprocess.Popen(
            [sys.executable, str(WRITER), str(path), str(number), "200"], stderr=subprocess.PIPE
        )
        for number in range(4)
    ]
    try:
        while any(child.poll() is None for child in children):
            if path.exists() and path.stat().st_size:
                with closing(Conversations(path)) as log:
                    log.summaries()
            time.sleep(0.01)
    finally:
        errors = [child.communicate()[1] for child in children]

    assert errors == [b""] * 4
    with closing(Conversations(path)) as log:
        found = [log.load(each.id) for each in log.summaries()]
    assert len(found) == 4 * 200
    assert all(len(each.messages) == 2 for each in found)
    assert all(each.messages[1].text == each.messages[0].text[::-1] for each in found)


# ------------------------------------------------------------------------------- disks that refuse


@pytest.mark.parametrize("damage", ["header", "page", "text"])
def test_a_damaged_database_is_set_aside_not_overwritten(path: Path, damage: str) -> None:
    with closing(Conversations(path)) as log:
        chat(log, "precious " * 3000)
    whole = bytearray(path.read_bytes())
    if damage == "text":
        whole[:] = b"This is no database.\n" * 500
    elif damage == "header":
        whole[20:100] = bytes(80)
    else:
        whole[100:4096] = b"\xff" * 3996
    path.write_bytes(whole)

    with closing(Conversations(path)) as log:
        assert log.summaries() == []
        chat(log, "goes on")
        assert len(log.summaries()) == 1
        (notice,) = log.notices

    (aside,) = path.parent.glob("logs.db.damaged-*")
    assert aside.read_bytes() == whole
    assert str(path) in notice
    assert aside.name in notice
    with closing(Conversations(path)) as log:
        assert not log.notices


def test_damage_that_shows_later_is_set_aside_too(path: Path) -> None:
    with closing(Conversations(path)) as log:
        cid = chat(log, *("text " * 2000 for _ in range(20)))
    whole = bytearray(path.read_bytes())
    whole[4096 * 3 :] = b"\xa5" * (len(whole) - 4096 * 3)  # what opening it does not look at
    path.write_bytes(whole)
    log = Conversations(path)

    with pytest.raises(StorageError, match="set aside as logs"):
        log.load(cid)

    fresh = chat(log, "goes on")
    assert texts(log, fresh) == ["goes on"]
    assert [each.read_bytes() for each in path.parent.glob("logs.db.damaged-*[0-9]")] == [whole]
    log.close()


def test_two_processes_set_a_damaged_database_aside_once(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"broken " * 2000)
    code = (
        "import sys; from pathlib import Path; from gptcli.store.conversations import Conversations\n"
        "log = Conversations(Path(sys.argv[1]))\n"
        "log.add(log.begin('chat', 'm'), 'user', 'x')\n"
        "log.close()"
    )
    children = [
        subprocess.Popen([sys.executable, "-c", code, str(path)], stderr=subprocess.PIPE)
        for _ in range(4)
    ]
    errors = [child.communicate()[1] for child in children]

    assert errors == [b""] * 4
    assert [each.read_bytes() for each in path.parent.glob("logs.db.damaged-*[0-9]")] == [
        b"broken " * 2000
    ]
    with closing(Conversations(path)) as log:
        assert len(log.summaries()) == 4


def test_an_older_database_is_brought_up_to_date(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(Conversations(path)) as log:
        cid = chat(log, "old")
    step = ("ALTER TABLE conversations ADD COLUMN colour TEXT NOT NULL DEFAULT 'red'",)
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, step))

    with closing(Conversations(path)) as log:
        assert texts(log, cid) == ["old"]
    with closing(sqlite3.connect(path)) as check:
        assert check.execute("SELECT colour FROM conversations").fetchall() == [("red",)]
        assert check.execute("PRAGMA user_version").fetchone() == (len(schema.MIGRATIONS),)


def test_a_migration_that_fails_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(Conversations(path)) as log:
        cid = chat(log, "old")
    released = schema.MIGRATIONS
    step = ("ALTER TABLE conversations ADD COLUMN colour TEXT", "ALTER TABLE missing ADD COLUMN x TEXT")
    monkeypatch.setattr(schema, "MIGRATIONS", (*released, step))
    with pytest.raises(StorageError, match="no such table"):
        Conversations(path)

    monkeypatch.setattr(schema, "MIGRATIONS", released)

    with closing(Conversations(path)) as log:
        assert texts(log, cid) == ["old"]


def test_a_newer_database_is_left_alone(path: Path) -> None:
    with closing(Conversations(path)) as log:
        chat(log, "new")
    with closing(sqlite3.connect(path)) as other:
        other.execute(f"PRAGMA user_version = {len(schema.MIGRATIONS) + 1}")
    before = path.read_bytes()

    with pytest.raises(StorageError, match="was written by a newer gptcli"):
        Conversations(path)

    assert path.read_bytes() == before


def test_a_place_that_refuses_files_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "logs.db").mkdir()

    with pytest.raises(StorageError, match="Not a directory"):
        Conversations(tmp_path / "file" / "data" / "logs.db")
    with pytest.raises(StorageError, match="unable to open"):
        Conversations(tmp_path / "logs.db")


FULL_DISK = """
import resource, sys
from pathlib import Path
from gptcli.errors import StorageError
from gptcli.store.conversations import Conversations

log = Conversations(Path(sys.argv[1]))
cid = log.begin("chat", "m")
log.add(cid, "user", "kept")
answer = log.add(cid, "assistant", "")
resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, resource.RLIM_INFINITY))
log.grow(answer, "x" * 100_000)
try:
    log.flush()
except StorageError as error:
    print(error.message)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
log.close()  # there is room again: what was noted is written after all
"""


def test_a_full_disk_is_told_and_loses_nothing_that_was_there(path: Path) -> None:
    with closing(Conversations(path)):
        pass
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path)], capture_output=True, text=True, check=True
    )

    assert done.stdout.startswith(f"cannot use {path}: ")
    with closing(Conversations(path)) as log:
        cid = log.last()
        assert cid is not None
        assert texts(log, cid) == ["kept", "x" * 100_000]


def test_reading_needs_no_right_to_write(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(Conversations(path)) as log:
        cid = chat(log, "the old lighthouse")

    with closing(Conversations(path, read_only=True)) as log:
        assert texts(log, cid) == ["the old lighthouse"]
        assert [each.id for each, _ in log.search("lighthouse")] == [cid]
        with pytest.raises(StorageError, match="readonly"):
            log.add(cid, "user", "x")
    with pytest.raises(StorageError, match="unable to open"):
        Conversations(path.with_name("other.db"), read_only=True)
    assert not path.with_name("other.db").exists()
    assert {each.name for each in path.parent.iterdir()} <= {"logs.db", "logs.db-wal", "logs.db-shm"}


def test_an_answer_of_a_damaged_database_never_lands_in_another_conversation(path: Path) -> None:
    with closing(Conversations(path)) as log:
        cid = chat(log, *("text " * 2000 for _ in range(5)))
        answer = log.load(cid).messages[-1].id
    path.write_bytes(b"broken " * 2000)

    with closing(Conversations(path)) as log:
        other = chat(log, *(str(number) for number in range(20)))
        log.grow(answer, "of another time")
        log.flush()
        with pytest.raises(StorageError, match="no longer there"):
            log.finish(answer, "of another time", "stop")
        assert texts(log, other) == [str(number) for number in range(20)]


def test_an_answer_that_could_not_be_finished_is_written_when_it_can_be(path: Path) -> None:
    log = Conversations(path)
    cid = chat(log, "a")
    answer = log.add(cid, "assistant", "")
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA user_version = 99")
    log._database.close()
    with pytest.raises(StorageError, match="newer"):
        log.finish(answer, "the whole answer", "stop")
    with closing(sqlite3.connect(path)) as other:
        other.execute(f"PRAGMA user_version = {len(schema.MIGRATIONS)}")

    log.close()

    with closing(Conversations(path)) as log:
        assert texts(log, cid) == ["a", "the whole answer"]
