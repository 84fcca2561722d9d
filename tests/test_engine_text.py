"""Whole characters, and stop strings that are never shown."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gptcli.engine.text import StopStream, Utf8Stream


def chunked(data: bytes, sizes: list[int]) -> list[bytes]:
    chunks, start = [], 0
    for size in sizes:
        chunks.append(data[start : start + size])
        start += size
    return [*chunks, data[start:]]


@given(st.text(), st.lists(st.integers(0, 5), max_size=30))
def test_characters_survive_any_cut(text: str, sizes: list[int]) -> None:
    stream = Utf8Stream()
    shown = [stream.feed(chunk) for chunk in chunked(text.encode(), sizes)]

    assert "".join(shown) + stream.flush() == text
    assert "\ufffd" not in "".join(shown) or "\ufffd" in text


def test_half_a_character_at_the_end_is_replaced() -> None:
    stream = Utf8Stream()
    assert stream.feed("né".encode()[:-1]) == "n"
    assert stream.flush() == "\ufffd"


@given(
    st.text(alphabet="ab\n", max_size=30),
    st.lists(st.text(alphabet="ab\n", min_size=1, max_size=4), max_size=3),
    st.lists(st.integers(1, 4), max_size=30),
)
def test_a_stop_string_is_never_shown_however_it_arrives(
    text: str, stops: list[str], sizes: list[int]
) -> None:
    stream = StopStream(stops)
    shown = "".join(stream.feed(chunk.decode()) for chunk in chunked(text.encode(), sizes))
    if not stream.stopped:
        shown += stream.flush()

    found = [text.find(stop) for stop in stops if stop in text]
    # The first stop string that is complete ends the text; another may begin before it.
    assert not any(stop in shown for stop in stops)
    assert text.startswith(shown)
    assert stream.stopped == bool(found)
    if not found:
        assert shown == text


def test_what_could_become_a_stop_string_waits() -> None:
    stream = StopStream(["\nUser:"])
    assert stream.feed("fine\nUs") == "fine"
    assert stream.feed("ual") == "\nUsual"
    assert stream.feed("\nUser: hi") == ""
    assert stream.stopped
    assert stream.feed("more") == ""
