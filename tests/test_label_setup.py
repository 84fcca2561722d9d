"""Forms that are measured before texts are labelled, in context windows that are too small for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from gptcli import paths
from gptcli.languages import is_chinese
from gptcli.tasks.label_setup import SENTIMENT_WINDOW_BYTES, sentiment_question
from tests.conftest import Cli
from tests.tiny_gguf import make_tiny_model

CHAT_TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@pytest.fixture(scope="module")
def chat_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model whose forms differ in length: with examples in one text, or in half as many messages."""
    path = tmp_path_factory.mktemp("model") / "chat.gguf"
    return str(make_tiny_model(path, context_length=8192, chat_template=CHAT_TEMPLATE))


@pytest.mark.parametrize("is_chat", [False, True])
@pytest.mark.parametrize("with_neutral", [False, True])
def test_chinese_texts_have_a_question_of_their_own(is_chat: bool, with_neutral: bool) -> None:
    question = sentiment_question(with_neutral=with_neutral, is_chat=is_chat)
    chinese = question.chinese

    assert chinese is not None
    assert chinese.digest != question.digest
    assert chinese.labels == question.labels
    texts = [each.text for each in chinese.sample]
    assert all(map(is_chinese, texts))
    for asked in (question, chinese):
        shown = {each.text for form in asked.measured() for each in form.examples}
        sample = [each.text for each in asked.sample]
        assert len(set(sample)) == len(sample)
        assert not shown & set(sample)
    for form in (*question.measured(), *chinese.measured()):
        assert {each.label for each in form.examples} == set(range(len(question.labels)))


def test_only_leaves_one_form_for_chinese_too() -> None:
    one = sentiment_question(with_neutral=False, is_chat=True).only("chat")

    assert one.chinese is not None
    assert [form.name for form in (*one.forms, *one.chinese.forms)] == ["chat", "chat"]
    task = one.task(None)
    assert task.chinese is not None
    assert task.for_text("房间很好") is task.chinese
    assert [task.for_text(text) is task for text in ("a room", "素晴らしい部屋", "5 星", "")] == [
        *(True, True, False, True)
    ]
    assert one.window_bytes == SENTIMENT_WINDOW_BYTES


def kept() -> list[Path]:
    return list(paths.calibrations_dir().glob("*"))


def test_a_form_that_does_not_fit_is_left_out(cli: Cli, chat_model: str) -> None:
    command = ("sentiment", "a good thing", "-m", chat_model, "-v")

    small = cli(*command, "--ctx-size", "1024")
    assert (small.status, kept()) == (0, [])
    assert "too long for the context window: the form sentiment, the form verdict\n" in small.stderr
    assert "form chat, calibration" in small.stderr

    whole = cli(*command)
    assert (whole.status, len(kept())) == (0, 2)  # Chinese texts have one of their own
    assert "too long" not in whole.stderr


def test_what_a_small_model_can_is_kept(cli: Cli, tmp_path: Path) -> None:
    path = make_tiny_model(tmp_path / "m.gguf", context_length=1024, chat_template=CHAT_TEMPLATE)

    first, second = (cli("sentiment", "a good thing", "-m", str(path), "-v") for _ in range(2))

    assert (first.status, second.status, len(kept())) == (0, 0, 2)
    assert "too long" in first.stderr
    assert "too long" not in second.stderr
    assert second.stdout == first.stdout


@pytest.mark.parametrize("command", [("sentiment",), ("classify", "--labels", "up,down")])
def test_where_no_form_fits_the_hint_is_a_window_that_does(
    cli: Cli, chat_model: str, command: tuple[str, ...]
) -> None:
    command = (*command, "a good thing", "-m", chat_model)

    result = cli(*command, "--ctx-size", "64")
    assert (result.status, result.stdout, kept()) == (6, "", [])
    assert "tokens, and the context window holds 64\n" in result.stderr
    hint = result.stderr.partition("try: ")[2].split()

    assert hint[0] == "--ctx-size"
    assert cli(*command, *hint).status == 0


def test_where_the_model_has_no_such_window_the_hint_is_another_model(
    cli: Cli, tiny_model: Path
) -> None:
    result = cli("sentiment", "a good thing", "-m", str(tiny_model))

    assert result.status == 6
    assert result.stderr.endswith("try: -m MODEL with a larger context window\n")
