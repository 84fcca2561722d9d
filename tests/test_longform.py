"""Long texts: the length is kept whatever the model does, and what does not belong is left out."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptcli.engine.api import EngineSettings, Generate, ModelInfo, Request, Tokenize
from gptcli.engine.local import LocalEngine
from gptcli.engine.scripted import Reply, ScriptedEngine, prompt_text
from gptcli.errors import EngineCrashedError, UsageError
from gptcli.prompts.compose import PromptParts
from gptcli.sampling import SamplingParams
from gptcli.tasks.draft import Section
from gptcli.tasks.generate import GenerateTask
from gptcli.tasks.longform import (
    Done,
    LongEvent,
    LongStyle,
    Planned,
    Progress,
    SectionStarted,
    Text,
    write_long,
)
from gptcli.tasks.outline import parse_titles, section_count
from gptcli.tasks.prose import SentenceStream, count_words, cut_at_clause, ends_sentence
from gptcli.tasks.remarks import is_closing, is_heading, is_remark
from gptcli.tasks.repetition import RepetitionGuard, Strictness, repeated_share

CHAT = ModelInfo(name="chat", context_length=4096, context_limit=4096, chat_template="x")
BASE = ModelInfo(name="base", context_length=4096, context_limit=4096)
NUMBERS = itertools.count()


def sentence(words: int) -> str:
    """Return a sentence of so many words that no other sentence has."""
    return " ".join(f"w{next(NUMBERS)}" for _ in range(words)).capitalize() + "."


def prose(sentences: int, words: int = 12) -> str:
    return " ".join(sentence(words) for _ in range(sentences))


def endless(*first: Reply, model: ModelInfo = BASE) -> ScriptedEngine:
    """Return an engine that gives these replies, and then something new each time."""
    return ScriptedEngine([*first, *(Reply(text=prose(20)) for _ in range(100))], model=model)


def outline(sections: int) -> str:
    return "\n".join(f"{n}. Aspect{n} number{n}" for n in range(1, sections + 1))


def task(*, raw: bool | None = None, stop: tuple[str, ...] = (), **sampling: float) -> GenerateTask:
    params = SamplingParams(**{"seed": 1} | sampling)  # type: ignore[arg-type]
    return GenerateTask(
        parts=PromptParts(instruction="About tea.\n"), raw=raw, stop=stop, sampling=params
    )


def write(
    engine: ScriptedEngine, words: int, wanted: GenerateTask | None = None, **style: Any
) -> tuple[Done, list[LongEvent]]:
    """Write a text, and check what is true of every one."""
    events = list(write_long(engine, wanted or task(), words, LongStyle(**style)))
    done = events[-1]
    assert isinstance(done, Done)
    assert "".join(event.text for event in events if isinstance(event, Text)) == done.text
    assert count_words(done.text) == done.words
    assert done.words <= 1.15 * words
    assert isinstance(events[0], Planned)
    assert events[-2] == Progress(done.words, words)
    return done, events


def is_near(done: Done, words: int) -> bool:
    return abs(done.words - words) <= 0.15 * words


def prompts(engine: ScriptedEngine) -> list[str]:
    return [prompt_text(request.prompt) for request in requests(engine.requests)]


def requests(asked: Iterable[Request]) -> list[Generate]:
    return [request for request in asked if isinstance(request, Generate)]


# ------------------------------------------------------------------------------------- the length

ENDLESS = Reply(text=prose(120))
SAME = [Reply(text=prose(20)) for _ in range(9)]
reply_lengths = st.lists(st.lists(st.integers(1, 130), max_size=8), max_size=15)


@settings(max_examples=40, deadline=None)
@given(
    words=st.integers(50, 900),
    lengths=reply_lengths,
    seed=st.integers(0, 9),
    model=st.sampled_from([CHAT, BASE]),
    headings=st.booleans(),
)
def test_the_length_is_kept(
    words: int, lengths: list[list[int]], seed: int, model: ModelInfo, headings: bool
) -> None:
    chosen = random.Random(seed)
    replies = [
        Reply(
            text=chosen.choice(["", " ", "\n\n"]) + " ".join(sentence(length) for length in reply),
            finish_reason=chosen.choice(["stop", "length"]),
        )
        for reply in lengths
    ]
    engine = ScriptedEngine(replies, default=ENDLESS, model=model)

    done, _ = write(engine, words, headings=headings)

    assert is_near(done, words)


@pytest.mark.parametrize(
    "text",
    [
        "The cat sat. ",
        "loop loop loop loop",
        "No end " * 400,
        "One more, ",
        "今天天气很好，我们去公园散步，看见很多花。",
        "茶" * 300,
        "x" * 1300 + " ",
    ],
    ids=lambda text: text[:12],
)
@pytest.mark.parametrize("words", [60, 100, 400])
def test_the_length_is_kept_by_a_model_that_only_repeats_itself(text: str, words: int) -> None:
    done, _ = write(ScriptedEngine(default=Reply(text=text)), words)

    assert is_near(done, words)
    assert done.warnings == ("the text repeats itself; a larger model does so less",)


@pytest.mark.parametrize("text", ["", "  \n", "***\n", "# Tea\n\n", "Sure! Here is the text:"])
@pytest.mark.parametrize("model", [BASE, CHAT], ids=["base", "chat"])
def test_a_model_that_writes_nothing(text: str, model: ModelInfo) -> None:
    engine = ScriptedEngine(default=Reply(text=text), model=model)

    done, events = write(engine, 400)

    assert done.text == ""
    assert done.sections == ()
    assert done.warnings == ("the model stopped writing after 0 of 400 words",)
    assert not any(isinstance(event, SectionStarted) for event in events)
    assert len(engine.requests) < 40


def test_a_model_that_stops_for_good_in_the_middle() -> None:
    done, _ = write(ScriptedEngine([Reply(text=prose(10))], default=Reply()), 400)

    assert done.words == 120
    assert done.text.endswith(".")
    assert done.warnings == ("the model stopped writing after 120 of 400 words",)


def test_a_text_ends_with_a_sentence() -> None:
    for words in range(50, 400, 17):
        done, _ = write(endless(), words)
        assert ends_sentence(done.text)
        assert abs(done.words - words) <= 6 + 0.05 * words


def test_a_list_may_end_with_any_line() -> None:
    items = "\n".join(f"- item {n} of the list" for n in range(100))

    done, _ = write(ScriptedEngine([Reply(text=items)]), 150)

    assert abs(done.words - 150) <= 12
    assert done.text.endswith("of the list")


def test_a_sentence_is_cut_only_where_nothing_else_is_left() -> None:
    long = " ".join(f"w{n}" for n in range(40)) + ", " + " ".join(f"v{n}" for n in range(60)) + "."

    done, _ = write(ScriptedEngine(default=Reply(text=long)), 50)

    assert done.text.endswith("w39 v0…") or done.text.endswith("…")
    assert is_near(done, 50)


@pytest.mark.parametrize("words", [-1, 0, 49, 50_001])
def test_a_length_out_of_range(words: int) -> None:
    with pytest.raises(UsageError, match="--words must be between 50 and 50,000"):
        write_long(ScriptedEngine(), task(), words)


# --------------------------------------------------------------------------- outline and sections


def test_a_chat_model_plans_and_writes_section_after_section() -> None:
    engine = endless(Reply(text=outline(4)), model=CHAT)

    done, events = write(engine, 720)

    assert events[0] == Planned(tuple(f"Aspect{n} number{n}" for n in range(1, 5)))
    started = [event for event in events if isinstance(event, SectionStarted)]
    assert started == [SectionStarted(n, 4, f"Aspect{n} number{n}") for n in range(1, 5)]
    assert [section.heading for section in done.sections] == [event.heading for event in started]
    lengths = [count_words(section.text) for section in done.sections]
    assert all(120 < length < 220 for length in lengths), lengths
    assert done.text.count("\n\n## Aspect") == 3
    assert done.text.startswith("## Aspect1 number1\n\nW")
    assert "the section “Aspect2 number2”, in about" in prompts(engine)[2]


def test_sections_without_headings_show_none() -> None:
    engine = endless(Reply(text=outline(4)), model=CHAT)

    done, _ = write(engine, 720, headings=False)

    assert "Aspect" not in done.text
    assert "What happens now: Aspect3 number3." in "".join(prompts(engine))
    assert [section.heading for section in done.sections][1] == "Aspect2 number2"


@pytest.mark.parametrize("plan", ["", "\n\n\n", "no list at all? " * 40, outline(40), "1.\n2.\n3."])
def test_an_outline_of_no_use(plan: str) -> None:
    engine = ScriptedEngine([Reply(text=plan)] * 4, default=Reply(text=prose(300)), model=CHAT)

    done, events = write(engine, 900)

    assert is_near(done, 900)
    assert isinstance(events[0], Planned)
    assert len(events[0].headings) <= section_count(900)


def test_titles_are_read_from_whatever_list_comes() -> None:
    text = (
        "Here it is\n1. **The Leaf**\n2) the leaf\n- Section 3: Water, hot\n### 4. Cups:\n"
        "Introduction\n5. The leaf again\n6.\n7. 1848\n" + "8. " + "word " * 30
    )

    titles = parse_titles(text)

    assert titles[:4] == ["Here it is", "The Leaf", "Water, hot", "Cups"]
    assert len(titles) == 5
    assert len(titles[4]) <= 70


def test_a_section_that_ends_early_leaves_its_words_to_the_others() -> None:
    short = [Reply(text=f" {prose(2)}"), Reply(), Reply(), Reply(), Reply()]
    engine = endless(Reply(text=outline(3)), *short, model=CHAT)

    done, _ = write(engine, 540)

    lengths = [count_words(section.text) for section in done.sections]
    assert lengths[0] == 24
    assert min(lengths[1:]) > 200
    assert is_near(done, 540)


def test_a_models_own_headings() -> None:
    own = "## Aspect1 number1\n\n" + prose(9) + "\n\n## Aspect2 number2\n\n" + prose(3)
    engine = endless(Reply(text=outline(2)), Reply(text=own), model=CHAT)

    done, _ = write(engine, 360)

    assert done.text.count("## Aspect1") == 1
    assert done.text.count("## Aspect2") == 1
    assert count_words(done.sections[0].text) == 108


def test_a_base_model_finds_its_headings_as_it_goes() -> None:
    engine = endless(*[Reply()] * 4, Reply(text=prose(17)), Reply(text=" How it grows\n"))

    done, events = write(engine, 360, headings=True)

    assert events[0] == Planned(())
    assert [section.heading for section in done.sections] == ["", "How it grows"]
    assert "\n\n## How it grows\n\nW" in done.text
    assert prompts(engine)[0].endswith("About tea.\nContents:\n")
    assert prompts(engine)[5].endswith("\n\n##")


# ------------------------------------------------------------------------------ what is left out


def test_remarks_are_left_out() -> None:
    text = (
        f"Certainly! Here is the article:\n\n{prose(3)} I hope this helps! Let me know if you like it."
    )

    done, _ = write(ScriptedEngine([Reply(text=text)], default=ENDLESS, model=CHAT), 100)

    assert "ertainly" not in done.text
    assert "hope" not in done.text
    assert is_near(done, 100)


def test_a_conclusion_waits_for_the_end() -> None:
    text = f"{prose(2)} In conclusion, tea is good. {prose(2)}"

    done, _ = write(ScriptedEngine([Reply(text=text)], default=ENDLESS), 200)

    assert "conclusion" not in done.text


def test_a_stop_string_ends_the_text_but_not_for_good() -> None:
    text = f"{prose(2)}\n\nTopic: coffee\n{prose(30)}"

    done, _ = write(ScriptedEngine([Reply(text=text)], default=ENDLESS), 200, task(stop=("\nTopic:",)))

    assert "Topic" not in done.text
    assert is_near(done, 200)


def test_repetition_is_written_again() -> None:
    loop = "The tea is hot and the cup is blue today. "
    engine = ScriptedEngine([Reply(text=loop * 30)], default=ENDLESS)

    done, _ = write(engine, 100)

    assert done.text.count("The tea is hot") == 1
    assert done.warnings == ()
    seeds = [request.sampling.seed for request in requests(engine.requests)]
    assert len(set(seeds)) == len(seeds) > 1


@pytest.mark.parametrize(
    ("text", "next_sentence", "objects"),
    [
        ("The tea is hot today.", "the tea is hot, today!", True),
        ("“Yes,” he said.", "“Yes,” he said.", False),
        ("He went to the old mill by the river.", "She went to the old mill by the river alone.", True),
        ("He went to the mill.", "She went home after a long day.", False),
        ("Tea.", "It was a very very very very very very very very very very very long day.", True),
        ("She was old. She was a queen. She was a cook.", "She was a singer.", True),
        (
            "这是一只很小的猫，它住在一座很老的房子里。",
            "这是一只很小的猫，它住在一座很老的房子里面。",
            True,
        ),
        ("这是一只猫。", "那是一座房子。", False),
    ],
)
def test_what_repeats(text: str, next_sentence: str, objects: bool) -> None:
    guard = RepetitionGuard()
    for known in [*(sentences := SentenceStream()).feed(text), sentences.rest]:
        guard.add(known)

    assert guard.objects(next_sentence) is objects
    assert not guard.objects(next_sentence, Strictness.OFF)


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("Sure! I can do that.", "remark"),
        ("Here is a short story about tea:", "remark"),
        ("In this section, we will look at cups.", "remark"),
        ("This story teaches us to wait.", "remark"),
        ("As an AI language model, I cannot drink.", "remark"),
        ("## Cups", "heading"),
        ("**Cups**", "heading"),
        ("Chapter 2: The Cup", "heading"),
        ("Overall, tea wins.", "closing"),
        ("Of course, tea is hot.", "text"),
        ("Here is where he drank his tea.", "text"),
        ("Thanks to my neighbour, I have tea.", "text"),
        ("Part of the tea was cold.", "text"),
        ("The story of tea is long.", "text"),
    ],
)
def test_remarks_headings_and_closings(line: str, kind: str) -> None:
    found = [
        name
        for name, is_it in (("remark", is_remark), ("heading", is_heading), ("closing", is_closing))
        if is_it(line)
    ]

    assert found == ([] if kind == "text" else [kind])


# ---------------------------------------------------------------------------------------- prompts


@pytest.mark.parametrize("model", [BASE, CHAT], ids=["base", "chat"])
def test_prompts_fit_a_small_window(model: ModelInfo) -> None:
    small = ModelInfo(name="small", context_limit=1024, chat_template=model.chat_template)
    engine = endless(*[Reply(text=outline(11))] * (model is CHAT), model=small)

    done, _ = write(engine, 2000)

    assert is_near(done, 2000)
    for request in requests(engine.requests):
        text = prompt_text(request.prompt)
        assert "About tea." in text
        assert len(text.split()) + (request.sampling.max_tokens or 0) <= 1024


def test_the_same_seed_asks_the_same() -> None:
    def asked(seed: int) -> list[tuple[str, int | None]]:
        engine = ScriptedEngine([Reply(text=outline(3)), *SAME], model=CHAT)
        write(engine, 500, task(seed=seed))
        return [
            (prompt_text(request.prompt), request.sampling.seed) for request in requests(engine.requests)
        ]

    assert asked(1) == asked(1)
    assert asked(1) != asked(2)


def test_the_users_sampling_comes_first() -> None:
    engine = ScriptedEngine(default=ENDLESS)
    write(engine, 100, task(temperature=0.3, dry_multiplier=0.0))

    sampling = requests(engine.requests)[0].sampling

    assert (sampling.temperature, sampling.dry_multiplier) == (0.3, 0.0)
    assert sampling.repeat_penalty is not None
    assert sampling.repeat_penalty > 1


def test_an_engine_that_fails_keeps_what_was_written() -> None:
    engine = ScriptedEngine([Reply(text=prose(3)), Reply(error=EngineCrashedError("gone"))])
    events = write_long(engine, task(), 200)
    texts: list[str] = []

    with pytest.raises(EngineCrashedError):
        texts.extend(event.text for event in events if isinstance(event, Text))

    assert len(texts) == 3


def test_usage_counts_every_request() -> None:
    engine = ScriptedEngine(default=ENDLESS)
    done, _ = write(engine, 300)

    assert done.usage.completion_tokens >= 290
    assert done.usage.prompt_tokens > 0
    assert isinstance(done.sections[0], Section)
    assert any(isinstance(request, Tokenize) for request in engine.requests)


# ------------------------------------------------------------------------------------------ prose


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", 0),
        ("One two - three.\n\n## Four", 6),
        ("你好，世界。", 4),
        ("GPT 模型很好 ok", 6),
        ("ひらがなとカタカナ", 9),
        ("안녕 세상", 2),
        ("ภาษาไทยง่าย", 2),
    ],
)
def test_words(text: str, words: int) -> None:
    assert count_words(text) == words


@pytest.mark.parametrize(
    "sentences",
    [
        ["One.", " Two!", " “Three?”", " Four"],
        ["Dr. Li met J. R. Smith at 5 p.m. in St. Ives.", " Then he left."],
        ["It costs 3.50 e.g. today.", " No."],
        ["1. Take a cup.", "\n2. Fill it."],
        ["Wait… what is it?", "\n\n“It is …", " Tea!”"],
        ["你好。", "世界！", "“你是谁？”", "他说。"],
        ["¿Qué?", " Nada."],
    ],
)
def test_sentences(sentences: list[str]) -> None:
    for size in (1, 3, 1000):
        text = "".join(sentences)
        stream = SentenceStream()
        found = [part for at in range(0, len(text), size) for part in stream.feed(text[at : at + size])]

        assert [*found, stream.rest] == sentences


@given(st.text(alphabet="ab .!?,\n“”你。", max_size=3000))
def test_sentences_are_the_text(text: str) -> None:
    stream = SentenceStream()

    assert "".join(stream.feed(text)) + stream.rest == text


def test_a_cut_prefers_the_end_of_a_clause() -> None:
    assert cut_at_clause("one two, three four, five six", 1, 5) == "one two, three four,"
    assert cut_at_clause("one two, three four five six", 3, 5) == "one two, three four five"
    assert cut_at_clause("你好，世界和平很好", 1, 4) == "你好，"


def test_repeated_share() -> None:
    assert repeated_share("one two three four five") == 0
    assert repeated_share("a b c d a b c d a b c d") == pytest.approx(1 - 4 / 9)


# ------------------------------------------------------------------------------------ real weights


@pytest.mark.weights
def test_the_starter_model_keeps_the_length_and_repeats_a_seed(starter_model: Path) -> None:
    def write_with_a_new_engine() -> Done:
        engine = LocalEngine(EngineSettings(model_path=str(starter_model), model_name="starter"))
        try:
            done = list(write_long(engine, task(seed=3), 200))[-1]
        finally:
            engine.close()
        assert isinstance(done, Done)
        return done

    first, again = write_with_a_new_engine(), write_with_a_new_engine()

    assert abs(first.words - 200) <= 30
    assert ends_sentence(first.text)
    assert repeated_share(first.text) < 0.2
    assert again.text == first.text
