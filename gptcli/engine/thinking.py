"""Splits what a reasoning model writes into its thinking and its answer, as it arrives."""

from __future__ import annotations

import re

from gptcli.engine.api import Channel

# Opener -> closer, as the models' chat templates write them.
TAGS = {
    "<think>": "</think>",  # DeepSeek-R1, Qwen3, GLM, Nemotron, SmolLM3 and many more
    "<thinking>": "</thinking>",
    "<thought>": "</thought>",
    "<seed:think>": "</seed:think>",  # Seed-OSS
    "[THINK]": "[/THINK]",  # Magistral, Ministral
    "<|START_THINKING|>": "<|END_THINKING|>",  # Command A, Command R7B
    "<|channel>thought": "<channel|>",  # Gemma 4
}

# gpt-oss: <|channel|>analysis<|message|>…<|end|><|start|>assistant<|channel|>final<|message|>…
HEADER_STARTS = ("<|start|>", "<|channel|>")
MESSAGE_ENDS = ("<|end|>", "<|return|>", "<|call|>")
HEADER_MARKERS = (*HEADER_STARTS, "<|constrain|>", "<|message|>")
_HEADER_FIELDS = (
    r"(?:<\|start\|>[^<]{0,64})?(?:<\|channel\|>(?P<channel>[^<]{0,64}))?(?:<\|constrain\|>[^<]{0,64})?"
)
_HEADER_SO_FAR = re.compile(_HEADER_FIELDS)
_HEADER = re.compile(_HEADER_FIELDS + r"<\|message\|>")

MARKERS = frozenset((*TAGS, *TAGS.values(), "<|channel>", *HEADER_MARKERS, *MESSAGE_ENDS))
"""Texts that the splitter wants to see although they may be control tokens of the model."""


class ThinkingSplitter:
    """Feed it the answer's text, piece by piece; it gives back pieces of thinking and of answer.

    A tag opens a thinking block only at the very start of the answer; gpt-oss's messages may
    come anywhere. Markers are never given back, however the pieces cut them; neither are newlines
    at the start of the thinking or after it. `open`: the prompt has opened the block already.
    """

    def __init__(self, *, open: bool = False) -> None:
        self._text = ""  # not yet decided on
        self._at_start = True  # a tag may open the block
        self._between = False  # after the end of a gpt-oss message
        self._channel: Channel = "thinking" if open else "answer"
        self._ends = (*TAGS.values(), *MESSAGE_ENDS, *HEADER_STARTS) if open else HEADER_STARTS
        self._drops_newlines = open

    def feed(self, text: str) -> list[tuple[Channel, str]]:
        """Return what is certain now, in order."""
        self._text += text
        return self._take(final=False)

    def flush(self) -> list[tuple[Channel, str]]:
        """Return what was held back: the text is complete."""
        return self._take(final=True)

    def _take(self, *, final: bool) -> list[tuple[Channel, str]]:
        pieces: list[tuple[Channel, str]] = []
        before = None
        while self._text and before != (before := (self._text, self._at_start, self._between)):
            if self._at_start or self._between:
                self._begin(final=final)
            else:
                pieces += self._continue(final=final)
        return pieces

    def _begin(self, *, final: bool) -> None:
        """Decide what kind of text comes next, or leave everything as it is until there is more."""
        text = self._text.lstrip()
        opener = next((opener for opener in TAGS if text.startswith(opener)), None)
        if self._at_start and opener is not None:
            self._text = text[len(opener) :]
            self._enter("thinking", (TAGS[opener],), drops_newlines=True)
        elif header := _HEADER.match(text):
            self._text = text[header.end() :]
            self._enter_message(header)
        elif self._may_begin(text) and not final:
            return
        elif self._between:
            # Half a header at the end of the output is not worth showing.
            self._text = "" if self._may_begin(text) else text
            self._enter("answer", HEADER_STARTS)
        else:
            self._at_start = False

    def _may_begin(self, text: str) -> bool:
        openers = (*TAGS, *HEADER_MARKERS) if self._at_start else HEADER_MARKERS
        return any(opener.startswith(text) for opener in openers) or _may_become_header(text)

    def _enter(self, channel: Channel, ends: tuple[str, ...], *, drops_newlines: bool = False) -> None:
        self._at_start = self._between = False
        self._channel, self._ends, self._drops_newlines = channel, ends, drops_newlines

    def _enter_message(self, header: re.Match[str]) -> None:
        name = (header["channel"] or "final").split()
        channel: Channel = "answer" if name[:1] == ["final"] else "thinking"
        self._enter(channel, (*MESSAGE_ENDS, *HEADER_STARTS))

    def _continue(self, *, final: bool) -> list[tuple[Channel, str]]:
        """Take text of the current channel, up to the marker that ends it."""
        if self._drops_newlines:
            self._text = self._text.lstrip("\r\n")
        found = min(((n, end) for end in self._ends if (n := self._text.find(end)) >= 0), default=None)
        if found is None:
            kept = 0 if final else _partial_marker(self._text, self._ends)
            return self._give(len(self._text) - kept)
        start, end = found
        pieces = self._give(start)
        if end in HEADER_STARTS:
            return pieces + self._header(final=final)
        self._text = self._text[len(end) :]
        if end in MESSAGE_ENDS:
            self._between = True
        else:
            self._enter("answer", HEADER_STARTS, drops_newlines=True)
        return pieces

    def _header(self, *, final: bool) -> list[tuple[Channel, str]]:
        """Take a gpt-oss header off the text's start, or its first character if it is none."""
        if header := _HEADER.match(self._text):
            self._text = self._text[header.end() :]
            self._enter_message(header)
            return []
        if _may_become_header(self._text) and not final:
            return []
        return self._give(1)

    def _give(self, length: int) -> list[tuple[Channel, str]]:
        piece, self._text = self._text[:length], self._text[length:]
        if not piece:
            return []
        self._drops_newlines = False
        return [(self._channel, piece)]


def _partial_marker(text: str, markers: tuple[str, ...]) -> int:
    """Return the length of the longest end of `text` that begins a marker without completing it."""
    longest = max(map(len, markers)) - 1
    for length in range(min(longest, len(text)), 0, -1):
        end = text[-length:]
        if any(marker.startswith(end) and len(marker) > length for marker in markers):
            return length
    return 0


def _may_become_header(text: str) -> bool:
    whole = text[: len(text) - _partial_marker(text, HEADER_MARKERS)]
    return bool(whole) and _HEADER_SO_FAR.fullmatch(whole) is not None
