"""The store where processes die, write at once, and disks refuse: nothing is lost or overwritten."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pytest

from gptcli.errors import StorageError
from gptcli.store import growing, schema
from gptcli.store.conversations import Conversations
from gptcli.store.growing import Draft
from tests.stored import chat, texts

WRITER = Path(__file__).with_name("growing_answer.py")


# -------------------------------------------------------------------------------- processes that die


def test_an_answer_is_on_the_disk_within_a_second(log: Conversations, log_file: Path) -> None:
    cid = chat(log, "a")
    answer = log.add(cid, "assistant", "")
    log.grow(answer, "so")
    log.grow(answer, "so far")  # and then the model stalls

    deadline = time.monotonic() + 20
    with closing(Conversations(log_file)) as other:
        while texts(other, cid)[1] != "so far":
            assert time.monotonic() < deadline
            time.sleep(0.02)
    assert growing.INTERVAL_S < 1


def test_a_growing_answer_never_undoes_a_finished_one(
    log: Conversations, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, has_begun = log._write_drafts, threading.Event()

    def write_slowly(drafts: Mapping[int, Draft]) -> None:
        has_begun.set()
        time.sleep(0.1)
        write(drafts)

    monkeypatch.setattr(log._growing, "_write", write_slowly)
    cid = log.begin("chat", "tiny")
    answer = log.add(cid, "assistant", "")
    log.grow(answer, "so far")
    flushing = threading.Thread(target=log.flush)
    flushing.start()
    assert has_begun.wait(20)
    log.finish(answer, "whole", "stop")
    flushing.join()

    assert log.load(cid).messages[-1].text == "whole"


def test_killed_at_any_moment_only_the_last_second_is_lost(log_file: Path) -> None:
    """A child writes the time as its answer grows. It is killed fifty times."""
    random.seed(4)
    with closing(Conversations(log_file)):
        pass
    for number in range(50):
        with subprocess.Popen(
            [sys.executable, str(WRITER), str(log_file), str(number)], stdout=subprocess.PIPE, text=True
        ) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == "asked\n"  # the user's line is in
            time.sleep(random.choice([0, random.uniform(0, 0.05), random.uniform(0, 1.2)]))
            child.kill()
            said = child.stdout.read().split()
        with closing(sqlite3.connect(log_file)) as check:
            assert check.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        with closing(Conversations(log_file)) as log:
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
    with closing(Conversations(log_file)) as log:
        assert len(log.summaries()) == 50
        assert not log.notices


def test_two_writers_do_not_lock_each_other_out(log_file: Path) -> None:
    """Both open a database that is not there yet, and write at once; a reader looks on."""
    children = [
        subprocess.Popen(
            [sys.executable, str(WRITER), str(log_file), str(number), "200"], stderr=subprocess.PIPE
        )
        for number in range(4)
    ]
    try:
        while any(child.poll() is None for child in children):
            if log_file.exists() and log_file.stat().st_size:
                with closing(Conversations(log_file)) as log:
                    log.summaries()
            time.sleep(0.01)
    finally:
        errors = [child.communicate()[1] for child in children]

    assert errors == [b""] * 4
    with closing(Conversations(log_file)) as log:
        found = [log.load(each.id) for each in log.summaries()]
    assert len(found) == 4 * 200
    assert all(len(each.messages) == 2 for each in found)
    assert all(each.messages[1].text == each.messages[0].text[::-1] for each in found)


# --------------------------------------------------------------------------------- disks that refuse


@pytest.mark.parametrize("damage", ["header", "page", "text"])
def test_a_damaged_database_is_set_aside_not_overwritten(log_file: Path, damage: str) -> None:
    with closing(Conversations(log_file)) as log:
        chat(log, "precious " * 3000)
    whole = bytearray(log_file.read_bytes())
    if damage == "text":
        whole[:] = b"This is no database.\n" * 500
    elif damage == "header":
        whole[20:100] = bytes(80)
    else:
        whole[100:4096] = b"\xff" * 3996
    log_file.write_bytes(whole)

    with closing(Conversations(log_file)) as log:
        assert log.summaries() == []
        chat(log, "goes on")
        assert len(log.summaries()) == 1
        (notice,) = log.notices

    (aside,) = log_file.parent.glob("logs.db.damaged-*")
    assert aside.read_bytes() == whole
    assert str(log_file) in notice
    assert aside.name in notice
    with closing(Conversations(log_file)) as log:
        assert not log.notices


def test_damage_that_shows_later_is_set_aside_too(log_file: Path) -> None:
    with closing(Conversations(log_file)) as log:
        cid = chat(log, *("text " * 2000 for _ in range(20)))
    whole = bytearray(log_file.read_bytes())
    whole[4096 * 3 :] = b"\xa5" * (len(whole) - 4096 * 3)  # what opening it does not look at
    log_file.write_bytes(whole)
    log = Conversations(log_file)

    with pytest.raises(StorageError, match="set aside as logs"):
        log.load(cid)

    fresh = chat(log, "goes on")
    assert texts(log, fresh) == ["goes on"]
    assert [each.read_bytes() for each in log_file.parent.glob("logs.db.damaged-*[0-9]")] == [whole]
    log.close()


def test_two_processes_set_a_damaged_database_aside_once(log_file: Path) -> None:
    log_file.parent.mkdir()
    log_file.write_bytes(b"broken " * 2000)
    code = (
        "import sys; from pathlib import Path; from gptcli.store.conversations import Conversations\n"
        "log = Conversations(Path(sys.argv[1]))\n"
        "log.add(log.begin('chat', 'm'), 'user', 'x')\n"
        "log.close()"
    )
    children = [
        subprocess.Popen([sys.executable, "-c", code, str(log_file)], stderr=subprocess.PIPE)
        for _ in range(4)
    ]
    errors = [child.communicate()[1] for child in children]

    assert errors == [b""] * 4
    assert [each.read_bytes() for each in log_file.parent.glob("logs.db.damaged-*[0-9]")] == [
        b"broken " * 2000
    ]
    with closing(Conversations(log_file)) as log:
        assert len(log.summaries()) == 4


def test_an_older_database_is_brought_up_to_date(
    log_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(Conversations(log_file)) as log:
        cid = chat(log, "old")
    step = ("ALTER TABLE conversations ADD COLUMN colour TEXT NOT NULL DEFAULT 'red'",)
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, step))

    with closing(Conversations(log_file)) as log:
        assert texts(log, cid) == ["old"]
    with closing(sqlite3.connect(log_file)) as check:
        assert check.execute("SELECT colour FROM conversations").fetchall() == [("red",)]
        assert check.execute("PRAGMA user_version").fetchone() == (len(schema.MIGRATIONS),)


def test_a_migration_that_fails_changes_nothing(log_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(Conversations(log_file)) as log:
        cid = chat(log, "old")
    released = schema.MIGRATIONS
    step = ("ALTER TABLE conversations ADD COLUMN colour TEXT", "ALTER TABLE missing ADD COLUMN x TEXT")
    monkeypatch.setattr(schema, "MIGRATIONS", (*released, step))
    with pytest.raises(StorageError, match="no such table"):
        Conversations(log_file)

    monkeypatch.setattr(schema, "MIGRATIONS", released)

    with closing(Conversations(log_file)) as log:
        assert texts(log, cid) == ["old"]


def test_a_newer_database_is_left_alone(log_file: Path) -> None:
    with closing(Conversations(log_file)) as log:
        chat(log, "new")
    with closing(sqlite3.connect(log_file)) as other:
        other.execute(f"PRAGMA user_version = {len(schema.MIGRATIONS) + 1}")
    before = log_file.read_bytes()

    with pytest.raises(StorageError, match="was written by a newer gptcli"):
        Conversations(log_file)

    assert log_file.read_bytes() == before


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
from tests.stored import chat, texts

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


def test_a_full_disk_is_told_and_loses_nothing_that_was_there(log_file: Path) -> None:
    with closing(Conversations(log_file)):
        pass
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(log_file)], capture_output=True, text=True, check=True
    )

    assert done.stdout.startswith(f"cannot use {log_file}: ")
    with closing(Conversations(log_file)) as log:
        cid = log.last()
        assert cid is not None
        assert texts(log, cid) == ["kept", "x" * 100_000]


def test_reading_needs_no_right_to_write(log_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(Conversations(log_file)) as log:
        cid = chat(log, "the old lighthouse")

    with closing(Conversations(log_file, read_only=True)) as log:
        assert texts(log, cid) == ["the old lighthouse"]
        assert [each.id for each, _ in log.search("lighthouse")] == [cid]
        with pytest.raises(StorageError, match="readonly"):
            log.add(cid, "user", "x")
    with pytest.raises(StorageError, match="unable to open"):
        Conversations(log_file.with_name("other.db"), read_only=True)
    assert not log_file.with_name("other.db").exists()
    assert {each.name for each in log_file.parent.iterdir()} <= {"logs.db", "logs.db-wal", "logs.db-shm"}


def test_an_answer_of_a_damaged_database_never_lands_in_another_conversation(log_file: Path) -> None:
    with closing(Conversations(log_file)) as log:
        cid = chat(log, *("text " * 2000 for _ in range(5)))
        answer = log.load(cid).messages[-1].id
    log_file.write_bytes(b"broken " * 2000)

    with closing(Conversations(log_file)) as log:
        other = chat(log, *(str(number) for number in range(20)))
        log.grow(answer, "of another time")
        log.flush()
        with pytest.raises(StorageError, match="no longer there"):
            log.finish(answer, "of another time", "stop")
        assert texts(log, other) == [str(number) for number in range(20)]


def test_an_answer_that_could_not_be_finished_is_written_when_it_can_be(log_file: Path) -> None:
    log = Conversations(log_file)
    cid = chat(log, "a")
    answer = log.add(cid, "assistant", "")
    with closing(sqlite3.connect(log_file)) as other:
        other.execute("PRAGMA user_version = 99")
    log._database.close()
    with pytest.raises(StorageError, match="newer"):
        log.finish(answer, "the whole answer", "stop")
    with closing(sqlite3.connect(log_file)) as other:
        other.execute(f"PRAGMA user_version = {len(schema.MIGRATIONS)}")

    log.close()

    with closing(Conversations(log_file)) as log:
        assert texts(log, cid) == ["a", "the whole answer"]
