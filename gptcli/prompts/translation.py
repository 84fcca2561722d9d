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
from gptcli.languages import Language, name_in
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
        if pattern.search(f"{model.name} {model.title}"):
            return forms
    if "source_lang_code" in (model.chat_template or ""):  # whatever its file is called
        return (translategemma,)
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
    """Hunyuan-MT and HY-MT1.5, in the words of their model cards.

    They ask in Chinese where one language is Chinese; for terms and for a context there are no others.
    """
    name = name_in(asked.target, "zh")
    if asked.context:
        ask = f"参考上面的信息，把下面的文本翻译成{name}，注意不需要翻译上文，也不要额外解释：\n"
        ask = f"{asked.context}\n{ask}"
    elif asked.terms or _is_chinese(asked):
        ask = f"将以下文本翻译为{name}，注意只需要输出翻译后的结果，不要额外解释：\n\n"
    else:
        name = asked.target.plain_name
        ask = f"Translate the following segment into {name}, without additional explanation.\n\n"
    return Filled(_conversation(_terms_before("参考下面的翻译：", "翻译成", asked) + ask + asked.text))


def hunyuan2(asked: TranslationPrompt) -> Filled:
    """Hy-MT2, in the words of its model card: Chinese where one language is Chinese, else English."""
    if _is_chinese(asked):
        name = name_in(asked.target, "zh")
        terms = _terms_before("参考下面的翻译：", "翻译成", asked)
        ask = f"将以下文本翻译为{name}，注意只需要输出翻译后的结果，不要额外解释：\n\n"
        if asked.context:
            ask = f"请结合背景信息将以下文本翻译为{name}。\n\n【待翻译文本】\n"
            ask = f"【背景信息】\n{asked.context}\n\n{ask}"
    else:
        name = asked.target.plain_name
        terms = _terms_before("Reference the following translations:", "translates to", asked)
        ask = (
            f"Translate the following text into {name}. Note that you should only output the translated "
            "result without any additional explanation:\n\n"
        )
        if asked.context:
            ask = (
                f"[Background Information]\n{asked.context}\n\nPlease translate the following text into "
                f"{name}, taking the provided background information into consideration.\n\n"
                "[Source Text]\n"
            )
    return Filled(_conversation(terms + ask + asked.text))


def _is_chinese(asked: TranslationPrompt) -> bool:
    return "zh" in (asked.source.primary, asked.target.primary)


def _terms_before(heading: str, verb: str, asked: TranslationPrompt) -> str:
    if not asked.terms:
        return ""
    lines = "".join(f"{term} {verb} {translation}\n" for term, translation in asked.terms)
    return f"{heading}\n{lines}\n"


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
    (re.compile(r"hy[-_ ]?mt[-_ ]?2", re.IGNORECASE), (hunyuan2, instruction)),
    (re.compile(r"(?:hunyuan|hy)[-_ ]?mt", re.IGNORECASE), (hunyuan, instruction)),
    (re.compile(r"translate[-_ ]?gemma", re.IGNORECASE), (translategemma,)),
    (re.compile(r"eurollm", re.IGNORECASE), (eurollm, instruction)),
)


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
