"""What `gptcli map` does with its options."""

from __future__ import annotations

from itertools import chain, islice
from typing import Any

from gptcli.cli.batch import Batch, count_records
from gptcli.cli.logged import logged_batch
from gptcli.cli.opening import opened_engine
from gptcli.cli.options import engine_settings, make_output
from gptcli.cli.record_files import Source, opened_source, opened_target
from gptcli.cli.sampling_options import (
    check_constraint,
    output_constraint,
    stop_strings,
    task_sampling,
    template_values,
)
from gptcli.engine.api import Engine
from gptcli.errors import GptcliError, UsageError
from gptcli.output.console import Output
from gptcli.prompts.compose import PromptParts
from gptcli.prompts.fields import InlinePrompt, LibraryPrompt, RecordPrompt
from gptcli.prompts.library import MATERIAL, load_template
from gptcli.tasks.map import MapTask, map_records, show_prompt

Params = dict[str, Any]

PROMPTS_SHOWN = 3


def run_map(params: Params) -> None:
    """Run the command. What can be refused without a model is refused before one is loaded."""
    output = make_output(params)
    if params["template"] == "list":
        from gptcli.cli.generating import show_templates

        show_templates(output, as_json=params["json"])
        return
    task = _task(params)
    engine_settings(params, path="", name="")
    if task.constraint is not None:
        check_constraint(task.constraint, output)
    with opened_source(params) as source:
        if source.reader.columns:
            task.prompt.check(source.reader.columns)
        if params["dry_run"]:
            _show_prompts(task, params, source, output)
        else:
            _map(task, params, source, output)


def _task(params: Params) -> MapTask:
    return MapTask(
        prompt=_prompt(params),
        raw=params["raw"],
        sampling=task_sampling(params),
        constraint=output_constraint(params),
        stop=stop_strings(params),
        thinking=params["thinking"] != "off",
    )


def _prompt(params: Params) -> RecordPrompt:
    from gptcli import paths

    inline, system = params["prompt"] or "", params["system"] or ""
    values, text_field = template_values(params["param"]), params["field"] or MATERIAL
    if params["template"] is not None:
        if inline:
            raise UsageError("a prompt and --template exclude each other")
        template = load_template(params["template"], paths.templates_dir())
        known = {param.name: "x" for param in template.params}
        template.check(known | values)
        return LibraryPrompt(template=template, values=values, system=system, text_field=text_field)
    if values:
        raise UsageError("--param needs a --template", hint="gptcli generate --template list")
    return InlinePrompt(instruction=inline, system=system, text_field=text_field)


def _map(task: MapTask, params: Params, source: Source, output: Output) -> None:
    field = params["output_field"]
    with opened_target(params, source, (field,), output) as target:
        batch = Batch(source, target, output, label="map")
        if source.is_empty:
            with batch.running():
                return
        with opened_engine(params, output) as engine:
            for note in engine.model.notes:
                output.note(note)
            asked, sampling = _asked(params), task.sampling
            with (
                batch.running(),
                logged_batch("map", params, output, engine.model, asked, batch, sampling),
            ):
                _write_answers(engine, task, source, batch, field)
        output.note(f"seed {task.sampling.seed}")


def _asked(params: Params) -> PromptParts:
    instruction = params["prompt"] or f"--template {params['template']}"
    return PromptParts(instruction=instruction, system=params["system"] or "")


def _write_answers(engine: Engine, task: MapTask, source: Source, batch: Batch, field: str) -> None:
    for record, answer in map_records(engine, task, source.records):
        if isinstance(answer, GptcliError):
            batch.write_failed(record, answer)
        else:
            batch.write(record, {field: answer.value}, tokens=answer.usage.completion_tokens)


def _show_prompts(task: MapTask, params: Params, source: Source, output: Output) -> None:
    first = list(islice(source.records, PROMPTS_SHOWN))
    shown = []
    with opened_engine(params, output) as engine:
        for record in first:
            try:
                prompt = show_prompt(engine, task, record)
            except GptcliError as error:
                output.warning(f"{record.place}: {error.message}")
                continue
            shown.append(
                {"record": record.number, "prompt": prompt.text, "prompt_tokens": prompt.token_count}
            )
        window = engine.model.context_limit
    if not params["json"]:
        for number, members in enumerate(shown):
            output.write("\n" if number else "")
            output.write(str(members["prompt"]))
            output.finish_text()
            output.status(f"record {members['record']:,}: {members['prompt_tokens']:,} tokens")
    count, broken = count_records(chain(first, source.records))
    if params["json"]:
        output.json({"records": count, "broken": broken, "prompts": shown, "context_size": window})
    else:
        said = (
            f"{count:,} records, {broken:,} of them cannot be read" if broken else f"{count:,} records"
        )
        output.status(f"{said}; a context window of {window:,} tokens")
