"""`gptcli generate --words N`: what is asked for, and how the text is shown while it grows."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

from gptcli.cli.logged import RunLog
from gptcli.engine.api import Engine
from gptcli.errors import UsageError
from gptcli.output.answer import TextSink, rate, text_sink
from gptcli.output.console import Output
from gptcli.output.progress import Progress as ProgressBar
from gptcli.prompts.library import Template
from gptcli.tasks.generate import GenerateTask
from gptcli.tasks.longform import Done, LongStyle, Progress, Text, check_words, write_long

# What makes no sense together with a length in words.
EXCLUDED = ("json_schema", "grammar", "choices", "regex", "logprobs", "max_tokens", "echo", "dry_run")


def check_long(params: dict[str, Any]) -> None:
    """Raise UsageError for a length out of range, or together with options that contradict it."""
    check_words(params["words"])
    asked = [name for name in EXCLUDED if params[name] not in (None, False)]
    asked += ["num"] if params["num"] != 1 else []
    if asked:
        names = " and ".join(f"--{name.replace('_', '-')}" for name in asked)
        raise UsageError(f"--words and {names} exclude each other")


def long_style(template: Template | None) -> LongStyle:
    """Return what kind of text a template asks for."""
    if template is None:
        return LongStyle()
    return LongStyle(headings=template.headings)


def write_long_text(
    engine: Engine,
    task: GenerateTask,
    params: dict[str, Any],
    style: LongStyle,
    output: Output,
    log: RunLog,
) -> None:
    """Write the text to stdout as it grows. On Ctrl-C what was written stays."""
    sink: TextSink | None = None
    if not params["json"]:
        sink = text_sink(
            output, markdown=params["markdown"] is not False, streams=not params["no_stream"]
        )
    log.ask(engine.model, task.parts)
    log.begin_answer(task.sampling)
    pieces: list[str] = []
    done: Done | None = None
    with ExitStack() as stack:
        if sink is not None:
            stack.callback(sink.close)
        # On a terminal the text itself shows how far it is.
        bar = None
        if sink is None or not output.stdout_is_tty:
            bar = stack.enter_context(ProgressBar(output, "writing", params["words"]))
        started = time.monotonic()
        try:
            for event in write_long(engine, task, params["words"], style):
                if isinstance(event, Text):
                    pieces.append(event.text)
                    log.grow(event.text)
                    if sink is not None:
                        sink.feed(event.text)
                elif isinstance(event, Progress) and bar is not None:
                    rate_text = f"{60 * event.words_done / (time.monotonic() - started):.0f} words/min"
                    bar.update(event.words_done, text=rate_text)
                elif isinstance(event, Done):
                    done = event
                    log.end_answer("stop", done.usage, done.timings)
        finally:
            if params["json"] and pieces:
                output.json(_json(engine, task, "".join(pieces), done))
    if done is not None:
        for warning in done.warnings:
            output.warning(warning)
        output.note(
            f"{done.words:,} words, {done.usage.completion_tokens:,} tokens in "
            f"{done.timings.prompt_s + done.timings.generate_s:.1f} s · seed {task.sampling.seed}"
        )


def _json(engine: Engine, task: GenerateTask, text: str, done: Done | None) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "text": text,
        "model": engine.model.name,
        "words": done.words if done is not None else len(text.split()),
        "sections": [asdict(section) for section in done.sections] if done is not None else [],
        "finish_reason": "stop" if done is not None else "cancelled",
        "seed": task.sampling.seed,
    }
    if done is not None:
        tokens, timings = done.usage.completion_tokens, done.timings
        answer["usage"] = asdict(done.usage)
        answer["timings"] = {
            "load_s": round(engine.model.load_s, 4),
            "prompt_s": round(timings.prompt_s, 4),
            "generate_s": round(timings.generate_s, 4),
            "tokens_per_s": rate(tokens, timings.generate_s),
        }
        answer["warnings"] = list(done.warnings)
    return answer
