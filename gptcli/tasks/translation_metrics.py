"""How good translations are, against references: chrF and BLEU, and what is wrong without any."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from gptcli.engine.api import Engine
from gptcli.errors import GptcliError
from gptcli.languages import Language
from gptcli.tasks.chrf import corpus_chrf
from gptcli.tasks.evaluation import Evaluation
from gptcli.tasks.translate import TranslateTask, Translation, translate
from gptcli.tasks.translation_checks import is_looping, wrong_language
from gptcli.tasks.translation_text import Protected


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A text to translate, and a translation that is right."""

    text: str
    reference: str
    source: Language
    target: Language
    context: str = ""
    protected: tuple[Protected, ...] = ()

    def check(self, _translation: str, /) -> str:
        return ""


@dataclass(frozen=True, slots=True)
class _Scored:
    pair: Pair
    output: str
    result: Translation | GptcliError

    @property
    def is_kept(self) -> bool:
        return isinstance(self.result, Translation) and self.result.is_kept


def has_bleu() -> bool:
    """Tell whether sacreBLEU is there, which comes with the extra `eval`."""
    return find_spec("sacrebleu") is not None


def corpus_bleu(outputs: Sequence[str], references: Sequence[str], target: Language) -> float:
    """Return sacreBLEU's BLEU, from 0 to 100 (Post 2018), with its tokenizer for the language.

    By characters where words have no spaces between them and sacreBLEU has no tokenizer of its own.
    """
    import sacrebleu

    tokenizer = "zh" if target.primary == "zh" else "13a" if target.has_spaces else "char"
    return float(sacrebleu.corpus_bleu(list(outputs), [list(references)], tokenize=tokenizer).score)


def evaluate_translations(
    engine: Engine,
    task: TranslateTask,
    pairs: Sequence[Pair],
    on_progress: Callable[[int], object] = lambda _: None,
) -> Evaluation:
    """Return how near translations are to their references, over all and by direction.

    A text that fails counts as an empty translation, one that is kept as its source. BLEU of several
    target languages is the mean by texts, as each has a tokenizer of its own.
    """
    started = time.perf_counter()
    scored = []
    for pair, result in translate(engine, task, pairs):
        output = result.text if isinstance(result, Translation) else ""
        scored.append(_Scored(pair, output, result))
        on_progress(len(scored))
    seconds = time.perf_counter() - started
    directions: dict[tuple[str, str], list[_Scored]] = {}
    for each in scored:
        directions.setdefault((each.pair.source.tag, each.pair.target.tag), []).append(each)
    rows = [
        {"source_lang": source, "target_lang": target, **_members(found)}
        for (source, target), found in directions.items()
    ]
    whole = _members(scored, bleu=not rows)
    if has_bleu() and rows:
        whole["bleu"] = sum(row["bleu"] * row["records"] for row in rows) / len(scored)
    figures: dict[str, float] = {name: whole[name] for name in ("chrf", "bleu") if name in whole}
    tokens = sum(each.result.tokens for each in scored if isinstance(each.result, Translation))
    return Evaluation(
        figures=figures,
        details={**_rounded(whole), "tokens": tokens, "directions": list(map(_rounded, rows))},
        records=len(scored),
        failed=sum(isinstance(each.result, GptcliError) for each in scored),
        seconds=seconds,
    )


def _members(scored: Sequence[_Scored], *, bleu: bool = True) -> dict[str, Any]:
    outputs = [each.output for each in scored]
    references = [each.pair.reference for each in scored]
    members: dict[str, Any] = {"records": len(scored), "chrf": corpus_chrf(outputs, references)}
    if bleu and has_bleu():
        members["bleu"] = corpus_bleu(outputs, references, scored[0].pair.target)
    return {
        **members,
        "loops": sum(is_looping(each.output, each.pair.text) for each in scored),
        "wrong_language": sum(
            not each.is_kept and bool(wrong_language(each.output, each.pair.target)) for each in scored
        ),
        "kept": sum(each.is_kept for each in scored),
    }


def _rounded(members: dict[str, Any]) -> dict[str, Any]:
    return {name: round(v, 2) if isinstance(v, float) else v for name, v in members.items()}
