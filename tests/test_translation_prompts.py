"""Models made for translation are asked in the words of their makers, whatever the file is called.

The models are tiny ones with the names and the chat templates of the real ones, so that what is
compared is the text that the model would see.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gptcli.engine.api import Engine, EngineSettings, Tokenize, tokenize
from gptcli.engine.local import LocalEngine
from gptcli.languages import find_language, name_in
from gptcli.models.registry import load_registry
from gptcli.prompts.translation import (
    TranslationPrompt,
    eurollm,
    few_shot,
    forms_of,
    hunyuan,
    hunyuan2,
    instruction,
    translategemma,
)
from tests.tiny_gguf import CHATML, make_tiny_model

HUNYUAN = (
    "{% for m in messages %}{% if m.role == 'user' %}<|hy_User|>{{ m.content }}<|hy_Assistant|>"
    "{% else %}{{ m.content }}{% endif %}{% endfor %}"
)
# The real one makes the words of these; asked in any other way it raises.
GEMMA = (
    "{% for m in messages %}{{ raise_exception('no list') if m.content is string }}"
    "{{ m.content[0].source_lang_code }}{{ m.content[0].target_lang_code }}{% endfor %}"
)
HERE = "model.gguf"


@contextmanager
def opened(path: Path, name: str, title: str, template: str | None) -> Iterator[Engine]:
    file = make_tiny_model(path / HERE, name=title, chat_template=template)
    engine = LocalEngine(EngineSettings(model_path=str(file), model_name=name, threads=1))
    try:
        yield engine
    finally:
        engine.close()


def asked(
    source: str, target: str, context: str = "", terms: tuple[tuple[str, str], ...] = ()
) -> TranslationPrompt:
    languages = find_language(source), find_language(target)
    return TranslationPrompt(
        text="Hello", source=languages[0], target=languages[1], context=context, terms=terms
    )


def shown(engine: Engine, what: TranslationPrompt) -> str:
    """Return the text that the model sees."""
    return tokenize(engine, Tokenize(prompt=forms_of(engine.model)[0](what).prompt)).text


def test_hy_mt2(tmp_path: Path) -> None:
    with opened(tmp_path, HERE, "Hy MT2 1.8B", HUNYUAN) as engine:
        plain = shown(engine, asked("en", "fr"))
        chinese = shown(engine, asked("zh", "en"))
        terms = shown(engine, asked("en", "de", terms=(("hello", "hallo"), ("board", "Brett"))))
        context = shown(engine, asked("en", "pt-BR", context="Good evening."))

    assert plain == (
        "<|hy_User|>Translate the following text into French. Note that you should only output the "
        "translated result without any additional explanation:\n\nHello<|hy_Assistant|>"
    )
    assert chinese == (
        "<|hy_User|>将以下文本翻译为英语，注意只需要输出翻译后的结果，不要额外解释：\n\nHello<|hy_Assistant|>"
    )
    assert terms.startswith(
        "<|hy_User|>Reference the following translations:\nhello translates to hallo\n"
        "board translates to Brett\n\nTranslate the following text into German. Note"
    )
    assert context == (
        "<|hy_User|>[Background Information]\nGood evening.\n\nPlease translate the following text into "
        "Brazilian Portuguese, taking the provided background information into consideration.\n\n"
        "[Source Text]\nHello<|hy_Assistant|>"
    )


def test_hunyuan_mt(tmp_path: Path) -> None:
    with opened(tmp_path, "HY-MT1.5-1.8B-Q4_K_M.gguf", "", HUNYUAN) as engine:
        plain = shown(engine, asked("en", "fr"))
        terms = shown(engine, asked("en", "fr", terms=(("hello", "salut"),)))
        context = shown(engine, asked("en", "ja", context="Good evening."))

    assert plain == (
        "<|hy_User|>Translate the following segment into French, without additional explanation.\n\n"
        "Hello<|hy_Assistant|>"
    )
    assert terms == (
        "<|hy_User|>参考下面的翻译：\nhello 翻译成 salut\n\n"
        "将以下文本翻译为法语，注意只需要输出翻译后的结果，不要额外解释：\n\nHello<|hy_Assistant|>"
    )
    assert context == (
        "<|hy_User|>Good evening.\n"
        "参考上面的信息，把下面的文本翻译成日语，注意不需要翻译上文，也不要额外解释：\nHello<|hy_Assistant|>"
    )


@pytest.mark.parametrize("name", [HERE, "translategemma-4b-it.Q4_K_M.gguf"])
def test_translategemma(tmp_path: Path, name: str) -> None:
    with opened(tmp_path, name, "", GEMMA) as engine:
        text = shown(engine, asked("en", "de"))

    assert text == (
        "<start_of_turn>user\n"
        "You are a professional English (en) to German (de) translator. Your goal is to accurately "
        "convey the meaning and nuances of the original English text while adhering to German grammar, "
        "vocabulary, and cultural sensitivities.\nProduce only the German translation, without any "
        "additional explanations or commentary. Please translate the following English text into "
        "German:\n\n\nHello<end_of_turn>\n<start_of_turn>model\n"
    )


def test_eurollm(tmp_path: Path) -> None:
    with opened(tmp_path, HERE, "EuroLLM 1.7B Instruct", CHATML) as engine:
        text = shown(engine, asked("en", "pt"))

    assert text == (
        "<|im_start|>user\nTranslate the following English source text to Portuguese:\n"
        "English: Hello\nPortuguese: <|im_end|>\n<|im_start|>assistant\n"
    )


def test_other_models_get_an_instruction_or_examples(tmp_path: Path) -> None:
    with opened(tmp_path, HERE, "Qwen2.5 0.5B Instruct", CHATML) as engine:
        assert forms_of(engine.model)[0] is instruction
    with opened(tmp_path, HERE, "Gemma 3 270M", None) as engine:
        assert forms_of(engine.model)[0] is few_shot


@pytest.mark.parametrize(
    ("alias", "form"),
    [
        ("hy-mt2-1.8b", hunyuan2),
        ("hy-mt2-7b", hunyuan2),
        ("translategemma-4b", translategemma),
        ("eurollm-1.7b", eurollm),
        ("eurollm-9b", eurollm),
    ],
)
def test_the_registry_s_translators_are_known_by_alias_and_by_file(alias: str, form: object) -> None:
    from gptcli.engine.api import ModelInfo

    spec = load_registry().find(alias)

    assert "translate" in spec.tasks
    for name in (alias, spec.files[0].path):
        assert forms_of(ModelInfo(name=name, chat_template="x"))[0] is form


def test_older_names_of_hunyuan() -> None:
    from gptcli.engine.api import ModelInfo

    for name in ("Hunyuan-MT-7B.Q4_K_M.gguf", "hunyuan-mt-chimera-7b", "HY-MT1.5-7B"):
        assert forms_of(ModelInfo(name=name, chat_template="x"))[0] is hunyuan


@pytest.mark.parametrize(
    ("tag", "name"), [("fr", "法语"), ("zh-Hant", "中文（繁体）"), ("sw", "斯瓦希里语")]
)
def test_chinese_names_of_languages(tag: str, name: str) -> None:
    assert name_in(find_language(tag), "zh") == name
