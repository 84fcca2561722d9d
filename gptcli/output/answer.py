"""Shows generated text: as it comes on a terminal or in a pipe, or whole as JSON."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol

from gptcli.engine.api import (
    Delta,
    Event,
    Finished,
    FinishReason,
    ModelInfo,
    Timings,
    TokenLogprob,
    Usage,
)
from gptcli.output.console import Output
from gptcli.output.folding import FoldedThinking

Thinking = Literal["show", "fold", "hide"]


@dataclass(slots=True)
class Sample:
    """One generated text, growing."""

    text: str = ""
    finish_reason: FinishReason = "cancelled"
    usage: Usage = field(default_factory=Usage)
    timings: Timings = field(default_factory=Timings)
    logprobs: list[TokenLogprob] = field(default_factory=list)


class TextSink(Protocol):
    """Shows text as it comes."""

    def feed(self, text: str) -> None: ...
    def close(self) -> None: ...


class RawText:
    """Text as it comes, ended by one newline, however many the model wrote."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._held = ""  # newlines that may be the last ones

    def feed(self, text: str) -> None:
        shown = (self._held + text).rstrip("\n")
        self._held = (self._held + text)[len(shown) :]
        self._output.write(shown)

    def close(self) -> None:
        self._output.write("\n" if self._held else "")
        self._held = ""
        self._output.finish_text()


class HeldText:
    """Text that is shown when it is complete: --no-stream, and --logprobs on a terminal."""

    def __init__(self, sink: TextSink | None) -> None:
        self._sink = sink
        self._pieces: list[str] = []

    def feed(self, text: str) -> None:
        self._pieces.append(text)

    def close(self) -> None:
        if self._sink is not None:
            self._sink.feed("".join(self._pieces))
            self._sink.close()


def text_sink(output: Output, *, markdown: bool, streams: bool) -> TextSink:
    """Return what shows a text on stdout: Markdown on a terminal, raw text in a pipe."""
    if markdown and output.stdout_is_tty:
        from gptcli.output.markdown import MarkdownStream

        sink: TextSink = MarkdownStream(output)
    else:
        sink = RawText(output)
    return sink if streams else HeldText(sink)


class AnswerView:
    """Shows the events of one or several samples, and keeps the samples."""

    def __init__(
        self,
        output: Output,
        *,
        samples: int = 1,
        markdown: bool = True,
        streams: bool = True,
        thinking: Thinking = "show",
        echo: str = "",
        silent: bool = False,
        logprobs: bool = False,
    ) -> None:
        self._output = output
        self._samples_wanted = samples
        self._markdown = markdown
        self._streams = streams
        self._thinking = thinking
        self._echo = echo
        self._silent = silent
        self._shows_logprobs = logprobs and not silent
        self._sink: TextSink | None = None
        self._folded = FoldedThinking(output)
        self.samples: list[Sample] = []

    def show(self, events: Iterable[Event]) -> None:
        """Show events as they come. On an exception, what came so far is shown in full."""
        try:
            for event in events:
                self._take(event)
        finally:
            self._folded.close()
            if self._sink is not None:
                self._sink.close()

    def _take(self, event: Event) -> None:
        if len(self.samples) <= event.id:
            self._begin_sample()
        sample = self.samples[-1]
        if isinstance(event, Delta):
            if event.channel == "thinking":
                if self._thinking == "show":
                    self._output.thinking(event.text)
                elif self._thinking == "fold":
                    self._folded.feed(event.text)
                return
            self._folded.close()
            sample.text += event.text
            sample.logprobs.extend(event.logprobs)
            self._feed(event.text)
        elif isinstance(event, Finished):
            sample.finish_reason, sample.usage = event.reason, event.usage
            sample.timings = event.timings
            self._end_sample(sample)

    def _begin_sample(self) -> None:
        self.samples.append(Sample())
        if self._silent:
            return
        if self._samples_wanted > 1 and len(self.samples) > 1:
            self._output.write("\n")
        if self._samples_wanted > 1 and self._output.stdout_is_tty:
            self._output.status(f"── {len(self.samples)} of {self._samples_wanted} ──")
        shows_at_end = self._shows_logprobs
        self._sink = (
            HeldText(None)
            if shows_at_end
            else text_sink(self._output, markdown=self._markdown, streams=self._streams)
        )
        self._feed(self._echo)

    def _feed(self, text: str) -> None:
        if self._sink is not None and text:
            self._sink.feed(text)

    def _end_sample(self, sample: Sample) -> None:
        if self._sink is not None:
            self._sink.close()
            self._sink = None
        if self._shows_logprobs:
            from gptcli.output.tables import print_logprobs

            print_logprobs(self._output, sample.logprobs)


def answer_json(model: ModelInfo, samples: list[Sample], *, logprobs: bool) -> dict[str, Any]:
    """Return the JSON object for `--json`; its keys are part of the command line's contract."""
    first, usage = samples[0], total_usage(samples)
    prompt_s = sum(sample.timings.prompt_s for sample in samples)
    generate_s = sum(sample.timings.generate_s for sample in samples)
    evaluated = usage.prompt_tokens - usage.cached_tokens
    answer: dict[str, Any] = {
        "text": first.text,
        "model": model.name,
        "finish_reason": first.finish_reason,
        "usage": asdict(usage),
        "timings": {
            "load_s": round(model.load_s, 4),
            "prompt_s": round(prompt_s, 4),
            "generate_s": round(generate_s, 4),
            "prompt_tokens_per_s": rate(evaluated, prompt_s),
            "tokens_per_s": rate(usage.completion_tokens, generate_s),
        },
    }
    if logprobs:
        answer["logprobs"] = _logprobs_json(first)
    if len(samples) > 1:
        answer["samples"] = [
            {"text": sample.text, "finish_reason": sample.finish_reason, "usage": asdict(sample.usage)}
            | ({"logprobs": _logprobs_json(sample)} if logprobs else {})
            for sample in samples
        ]
    return answer


def total_usage(samples: list[Sample]) -> Usage:
    """Return the tokens of all samples together."""
    return Usage(
        prompt_tokens=sum(sample.usage.prompt_tokens for sample in samples),
        cached_tokens=sum(sample.usage.cached_tokens for sample in samples),
        completion_tokens=sum(sample.usage.completion_tokens for sample in samples),
    )


def timings_text(model: ModelInfo, samples: list[Sample]) -> str:
    """Return the line that --verbose prints: seconds, tokens, and tokens per second."""
    values = answer_json(model, samples, logprobs=False)
    usage, timings = values["usage"], values["timings"]
    return (
        f"load {timings['load_s']:.2f} s · "
        f"prompt {usage['prompt_tokens']} tokens ({usage['cached_tokens']} cached) "
        f"{timings['prompt_s']:.2f} s, {timings['prompt_tokens_per_s'] or 0:.0f}/s · "
        f"text {usage['completion_tokens']} tokens {timings['generate_s']:.2f} s, "
        f"{timings['tokens_per_s'] or 0:.1f}/s"
    )


def rate(tokens: int, seconds: float) -> float | None:
    """Return tokens per second; None where there is nothing to divide."""
    return round(tokens / seconds, 2) if tokens and seconds else None


def _logprobs_json(sample: Sample) -> list[dict[str, Any]]:
    return [
        {
            "token": item.token,
            "logprob": _finite(item.logprob),
            "top": [{"token": token, "logprob": _finite(logprob)} for token, logprob in item.top],
        }
        for item in sample.logprobs
    ]


def _finite(logprob: float) -> float | None:
    return logprob if math.isfinite(logprob) else None  # JSON has no infinity
