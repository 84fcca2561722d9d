"""`gptcli bench`: what it times, shows, keeps and compares."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gptcli.cli import benching
from gptcli.cli.app import run
from gptcli.engine.api import (
    Delta,
    Engine,
    Event,
    Finished,
    Generate,
    ModelInfo,
    Request,
    Started,
    Timings,
    Tokenize,
    Usage,
    tokenize,
)
from gptcli.engine.local import LocalEngine
from gptcli.engine.scripted import Reply, ScriptedEngine
from gptcli.errors import ContextOverflowError, EngineCrashedError
from gptcli.output.bars import Bar, bar_lines
from gptcli.output.console import Output
from gptcli.tasks.bench import BenchTask, bench, fitted_prompt
from tests.conftest import Cli
from tests.screen import Terminal

Script = Callable[..., str]
SMALL = ("--prompt-tokens", "40", "--tokens", "4", "--repeat", "2")
SLOW_REPLY = {"text": "word " * 50, "delay_s": 0.005}  # 200 tokens a second
SHAPE = BenchTask(batches=(1, 3), prompt_tokens=40, tokens=4, repeat=2)


def kept_lines(home: Path) -> list[Any]:
    text = (home / "data" / "bench.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


# ------------------------------------------------------------------------------------- what is timed


def test_rates_are_tokens_by_time(cli: Cli, script: Script, home: Path) -> None:
    result = cli("bench", "-m", script(SLOW_REPLY), "--batch", "3,1", *SMALL, "--json")

    (shown,) = result.json["runs"]
    assert result.status == 0
    assert [each["batch"] for each in shown["results"]] == [1, 3]
    for each in shown["results"]:
        assert 60 < each["decode_tokens_per_s"]["median"] <= 200
        assert 2000 < each["prompt_tokens_per_s"]["median"] <= 40 / 0.005
        assert each["answer_tokens_per_s"] == each["decode_tokens_per_s"]["median"] / each["batch"]
        assert (each["completion_tokens"], each["rounds"]) == (4 * each["batch"], 2)
    assert [{"run": 1, **line} for line in kept_lines(home)] == [shown]


def test_requests_are_greedy_and_share_nothing() -> None:
    engine = ScriptedEngine(default=Reply(text="word " * 50))
    reports: list[int] = []

    results = list(bench(engine, SHAPE, lambda done, _: reports.append(done)))

    asked = [each for each in engine.requests if isinstance(each, Generate)]
    read = [each.prompt for each in asked if each.sampling.max_tokens == 1]
    written = [each.prompt for each in asked if each.sampling.max_tokens == 4]
    starts = [str(prompt).split()[0] for prompt in read]
    assert len(read) == len(set(starts)) == 2 * (1 + 3)
    assert [len(str(prompt).split()) for prompt in read] == [40] * len(read)
    assert sorted(set(map(str, written)) & set(map(str, read))) == sorted(map(str, read))
    assert {(each.sampling.temperature, each.stop) for each in asked} == {(0, ())}
    assert [(each.batch, len(each.rounds)) for each in results] == [(1, 1), (1, 2), (3, 1), (3, 2)]
    assert reports == sorted(reports)
    assert reports[-1] == SHAPE.work


@pytest.mark.parametrize("tokens", [8, 33, 200])
def test_prompts_are_as_long_as_the_model_counts(engine: LocalEngine, tokens: int) -> None:
    for number in (1, 250):
        prompt = fitted_prompt(engine, number, tokens)

        assert tokenize(engine, Tokenize(prompt=prompt)).token_count == tokens


READING_S = 0.4


class TogetherEngine(ScriptedEngine):
    """Writes a token of every answer each 10 ms. The last request is read while the others are written;
    first pieces arrive late, as text that was held back does.
    """

    def run(self, requests: Iterable[Request]) -> Generator[Event, None, None]:
        asked = list(requests)
        if not all(isinstance(each, Generate) for each in asked):
            yield from super().run(asked)
            return
        limits = [each.sampling.max_tokens or 0 for each in asked if isinstance(each, Generate)]
        *early, late = [each.id for each in asked]
        for n in (*early, late):
            yield Started(id=n, prompt_tokens=40, context_size=4096)
        for n in early:
            yield Delta(id=n, text="a")
        time.sleep(READING_S)  # a step that reads the late prompt
        written = dict.fromkeys(early, 2) | {late: 1}
        begun = time.perf_counter()
        time.sleep(0.025)  # held back
        for n in written:
            yield Delta(id=n, text="a")
        while any(count < limits[0] for count in written.values()):
            time.sleep(max(0, begun + 0.01 * written[late] - time.perf_counter()))
            for n in [n for n, count in written.items() if count < limits[0]]:
                written[n] += 1
                yield Delta(id=n, text="a")
        spent = time.perf_counter() - begun
        for n in written:
            yield Finished(
                id=n,
                reason="length",
                usage=Usage(prompt_tokens=40, cached_tokens=30, completion_tokens=limits[0]),
                timings=Timings(generate_s=spent if n == late else spent + READING_S),
            )


def test_writing_is_timed_from_when_all_are_written() -> None:
    (measured,) = bench(TogetherEngine(), BenchTask(batches=(4,), prompt_tokens=40, tokens=20, repeat=1))

    (found,) = measured.rounds
    assert (found.at_once, found.tokens) == (4, 80)
    assert 150 < found.decode_rate <= 4 / 0.01  # with the time of reading: under 150
    assert found.prompt_rate <= 4 * 10 / READING_S  # cached tokens are not read


def test_the_real_engine_works_on_all_at_once(cli: Cli, tiny_model: Path, home: Path) -> None:
    arguments = ("--batch", "1,3", "--prompt-tokens", "24", "--tokens", "200", "--repeat", "1")

    result = cli("bench", "-m", str(tiny_model), *arguments, "--json")

    (shown,) = result.json["runs"]
    assert (result.status, result.stderr) == (0, "kept as run 1\n")
    assert [(each["at_once"], each["completion_tokens"]) for each in shown["results"]] == [
        (1, 200),
        (3, 600),
    ]
    assert all(each["decode_tokens_per_s"]["min"] > 0 for each in shown["results"])
    assert shown["model"]["file"] == "tiny.gguf"
    assert shown["build"].startswith("llama.cpp")
    assert shown["threads"] > 0


# -------------------------------------------------------------------------------------- what is shown


def test_bars_fit_and_are_in_proportion() -> None:
    bars = [Bar("1", 10, "10.0"), Bar("16", 40, "40.0"), Bar("2", 0, "0.0")]

    plain, blocks = bar_lines(bars, 24, blocks=False), bar_lines(bars, 24, blocks=True)

    assert plain == [" 1 #### 10.0", "16 ################ 40.0", " 2  0.0"]
    assert blocks == [" 1 ████ 10.0", "16 ████████████████ 40.0", " 2  0.0"]
    assert bar_lines([Bar("1", 10.5, ""), Bar("2", 16, "")], 19, blocks=True)[0] == "1 ██████████▌ "
    assert bar_lines([], 24, blocks=True) == []


def sample_runs(rates: dict[int, float]) -> dict[str, Any]:
    return {
        "date": "2026-01-02T03:04:05+00:00",
        "model": {"name": "scripted"},
        "results": [
            {
                "batch": batch,
                "prompt_tokens_per_s": {"median": rate},
                "decode_tokens_per_s": {"median": rate},
            }
            for batch, rate in rates.items()
        ],
    }


def keep(home: Path, *lines: object) -> None:
    path = home / "data" / "bench.jsonl"
    path.parent.mkdir(exist_ok=True)
    path.write_text(
        "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines),
        encoding="utf-8",
    )


def params(spec: str, **more: Any) -> dict[str, Any]:
    given = {"model": [spec], "batch": "1,2", "prompt_tokens": 40, "tokens": 4, "repeat": 2}
    common = {"ctx_size": 0, "threads": 0, "gpu_layers": "auto", "debug": False, "json": False}
    return given | common | {"list": False, "compare": None, "no_save": False} | more


def test_a_terminal_of_60_columns_shows_it_all(script: Script, home: Path) -> None:
    keep(home, sample_runs({1: 1e9, 2: 0.001}))
    stdout = Terminal(60, 50)
    output = Output(stdout=stdout, stderr=stdout, environ=stdout.environ)

    benching.run_bench(params(script(SLOW_REPLY), compare="1"), output)

    lines = stdout.screen.text.splitlines()
    header = next(line for line in lines if "decode" in line)
    assert header.split("  ")[0] == "batch"
    assert header.endswith("times one")
    charted = [line for line in lines if "█" in line]
    assert [line.split()[0] for line in charted] == ["1", "2"]
    assert all(line.endswith(")") for line in charted)
    compared = lines[lines.index("times run 1 (2026-01-02 03:04, scripted)") + 1 :]
    assert compared[0].split() == ["batch", "prompt", "decode"]
    assert compared[1] == "    1    0.00    0.00  slower"
    assert float(compared[2].split()[2]) > 1000
    assert stdout.sent.count("\x1b[31m") == 2


def test_a_pipe_gets_plain_text(cli: Cli, script: Script) -> None:
    result = cli("bench", "-m", script(SLOW_REPLY), "--batch", "1,2", *SMALL)

    assert result.status == 0
    assert result.stdout.isascii()
    assert "\x1b" not in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 60
    assert sum("#" * 20 in line for line in result.stdout.splitlines()) == 2


class BreakingEngine(ScriptedEngine):
    """Breaks off when requests of a batch of 2 are read."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(default=Reply(text="word " * 50))
        self._error = error

    def run(self, requests: Iterable[Request]) -> Generator[Event, None, None]:
        asked = list(requests)
        if len(asked) > 1:
            raise self._error
        yield from super().run(asked)


