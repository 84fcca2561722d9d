"""The forms in which a model is asked about a passage: one place for all of them.

A form is used in two directions behind a few worked examples: the answer after a passage and a
question, and the question after a sentence and an answer. Neither is generated; both are scored.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from gptcli.engine.api import Prompt
from gptcli.languages import is_unspaced
from gptcli.messages import Conversation, Message
from gptcli.prompts.labels import harmless


@dataclass(frozen=True, slots=True)
class Example:
    """A passage with questions and their answers, and such that it does not answer."""

    passage: str
    answers: tuple[tuple[str, str], ...]
    unanswered: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Written:
    """Quotes, a question, and an answer whose sentences name the quotes they are from."""

    quotes: tuple[str, ...]
    question: str
    answer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AskForm:
    """How passage, question and answer are named, with worked examples.

    `space` follows these names; `unknown` is the answer that there is none. `written` are examples of
    answers in sentences.
    """

    name: str
    passage: str
    question: str
    answer: str
    quotes: str
    space: str
    unknown: str
    examples: tuple[Example, ...]
    written: tuple[Written, ...]

    def prompt(self, passage: str, question: str) -> str:
        """Return the text after which the answer to a question follows.

        The passage comes first: what was read of it serves the next question too.
        """
        return self._shown(self._answered) + self._asked(passage, question)

    def doubtful_prompt(self, passage: str, question: str) -> str:
        """Return the same with examples of questions whose answer is `unknown`.

        They make small models miss answers, so these serve for doubt alone.
        """
        return self._shown(self._doubted) + self._asked(passage, question)

    def continuation(self, text: str) -> str:
        """Return an answer, or a question, as it follows its prompt, with its end."""
        return f"{self.space}{harmless(text)}\n"

    def prompt_for_question(self, sentence: str, answer: str) -> str:
        """Return the text after which the question of an answer follows."""
        passage = f"{self.passage}{self.space}{harmless(sentence)}\n"
        return f"{self._reversed_head()}{passage}{self.answer}{self.continuation(answer)}{self.question}"

    def prompt_for_text(self, quotes: Sequence[str], question: str) -> str:
        """Return the text after which an answer follows whose sentences name numbered quotes."""
        shown = "".join(
            f"{self._quoted(example.quotes)}{self.question}{self.space}{example.question}\n"
            f"{self.answer}{self.space}{example.answer}\n\n"
            for example in self.written
        )
        asked = f"{self.question}{self.space}{harmless(question)}\n{self.answer}{self.space}"
        return f"{shown}{self._quoted(quotes)}{asked}"

    def _quoted(self, quotes: Sequence[str]) -> str:
        lines = (f"[{n}] {harmless(quote)}\n" for n, quote in enumerate(quotes, 1))
        return f"{self.quotes}\n{''.join(lines)}"

    def _asked(self, passage: str, question: str) -> str:
        asked = f"{self.question}{self.space}{harmless(question)}\n{self.answer}"
        return f"{self.passage}{self.space}{harmless(passage)}\n{asked}"

    def _shown(self, questions: Callable[[Example], Iterable[tuple[str, str]]]) -> str:
        return "".join(
            f"{self.passage}{self.space}{example.passage}\n"
            + "".join(
                f"{self.question}{self.space}{question}\n{self.answer}{self.space}{answer}\n"
                for question, answer in questions(example)
            )
            + "\n"
            for example in self.examples
        )

    @staticmethod
    def _answered(example: Example) -> Iterable[tuple[str, str]]:
        return example.answers

    def _doubted(self, example: Example) -> Iterable[tuple[str, str]]:
        """Return answered and unanswered questions in turn."""
        for answered, unanswered in zip(example.answers, example.unanswered, strict=False):
            yield answered
            yield unanswered, self.unknown

    def _reversed_head(self) -> str:
        return "".join(
            f"{self.passage}{self.space}{sentence}\n{self.answer}{self.space}{answer}\n"
            f"{self.question}{self.space}{question}\n\n"
            for example in self.examples
            for question, answer in example.answers
            for sentence in (_sentence_with(example.passage, answer),)
        )


def _sentence_with(passage: str, answer: str) -> str:
    sentences: list[str] = re.findall(r"[^.。]+[.。]", passage)
    return next(sentence.strip() for sentence in sentences if answer in sentence)


ENGLISH = AskForm(
    name="english",
    passage="Passage:",
    question="Question:",
    answer="Answer:",
    quotes="Quotes:",
    space=" ",
    unknown="unknown",
    examples=(
        Example(
            "The lighthouse at Cape Morrow was built in 1847 by the engineer Ada Finch, after eleven "
            "ships had been lost on the reef in one winter. Its lamp burned whale oil until 1902, when "
            "it was changed to electricity.",
            (
                ("Who built the lighthouse?", "Ada Finch"),
                ("What did the lamp burn before electricity?", "whale oil"),
                ("How many ships had been lost?", "eleven"),
            ),
            ("When was the lighthouse torn down?", "Who commanded the ships that were lost?"),
        ),
        Example(
            "Bread rises because yeast feeds on sugar in the dough and gives off carbon dioxide. A warm "
            "kitchen speeds this up; in a refrigerator the dough needs about twelve hours, and many "
            "bakers say that it tastes better.",
            (
                ("What gas does yeast give off?", "carbon dioxide"),
                ("How long does the dough need in a refrigerator?", "about twelve hours"),
                (
                    "Why does bread rise?",
                    "yeast feeds on sugar in the dough and gives off carbon dioxide",
                ),
            ),
            (
                "How long does the dough need in the oven?",
                "What do bakers say makes bread taste worse?",
            ),
        ),
    ),
    written=(
        Written(
            (
                "The lighthouse at Cape Morrow was built in 1847 by the engineer Ada Finch.",
                "Eleven ships had been lost on the reef in one winter.",
                "Its lamp burned whale oil until 1902.",
            ),
            "Why was the lighthouse built, and by whom?",
            "Eleven ships had been lost on the reef in one winter [2]. "
            "The engineer Ada Finch built the lighthouse in 1847 [1].",
        ),
        Written(
            (
                "A warm kitchen speeds this up.",
                "Bread rises because yeast feeds on sugar in the dough and gives off carbon dioxide.",
            ),
            "How does bread rise?",
            "Yeast feeds on sugar in the dough and gives off carbon dioxide [2].",
        ),
    ),
)


CHINESE = AskForm(
    name="chinese",
    passage="文章：",
    question="问题：",
    answer="答案：",
    quotes="引文：",
    space="",
    unknown="不知道",
    examples=(
        Example(
            "莫罗角灯塔由工程师陈安达于1847年建成，因为一个冬天里有十一艘船在礁石上失事。"
            "灯塔起初用鲸油点灯，1902年改为电灯。",
            (
                ("灯塔是谁建的？", "陈安达"),
                ("改用电灯之前，灯塔用什么点灯？", "鲸油"),
                ("有多少艘船失事？", "十一艘"),
            ),
            ("灯塔是什么时候拆除的？", "失事的船由谁指挥？"),
        ),
        Example(
            "面包会发起来，是因为酵母吃面团里的糖，放出二氧化碳。"
            "厨房温暖时发得快；放在冰箱里大约需要十二个小时，不少面包师说这样味道更好。",
            (
                ("酵母放出什么气体？", "二氧化碳"),
                ("面团放在冰箱里需要多长时间？", "大约需要十二个小时"),
                ("面包为什么会发起来？", "酵母吃面团里的糖，放出二氧化碳"),
            ),
            ("面团在烤箱里需要多长时间？", "面包师说什么会让面包变难吃？"),
        ),
    ),
    written=(
        Written(
            (
                "莫罗角灯塔由工程师陈安达于1847年建成。",
                "一个冬天里有十一艘船在礁石上失事。",
                "灯塔起初用鲸油点灯。",
            ),
            "为什么要建灯塔，是谁建的？",
            "一个冬天里有十一艘船在礁石上失事 [2]. 灯塔由工程师陈安达于1847年建成 [1].",
        ),
        Written(
            ("厨房温暖时发得快。", "面包会发起来，是因为酵母吃面团里的糖，放出二氧化碳。"),
            "面包怎么发起来？",
            "酵母吃面团里的糖，放出二氧化碳 [2].",
        ),
    ),
)


def form_for(passage: str) -> AskForm:
    """Return the form in the script of a passage, because the answer is a part of it."""
    return CHINESE if is_unspaced(passage) else ENGLISH


def plain_prompt(question: str, *, is_chat: bool) -> Prompt:
    """Return what asks a question without any text: what the model believes is all there is."""
    if is_chat:
        return Conversation((Message("user", f"{question}\n\nAnswer in one or two sentences."),))
    known = ("What is the capital of France?", "Paris"), ("Who wrote Hamlet?", "William Shakespeare")
    shown = "".join(f"Question: {each}\nAnswer: {answer}\n\n" for each, answer in known)
    return f"{shown}Question: {harmless(question)}\nAnswer:"
