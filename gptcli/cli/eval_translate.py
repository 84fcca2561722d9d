"""`gptcli eval translate`: translations against references."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from functools import partial
from typing import Any

from gptcli.cli.eval_task import EvaluatedTask, Params, Variant
from gptcli.cli.record_files import opened_source
from gptcli.engine.api import Engine
from gptcli.errors import UsageError
from gptcli.languages import Language, find_language
from gptcli.output.amounts import counted
from gptcli.output.console import Output
from gptcli.output.tables import print_table
from gptcli.prompts.fields import field_text, no_field
from gptcli.tasks.detect import UNKNOWN, detect
from gptcli.tasks.evaluation import Evaluation
from gptcli.tasks.translate import TranslateTask
from gptcli.tasks.translation_metrics import Pair, evaluate_translations, has_bleu

# By what names columns go, after the one that was asked for; gptcli translate --jsonl has the first.
TEXTS = ("source", "src")
REFERENCES = ("reference", "ref", "translation", "target", "tgt")
SOURCE_LANGUAGES = ("source_lang", "src_lang")
TARGET_LANGUAGES = ("target_lang", "tgt_lang")
FIGURES = ("records", "chrf", "bleu", "loops", "wrong_language", "kept")


def read_pairs(params: Params, output: Output) -> list[Pair]:
    """Return the texts with their references. Raises UsageError where a column is missing."""
    languages: dict[str, Language] = {}

    def language(name: str) -> Language:
        if name not in languages:
            languages[name] = find_language(name)
        return languages[name]

    asked = {name: params[name] for name in ("from_", "to")}
    given = {name: language(tag) for name, tag in asked.items() if tag not in (None, "auto")}
    pairs, left_out = [], 0
    with opened_source({**params, "input": params["data"], "texts": None}) as source:
        for record in source.records:
            fields = record.fields
            if record.error is not None:
                left_out += 1
                continue
            text = field_text(fields[_column("text", (params["text"], *TEXTS), fields)])
            reference = field_text(fields[_column("label", (params["label"], *REFERENCES), fields)])
            if not text.strip() or not reference.strip():
                left_out += 1
                continue
            before, after = (
                str(next((fields[name] for name in names if fields.get(name)), ""))
                for names in (SOURCE_LANGUAGES, TARGET_LANGUAGES)
            )
            if "to" not in given and not after:
                raise UsageError("which language are the references in?", hint="--to LANG")
            pairs.append(
                Pair(
                    text=text,
                    reference=reference,
                    source=given.get("from_") or language(before or _detected(text)),
                    target=given.get("to") or language(after),
                )
            )
    if left_out:
        output.warning(f"{counted(left_out, 'record')} without a text or a reference: left out")
    if not pairs:
        raise UsageError(f'"{params["data"]}" has no records to evaluate')
    if not has_bleu():
        output.note("BLEU needs sacreBLEU: pip install 'gptcli[eval]'")
    return pairs


def _column(option: str, names: Sequence[str], fields: Collection[str]) -> str:
    found = next((name for name in names if name in fields), None)
    if found is None:
        error = no_field(names[0], fields)
        error.hint = f"--{option} COL"
        raise error
    return found


def _detected(text: str) -> str:
    found = detect(text).language
    return "en" if found == UNKNOWN else found


def variants(
    engine: Engine, pairs: Sequence[Pair], params: Params, _output: Output
) -> Iterator[Variant]:
    """Yield the translation as it comes, and with --best the choice among candidates beside it."""
    for best in dict.fromkeys((1, params["best"])):
        task = TranslateTask(best=best)
        name = f"best of {best}" if best > 1 else "as it comes"
        yield Variant(name, partial(evaluate_translations, engine, task, pairs))


def show(output: Output, found: Evaluation, title: str) -> None:
    """Print the figures of each direction."""
    rows: Sequence[dict[str, Any]] = found.details["directions"]
    names = [name for name in FIGURES if name in rows[0]]
    output.write(f"{title}\n")
    print_table(
        output,
        ("direction", *(name.replace("_", " ") for name in names)),
        [(f"{row['source_lang']}-{row['target_lang']}", *(row[name] for name in names)) for row in rows],
    )


TRANSLATE = EvaluatedTask(read_pairs, variants, show)