@pytest.mark.parametrize(
    ("error", "status"), [(KeyboardInterrupt(), 130), (EngineCrashedError("it died"), 8)]
)
@pytest.mark.parametrize("form", [[], ["--json"]])
def test_what_was_measured_is_shown_and_kept(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    home: Path,
    error: BaseException,
    status: int,
    form: list[str],
) -> None:
    @contextmanager
    def opened(*_: Any) -> Iterator[Engine]:
        yield BreakingEngine(error)

    monkeypatch.setattr(benching, "opened_engine", opened)

    assert run(["bench", "-m", "scripted:x", "--batch", "1,2", *SMALL, *form]) == status

    shown = capsys.readouterr().out
    (kept,) = kept_lines(home)
    assert [each["batch"] for each in kept["results"]] == [1]
    if form:
        assert json.loads(shown)["runs"] == [{"run": 1, **kept}]
    else:
        assert "\n1 ####" in shown


# ----------------------------------------------------------------------------- what is kept, compared


def test_runs_are_listed_and_damaged_lines_skipped(cli: Cli, script: Script, home: Path) -> None:
    broken = sample_runs({1: 5})
    del broken["results"][0]["batch"]
    keep(home, sample_runs({1: 5, 8: 12.34}), "{no", broken, "[" * 100_000, sample_runs({4: -1}), '{"d')

    measured = cli("bench", "-m", script(SLOW_REPLY), "--batch", "1", *SMALL)
    listed = cli("bench", "--list")
    as_json = cli("bench", "--list", "--json", "-q")

    assert measured.stderr == "kept as run 7\n"
    assert listed.status == 0
    rows = [line.split() for line in listed.stdout.splitlines()]
    assert rows[0] == ["run", "date", "model", "batch", "tokens/s"]
    assert rows[1] == ["1", "2026-01-02", "03:04", "scripted", "1", "to", "8", "12.3"]
    assert [row[0] for row in rows[1:]] == ["1", "7"]
    assert [n for n in range(1, 8) if f"line {n} is damaged" in listed.stderr] == [2, 3, 4, 5, 6]
    assert [each["run"] for each in as_json.json["runs"]] == [1, 7]
    assert as_json.stderr == ""


