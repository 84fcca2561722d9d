"""Evaluated prompts on disk: found again, cut to size, never trusted when damaged."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from gptcli.engine.api import Delta, Finished, Generate, Keep, Kept
from gptcli.engine.prompt_cache import (
    LEAST_TOKENS,
    PromptCache,
    entries,
    fingerprint_or,
    model_fingerprint,
    prune,
)
from gptcli.engine.scheduler import Scheduler
from gptcli.engine.shared_cache import TAIL_TOKENS
from gptcli.sampling import SamplingParams
from tests.conftest import Cli
from tests.fake_backend import WORDS, FakeBackend, Memory

PROMPT = list(range(LEAST_TOKENS + 100))
STATE = os.urandom(10_000)
TEXT = "The river ran past the old mill and the children watched it go. " * 40


@pytest.fixture
def cache(tmp_path: Path) -> PromptCache:
    return PromptCache(tmp_path / "prompts", "key", "tiny")


def saved(cache: PromptCache, tokens: list[int], state: bytes = STATE) -> None:
    cache.save(tokens, state)
    cache.finish()


def test_what_begins_the_same_is_found(cache: PromptCache) -> None:
    saved(cache, PROMPT)

    found = cache.find([*PROMPT[:-20], 7, 7, 7])

    assert found is not None
    assert (found.tokens, found.length, found.state) == (PROMPT, len(PROMPT) - 20, bytearray(STATE))


def test_the_longest_beginning_wins(cache: PromptCache) -> None:
    saved(cache, PROMPT[:-50], b"short")
    saved(cache, PROMPT, b"long")

    found = cache.find([*PROMPT, 1])

    assert found is not None
    assert found.state == b"long"


@pytest.mark.parametrize(
    "tokens", [PROMPT[: LEAST_TOKENS - 1], [9, *PROMPT], []], ids=["too short", "other start", "none"]
)
def test_what_has_too_little_in_common_is_not_found(cache: PromptCache, tokens: list[int]) -> None:
    saved(cache, PROMPT)

    assert cache.find(tokens) is None
    assert cache.find(PROMPT, least=len(PROMPT)) is None


def test_a_state_that_cannot_be_cut_must_begin_the_prompt_as_a_whole(cache: PromptCache) -> None:
    saved(cache, PROMPT[:-50], b"shorter")
    saved(cache, PROMPT, b"goes on otherwise")

    found = cache.find([*PROMPT[:-1], 7], only_whole=True)

    assert found is not None
    assert (found.state, found.length) == (bytearray(b"shorter"), len(PROMPT) - 50)


def test_another_model_build_or_setting_finds_nothing(cache: PromptCache, tmp_path: Path) -> None:
    saved(cache, PROMPT)

    assert PromptCache(tmp_path / "prompts", "another key", "tiny").find(PROMPT) is None


@pytest.mark.parametrize("at", [0, 20, 60, 500, -1])
def test_a_damaged_file_is_a_miss_and_goes(cache: PromptCache, tmp_path: Path, at: int) -> None:
    saved(cache, PROMPT)
    (path,) = (tmp_path / "prompts").iterdir()
    content = bytearray(path.read_bytes())
    content[at] ^= 0xFF
    path.write_bytes(content)

    found = cache.find(PROMPT)

    assert found is None or found.length < len(PROMPT)  # another token: less in common


def test_a_file_that_was_cut_off_is_a_miss(cache: PromptCache, tmp_path: Path) -> None:
    saved(cache, PROMPT)
    (path,) = (tmp_path / "prompts").iterdir()
    for size in (0, 5, 40, 200, path.stat().st_size - 1):
        os.truncate(path, size)
        assert cache.find(PROMPT) is None
        saved(cache, PROMPT)


def test_the_longest_unused_go_first(tmp_path: Path) -> None:
    cache = PromptCache(tmp_path, "key", "tiny", most_bytes=30_000)
    for n in range(5):
        saved(cache, [n, *PROMPT], os.urandom(7_000))
        for path in tmp_path.iterdir():
            status = path.stat()
            os.utime(path, (status.st_atime - 10, status.st_mtime - 10))

    kept = entries(tmp_path)

    assert 2 <= len(kept) <= 3
    assert sum(entry.size for entry in kept) <= 30_000
    assert cache.find([4, *PROMPT]) is not None
    assert cache.find([0, *PROMPT]) is None


def test_drafts_and_foreign_files_do_not_pile_up(cache: PromptCache, tmp_path: Path) -> None:
    saved(cache, PROMPT)
    directory = tmp_path / "prompts"
    (directory / ".x.prompt.123").write_bytes(b"draft")
    (directory / "y.prompt").write_bytes(b"none of ours")
    (directory / "notes.txt").write_bytes(b"not ours at all")
    for path in directory.iterdir():
        os.utime(path, (time.time() - 90_000,) * 2)

    prune(directory, 1 << 30)

    assert sorted(path.name for path in directory.iterdir() if "prompt" not in path.name) == [
        "notes.txt"
    ]
    assert len(entries(directory)) == 1
    assert len(list(directory.iterdir())) == 2


def test_a_directory_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("x", encoding="utf-8")
    cache = PromptCache(blocked / "prompts", "key", "tiny")

    saved(cache, PROMPT)

    assert cache.find(PROMPT) is None


def test_fingerprints_tell_files_apart(tmp_path: Path) -> None:
    content = bytearray(os.urandom(5_000_000))
    first, second = tmp_path / "a.gguf", tmp_path / "b.gguf"
    first.write_bytes(content)
    content[-1] ^= 1
    second.write_bytes(content)
    named = tmp_path / ("ab" * 32)
    named.write_bytes(b"x")
    link = tmp_path / "c.gguf"
    link.symlink_to(named)

    assert model_fingerprint(first) != model_fingerprint(second)
    assert model_fingerprint(first) == model_fingerprint(first)
    assert model_fingerprint(link) == "ab" * 32


def test_what_is_no_file_has_the_fallback(tmp_path: Path) -> None:
    file = tmp_path / "a.gguf"
    file.write_bytes(b"x")

    assert fingerprint_or(str(file), "else") == model_fingerprint(file)
    assert [fingerprint_or(path, "else") for path in ("", str(tmp_path / "none"))] == ["else"] * 2


@pytest.mark.parametrize("memory", ["parts", "sliding", "whole"])
def test_a_new_scheduler_goes_on_from_the_disk(cache: PromptCache, memory: Memory) -> None:
    document = " ".join(WORDS[n * 7 % len(WORDS)] for n in range(600))

    def asked(question: str, prompts: PromptCache | None) -> tuple[str, Finished]:
        backend = FakeBackend(window=2000, memory=memory)
        request = Generate(
            prompt=f"{document} {question}", sampling=SamplingParams(temperature=0, max_tokens=5)
        )
        events = list(Scheduler(backend, prompt_cache=prompts).run([request]))
        assert isinstance(events[-1], Finished)
        return "".join(e.text for e in events if isinstance(e, Delta)), events[-1]

    _, first = asked("river", cache)
    cache.finish()
    text, second = asked("mill bread", cache)
    alone, _ = asked("mill bread", None)

    assert (first.usage.cached_tokens, text) == (0, alone)
    assert second.usage.cached_tokens >= second.usage.prompt_tokens - TAIL_TOKENS - 10


def test_a_batch_does_not_fill_the_disk(cache: PromptCache, tmp_path: Path) -> None:
    backend = FakeBackend(window=2000)
    requests = [
        Generate(
            prompt=" ".join(WORDS[(n + k) % len(WORDS)] for k in range(400)),
            sampling=SamplingParams(temperature=0, max_tokens=2),
            id=n,
        )
        for n in range(5)
    ]

    list(Scheduler(backend, 4, cache).run(requests))
    cache.finish()

    assert len(entries(tmp_path / "prompts")) <= 1


@pytest.mark.weights
def test_a_long_document_is_not_read_twice(cli: Cli, starter_model: Path, home: Path) -> None:
    ask = ("generate", "--raw", "-m", str(starter_model), "-n", "8", "--temperature", "0", "--json")

    first = cli(*ask, TEXT + "In short,").json
    other = cli(*ask, TEXT + "What then?").json
    alone = cli(*ask, TEXT + "What then?", "--no-log", env={"GPTCLI_CACHE_DIR": str(home / "none")}).json

    assert first["usage"]["cached_tokens"] == 0
    assert other["usage"]["cached_tokens"] > 0.7 * other["usage"]["prompt_tokens"]
    assert other["text"] == alone["text"]
    assert not (home / "none").exists()
    listed = cli("cache", "list", "--json").json
    assert [each["model"] for each in listed["prompts"]] == [starter_model.name]
    assert cli("cache", "clear").status == 0
    assert cli("cache", "list", "--json").json == {"size": 0, "prompts": [], "indexes": []}


@pytest.mark.parametrize("memory", ["parts", "whole"])
def test_a_conversation_is_kept_on_request_with_its_answer(cache: PromptCache, memory: Memory) -> None:
    window = 2 * LEAST_TOKENS
    turns = [" w" * 60 + f" {n}" for n in range(4)]

    def run(scheduler: Scheduler, prompt: str) -> Finished:
        end = list(scheduler.run([Generate(prompt=prompt, sampling=SamplingParams(max_tokens=8))]))[-1]
        assert isinstance(end, Finished)
        return end

    first = Scheduler(FakeBackend([b" on"] * 8, window=window, memory=memory), prompt_cache=cache)
    prompt = ""
    for turn in turns:  # each too short to be kept by itself
        prompt += turn
        run(first, prompt)
        prompt += " on" * 8
    assert cache.find([1]) is None
    (kept,) = first.run([Keep(prompt=prompt)])

    second = Scheduler(FakeBackend([b" on"] * 8, window=window, memory=memory), prompt_cache=cache)
    backend = second._backend
    assert isinstance(backend, FakeBackend)
    for word in prompt.split(" ")[1:]:  # the numbers of words are those of the first backend
        backend.number(f" {word}".encode())
    end = run(second, prompt + " next")

    assert isinstance(kept, Kept)
    assert kept.tokens == end.usage.cached_tokens == len(prompt.split()) - 1


def test_nothing_is_kept_of_what_was_not_evaluated_or_is_short(cache: PromptCache) -> None:
    scheduler = Scheduler(FakeBackend([b" on"], window=2 * LEAST_TOKENS), prompt_cache=cache)
    list(scheduler.run([Generate(prompt=" a b c")]))

    assert list(scheduler.run([Keep(prompt=" a b c"), Keep(prompt=" w" * 300, id=1)])) == [
        Kept(id=0, tokens=0),
        Kept(id=1, tokens=0),
    ]
    assert list(Scheduler(FakeBackend()).run([Keep(prompt=" a")])) == [Kept(id=0, tokens=0)]
