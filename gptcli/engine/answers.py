"""From one request's tokens to its deltas."""

from __future__ import annotations

from collections.abc import Iterator

from gptcli.engine.api import Channel, Delta, Generate, TokenLogprob
from gptcli.engine.text import StopStream, Utf8Stream
from gptcli.engine.thinking import ThinkingSplitter


class AnswerText:
    """From one request's tokens to its deltas: whole characters, thinking apart, stops cut off."""

    def __init__(self, request: Generate, *, splits: bool, open_thinking: bool) -> None:
        self._id = request.id
        self._utf8 = Utf8Stream()
        self._splitter = ThinkingSplitter(open=open_thinking) if splits else None
        self._stops = StopStream(request.stop)
        self._logprobs: list[TokenLogprob] = []

    @property
    def stopped(self) -> bool:
        return self._stops.stopped

    def feed(self, data: bytes, logprob: TokenLogprob | None) -> Iterator[Delta]:
        if logprob is not None:
            self._logprobs.append(logprob)
        text = self._utf8.feed(data)
        if text:
            yield from self._split(text)

    def flush(self) -> Iterator[Delta]:
        yield from self._split(self._utf8.flush())
        rest = self._splitter.flush() if self._splitter is not None else []
        for channel, piece in rest:
            yield from self._emit(channel, piece)
        if not self.stopped:
            yield from self._delta("answer", self._stops.flush())

    def _split(self, text: str) -> Iterator[Delta]:
        pieces: list[tuple[Channel, str]] = (
            [("answer", text)] if self._splitter is None else self._splitter.feed(text)
        )
        for channel, piece in pieces:
            yield from self._emit(channel, piece)

    def _emit(self, channel: Channel, piece: str) -> Iterator[Delta]:
        yield from self._delta(channel, self._stops.feed(piece) if channel == "answer" else piece)

    def _delta(self, channel: Channel, text: str) -> Iterator[Delta]:
        if text:
            logprobs, self._logprobs = tuple(self._logprobs), []
            yield Delta(id=self._id, text=text, channel=channel, logprobs=logprobs)
