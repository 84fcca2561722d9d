"""How a model is asked for a translation: the forms, and which of them suits which model.

A base model goes on with a list of sentences and their translations (few-shot). A chat model gets a
plain instruction; models made for translation get the words that their makers trained them with.
Which forms a model takes, and in which order, was measured (benchmarks/translation.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from gptcli.engine.api import ModelInfo, Prompt
from gptcli.languages import Language
from gptcli.messages import Conversation, Message

EXAMPLES = 5
STOP = ("\n",)


@dataclass(frozen=True, slots=True, kw_only=True)
class TranslationPrompt:
    """What is asked: a text on one line, and what helps to translate it.

    `context` is the text around it; `terms` are the glossary's, with their translations.
    """

    text: str
    source: Language
    target: Language
    context: str = ""
    terms: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Filled:
    """A prompt, and the strings that end the answer."""

    prompt: Prompt
    stop: tuple[str, ...] = ()


Form = Callable[[TranslationPrompt], Filled]


def forms_of(model: ModelInfo) -> tuple[Form, ...]:
    """Return the forms that a model is asked in, the best first."""
    for pattern, forms in _MADE_FOR_TRANSLATION:
        if pattern.search(f"{model.name} {model.description}"):
            return forms
    return (instruction, few_shot, turns) if model.is_chat else (few_shot, short_few_shot, bare)


def few_shot(asked: TranslationPrompt) -> Filled:
    """Sentences and translations, each under its language's name; the glossary's terms come last."""
    return _few_shot(asked, EXAMPLES)


def short_few_shot(asked: TranslationPrompt) -> Filled:
    """The same with fewer sentences: what a model makes of it differs enough to be a second try."""
    return _few_shot(asked, 3)


def bare(asked: TranslationPrompt) -> Filled:
    """The sentence alone under its language's name, for windows in which nothing else fits."""
    return _few_shot(asked, 0)


def _few_shot(asked: TranslationPrompt, count: int) -> Filled:
    source, target = asked.source.plain_name, asked.target.plain_name
    pairs = [*examples(asked.source, asked.target)[:count], *asked.terms]
    blocks = [f"{source}: {text}\n{target}: {translation}" for text, translation in pairs]
    if asked.context:
        blocks.append(f"Context: {asked.context}")
    return Filled("\n\n".join([*blocks, f"{source}: {asked.text}\n{target}:"]), STOP)


def instruction(asked: TranslationPrompt) -> Filled:
    """One plain instruction."""
    lines = [
        f"Translate the following text from {asked.source.plain_name} to {asked.target.plain_name}:"
    ]
    if asked.terms:
        terms = "; ".join(f"{term} = {translation}" for term, translation in asked.terms)
        lines.insert(0, f"Use these translations: {terms}.")
    if asked.context:
        lines.insert(0, f"The text stands in this context: {asked.context}\n")
    return Filled(_conversation("\n".join(lines) + f"\n{asked.text}"))


def turns(asked: TranslationPrompt) -> Filled:
    """A chat in which some sentences were translated already."""
    source, target = asked.source.plain_name, asked.target.plain_name
    system = f"You are a professional translator from {source} to {target}."
    system += " Answer each message with its translation, and nothing else."
    if asked.context:
        system += f" The last message stands in this context: {asked.context}"
    messages = [Message("system", system)]
    for text, translation in (*examples(asked.source, asked.target)[:3], *asked.terms):
        messages += [Message("user", text), Message("assistant", translation)]
    return Filled(Conversation((*messages, Message("user", asked.text))))


# --------------------------------------------------------------------- models made for translation