def test_last_is_the_last_run_of_the_model(cli: Cli, script: Script, home: Path) -> None:
    other = sample_runs({1: 7}) | {"model": {"name": "other"}}
    keep(home, sample_runs({1: 1}), sample_runs({1: 100}), other)

    spec = script(SLOW_REPLY)
    result = cli(
        "bench", "-m", spec, "-m", spec, "--batch", "1,2", *SMALL, "--compare", "last", "--json"
    )

    runs = result.json["runs"]
    assert [each["run"] for each in runs] == [4, 5]
    assert [each["compared"]["run"] for each in runs] == [2, 2]
    first, second = runs[0]["compared"]["ratios"]
    rate = runs[0]["results"][0]["decode_tokens_per_s"]["median"]
    assert first["decode_tokens_per_s"] == rate / 100
    assert second == {"batch": 2, "prompt_tokens_per_s": None, "decode_tokens_per_s": None}
    assert "run 2 had another" in result.stderr
    assert "--tokens" in result.stderr
    assert all("compared" not in line for line in kept_lines(home))


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--batch", "1,two"], 2, "--batch must be numbers from 1 to 240, not 'two'"),
        (["--batch", "0"], 2, "--batch must be numbers from 1 to 240, not '0'"),
        (["--batch", "1,,2"], 2, "--batch must be numbers from 1 to 240, not ''"),
        (["--batch", "0" * 9 + "999"], 2, "--batch must be numbers from 1 to 240"),
        (["--repeat", "0"], 2, "invalid value for '--repeat'"),
        (["--prompt-tokens", "4090"], 6, "4,090 prompt tokens and 64 of the answer exceed"),
        (["--compare", "3"], 2, "no run 3 is kept"),
        (["--compare", "last"], 2, "no run is kept to compare with"),
        (["-m", "no-such-model"], 3, 'model "no-such-model" is not known'),
    ],
    ids=lambda value: str(value)[:24],
)
def test_bad_input_is_refused_before_anything_is_measured(
    cli: Cli, script: Script, home: Path, arguments: list[str], status: int, message: str
) -> None:
    result = cli("bench", "-m", script(SLOW_REPLY), *arguments, "--json")

    assert (result.status, result.stdout) == (status, "")
    assert result.error["message"].startswith(message)
    assert not (home / "data" / "bench.jsonl").exists()


