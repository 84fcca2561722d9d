from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptcli.engine.thinking import HEADER_MARKERS, MARKERS, MESSAGE_ENDS, TAGS, ThinkingSplitter


def split(*pieces: str, open: bool = False) -> tuple[str, str]:
    """Return the whole thinking and the whole answer."""
    splitter = ThinkingSplitter(open=open)
    given = [pair for piece in pieces for pair in splitter.feed(piece)] + splitter.flush()
    return tuple(
        "".join(text for channel, text in given if channel == want) for want in ("thinking", "answer")
    )  # type: ignore[return-value]


@pytest.mark.parametrize(("opener", "closer"), TAGS.items())
def test_every_tag_pair_separates_thinking_from_answer(opener: str, closer: str) -> None:
    assert split(f"{opener}\nLet me see.{closer}\n\nParis.") == ("Let me see.", "Paris.")
    assert split(f" \n{opener}a{closer}b") == ("a", "b")


def test_text_without_tags_is_the_answer_as_it_stands() -> None:
    assert split("\n  Paris <b>is</b> 1 < 2 ") == ("", "\n  Paris <b>is</b> 1 < 2 ")


def test_a_tag_later_in_the_answer_is_text() -> None:
    assert split("Use <think>x</think> in HTML") == ("", "Use <think>x</think> in HTML")
    assert split("<think>a</think>\n<think>b</think>") == ("a", "<think>b</think>")


def test_thinking_that_never_ends_stays_thinking() -> None:
    assert split("<think>and so on </thi") == ("and so on </thi", "")


def test_an_empty_block_gives_no_thinking() -> None:
    assert split("<think>\n\n</think>\n\nParis.") == ("", "Paris.")


def test_white_space_and_half_a_tag_come_out_at_the_end() -> None:
    assert split(" \n") == ("", " \n")
    assert split(" <thin") == ("", " <thin")
    assert split("") == ("", "")


def test_a_block_that_the_prompt_opened() -> None:
    assert split("\nhm</think>\n\nyes", open=True) == ("hm", "yes")
    assert split("<think>\nhm</think>yes", open=True) == ("hm", "yes")
    assert split("hm[/THINK]yes", open=True) == ("hm", "yes")
    assert split("hm", open=True) == ("hm", "")


def test_markers_in_pieces_are_never_shown_and_text_comes_at_once() -> None:
    splitter = ThinkingSplitter()
    assert splitter.feed("<th") == []
    assert splitter.feed("ink>\n") == []
    assert splitter.feed("I see") == [("thinking", "I see")]
    assert splitter.feed(" <") == [("thinking", " ")]
    assert splitter.feed("/think") == []
    assert splitter.feed(">\n\n") == []
    assert splitter.feed("Paris") == [("answer", "Paris")]
    assert splitter.feed(", 1 <| 2") == [("answer", ", 1 <| 2")]
    assert splitter.flush() == []


GPT_OSS = (
    "<|channel|>analysis<|message|>Simple.<|end|>"
    "<|start|>assistant<|channel|>final<|message|>4 < 5<|return|>"
)


def test_gpt_oss() -> None:
    assert split(GPT_OSS) == ("Simple.", "4 < 5")
    assert split("<|message|>4") == ("", "4")
    assert split("Simple.<|end|><|start|>assistant<|channel|>final<|message|>4", open=True) == (
        "Simple.",
        "4",
    )


def test_gpt_oss_commentary_is_thinking() -> None:
    commentary = "<|start|>assistant<|channel|>commentary to=f <|constrain|>json<|message|>{}<|call|>"
    assert split(GPT_OSS.replace("<|return|>", "<|end|>") + commentary) == ("Simple.{}", "4 < 5")


def test_gpt_oss_headers_anywhere_but_only_whole_ones() -> None:
    assert split("done<|start|>assistant<|channel|>analysis<|message|>hm") == ("hm", "done")
    assert split("the <|start|> marker") == ("", "the <|start|> marker")
    assert split("the <|channel|>" + "x" * 80) == ("", "the <|channel|>" + "x" * 80)


def test_gpt_oss_cut_in_a_header_shows_nothing_of_it() -> None:
    assert split("<|channel|>analysis<|message|>hm<|end|><|start|>assis") == ("hm", "")
    assert split("<|channel|>analysis<|message|>hm<|end|>\nfour") == ("hm", "four")


PARTS = st.sampled_from(
    [
        *sorted(MARKERS),
        *HEADER_MARKERS * 3,
        *MESSAGE_ENDS,
        "assistant",
        "final",
        "analysis",
        "\n",
        " ",
        "<",
        "|",
        "a",
        "x" * 70,
    ]
)
TEXTS = st.lists(PARTS, max_size=12).map("".join)


@given(TEXTS, st.data(), st.booleans())
def test_the_result_does_not_depend_on_the_pieces(text: str, data: st.DataObject, open: bool) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=12)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert split(*pieces, open=open) == split(text, open=open) == split(*text, open=open)


@given(st.text(alphabet="ab <|>\n", max_size=40))
def test_ordinary_text_passes_unchanged(text: str) -> None:
    assert split(*text) == ("", text)