def hunyuan(asked: TranslationPrompt) -> Filled:
    """Hunyuan-MT and Hy-MT: the words of their model cards, Chinese where one language is Chinese."""
    is_chinese = "zh" in (asked.source.primary, asked.target.primary)
    if is_chinese:
        name = _CHINESE_NAMES.get(asked.target.primary, asked.target.own_name)
        given = "".join(f"{term} 翻译成 {translation}\n" for term, translation in asked.terms)
        before = f"参考下面的翻译：\n{given}\n" if given else ""
        context = f"{asked.context}\n参考上面的信息，" if asked.context else ""
        ask = f"{before}{context}将以下文本翻译为{name}，注意只需要输出翻译后的结果，不要额外解释：\n\n"
    else:
        given = "".join(f"{term} is translated as {translation}\n" for term, translation in asked.terms)
        before = f"Refer to these translations:\n{given}\n" if given else ""
        context = f"{asked.context}\nWith the text above as context, " if asked.context else ""
        ask = (
            f"{before}{context}Translate the following segment into {asked.target.plain_name}, "
            "without additional explanation.\n\n"
        )
    return Filled(_conversation(ask + asked.text))


def translategemma(asked: TranslationPrompt) -> Filled:
    """TranslateGemma: what its chat template makes of a text and two language codes.

    The template takes a list of parts, which other engines' conversations do not have; so the turn is
    written out.
    """
    source, target = asked.source, asked.target
    terms = "; ".join(f"{term} = {translation}" for term, translation in asked.terms)
    name = target.plain_name
    ask = (
        f"You are a professional {source.plain_name} ({source.tag}) to {name} ({target.tag}) translator."
        " Your goal is to accurately convey the meaning and nuances of the original "
        f"{source.plain_name} text while adhering to {name} grammar, vocabulary, and cultural "
        f"sensitivities.\nProduce only the {name} translation, without any additional explanations or "
        f"commentary.{f' Use these terms: {terms}.' if terms else ''} Please translate the following "
        f"{source.plain_name} text into {name}:\n\n\n{asked.text}"
    )
    text = f"<start_of_turn>user\n{ask}<end_of_turn>\n<start_of_turn>model\n"
    return Filled(text, ("<end_of_turn>",))


def eurollm(asked: TranslationPrompt) -> Filled:
    """EuroLLM: the form of its model card."""
    source, target = asked.source.plain_name, asked.target.plain_name
    ask = f"Translate the following {source} source text to {target}:\n"
    if asked.terms:
        terms = "; ".join(f"{term} = {translation}" for term, translation in asked.terms)
        ask = f"Use these translations: {terms}.\n{ask}"
    return Filled(_conversation(f"{ask}{source}: {asked.text}\n{target}: "))


_MADE_FOR_TRANSLATION: tuple[tuple[re.Pattern[str], tuple[Form, ...]], ...] = (
    (re.compile(r"(?:hunyuan|hy)-?mt", re.IGNORECASE), (hunyuan, instruction)),
    (re.compile(r"translate-?gemma", re.IGNORECASE), (translategemma,)),
    (re.compile(r"eurollm", re.IGNORECASE), (eurollm, instruction)),
)
_CHINESE_NAMES: Mapping[str, str] = {
    "en": "英语", "fr": "法语", "de": "德语", "es": "西班牙语", "pt": "葡萄牙语", "it": "意大利语",
    "ja": "日语", "ko": "韩语", "ru": "俄语", "ar": "阿拉伯语", "nl": "荷兰语", "pl": "波兰语",
    "tr": "土耳其语", "th": "泰语", "vi": "越南语", "zh": "中文",
}  # fmt: skip


def _conversation(text: str) -> Conversation:
    return Conversation((Message("user", text),))


def examples(source: Language, target: Language) -> Sequence[tuple[str, str]]:
    """Return sentences in both languages; none where one of them has none."""
    sentences = _sentences()
    before, after = sentences.get(_key(source)), sentences.get(_key(target))
    return tuple(zip(before, after, strict=True)) if before and after else ()


def _key(language: Language) -> str:
    return f"{language.primary}-{language.script}" if language.script == "Hant" else language.primary


@cache
def _sentences() -> Mapping[str, tuple[str, ...]]:
    import tomllib

    path = Path(__file__).with_name("translation_examples.toml")
    tables = tomllib.loads(path.read_text(encoding="utf-8"))
    return {tag: tuple(sentences) for tag, sentences in tables.items()}