def test_an_answer_that_ends_at_once_has_no_rate(cli: Cli, script: Script) -> None:
    result = cli("bench", "-m", script("word"), "--batch", "1", *SMALL)

    assert (result.status, result.stdout) == (1, "")
    assert result.stderr.startswith("gptcli: the answers end at once")


def test_results_are_shown_where_they_cannot_be_kept(cli: Cli, script: Script, home: Path) -> None:
    (home / "data").write_text("a file", encoding="utf-8")

    result = cli("bench", "-m", script(SLOW_REPLY), "--batch", "1", *SMALL)
    unkept = cli("bench", "-m", script(SLOW_REPLY), "--batch", "1", *SMALL, "--no-save")

    assert result.status == unkept.status == 0
    assert "1 ####" in result.stdout
    assert result.stderr.startswith("gptcli: warning: the results are not kept: cannot write")
    assert unkept.stderr == ""


def test_the_one_model_of_the_settings_is_taken_whole(cli: Cli, script: Script, home: Path) -> None:
    spec = script(SLOW_REPLY, model={"name": "settled"})
    spaced = home / "my model.jsonl"
    Path(spec.removeprefix("scripted:")).rename(spaced)
    (home / "config").mkdir()
    (home / "config" / "config.toml").write_text(f"model = 'scripted:{spaced}'\n", encoding="utf-8")
    arguments = ("bench", "--batch", "1", *SMALL, "--no-save", "--json")

    from_file = cli(*arguments)
    (home / "config" / "config.toml").unlink()
    from_environment = cli(*arguments, env={"GPTCLI_MODEL": f"scripted:{spaced}"})

    for result in (from_file, from_environment):
        assert result.json["runs"][0]["model"]["name"] == "settled"


def test_prompt_and_answer_may_fill_the_window() -> None:
    task = BenchTask(batches=(1,), prompt_tokens=40, tokens=4, repeat=1)

    def engine(window: int) -> ScriptedEngine:
        model = ModelInfo(name="small", context_limit=window)
        return ScriptedEngine(default=Reply(text="word " * 50), model=model)

    assert len(list(bench(engine(44), task))) == 1
    with pytest.raises(ContextOverflowError):
        next(bench(engine(43), task))
