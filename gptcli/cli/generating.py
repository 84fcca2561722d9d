"""What `gptcli generate` does with its options: read, open, write, report."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from gptcli.cli.logged import RunLog, logged_run
from gptcli.cli.long_text import check_long, long_style, write_long_text
from gptcli.cli.material import read_documents, stdin_text
from gptcli.cli.opening import opened_engine
from gptcli.cli.options import engine_settings, make_output
from gptcli.cli.sampling_options import (
    check_constraint,
    output_constraint,
    stop_strings,
    task_sampling,
    template_values,
)
from gptcli.engine.api import Engine
from gptcli.errors import ContextOverflowError, UsageError
from gptcli.output.answer import AnswerView, Thinking, answer_json, timings_text
from gptcli.output.console import Output
from gptcli.prompts.compose import PromptParts
from gptcli.prompts.library import Template, load_template
from gptcli.tasks.generate import (
    GenerateTask,
    Overflow,
    PreparedPrompt,
    generate,
    prepare,
    repeats_itself,
    show_prompt,
)

Params = dict[str, Any]


def run_generate(params: Params) -> None:
    """Run the command. What can be refused without a model is refused before one is loaded."""
    output = make_output(params)
    if params["template"] == "list":
        show_templates(output, as_json=params["json"])
        return
    task = _task(params)
    template, values = _template(params)
    if params["words"] is not None:
        check_long(params)
    engine_settings(params, path="", name="")
    if task.constraint is not None:
        check_constraint(task.constraint, output)
    with opened_engine(params, output) as engine, _hinting_at_overflow(task.overflow):
        if template is None:
            task = replace(task, parts=_parts(params))
        else:
            task = _filled(template, values, task, params, engine)
        if params["dry_run"]:
            _show_prompt(engine, task, params, output)
            return
        with logged_run("generate", params, output) as log:
            if params["words"] is not None:
                write_long_text(engine, task, params, long_style(template), output, log)
            else:
                _write(engine, task, params, output, log)


@contextmanager
def _hinting_at_overflow(overflow: Overflow) -> Iterator[None]:
    """Say of a prompt that is too long, besides what the engine says, that it could be cut."""
    try:
        yield
    except ContextOverflowError as error:
        if overflow == "error":
            ways = (error.hint, "--overflow head, tail or middle keeps a part of the text")
            error.hint = ", or ".join(way for way in ways if way)
        raise


def _template(params: Params) -> tuple[Template | None, dict[str, str]]:
    """Return the template asked for, if one is, and its values, checked as far as they are known."""
    from gptcli import paths

    values = template_values(params["param"])
    if params["template"] is None:
        if values:
            raise UsageError("--param needs a --template", hint="gptcli generate --template list")
        return None, values
    template = load_template(params["template"], paths.templates_dir())
    template.check(values, has_material=True)
    return template, values


def _task(params: Params) -> GenerateTask:
    return GenerateTask(
        parts=PromptParts(),
        raw=params["raw"],
        sampling=task_sampling(params),
        constraint=output_constraint(params),
        stop=stop_strings(params),
        samples=params["num"],
        logprobs=params["logprobs"],
        thinking=params["thinking"] != "off",
        overflow=params["overflow"],
    )


def _parts(params: Params) -> PromptParts:
    files = params["file"] or ()
    documents = read_documents(files, stdin_text())
    instruction, system = params["prompt"] or "", params["system"] or ""
    if not instruction.strip() and not documents:
        raise UsageError("there is nothing to go on from", hint='gptcli generate "Once upon a time"')
    if not instruction.strip() and len(documents) == 1 and not files:
        # Text that was only piped in is the prompt itself.
        return PromptParts(instruction=documents[0].text, system=system)
    return PromptParts(instruction=instruction, documents=documents, system=system)


def _filled(
    template: Template, values: dict[str, str], task: GenerateTask, params: Params, engine: Engine
) -> GenerateTask:
    documents = read_documents(params["file"] or (), stdin_text())
    material = ""
    if template.takes_material:
        material, documents = PromptParts(documents=documents).material, ()
    filled = template.fill(values, as_chat=task.is_chat(engine.model), material=material)
    parts = PromptParts(
        instruction="\n\n".join(text for text in (filled.prompt, params["prompt"]) if text),
        documents=documents,
        system=params["system"] or filled.system,
    )
    return replace(task, parts=parts, stop=task.stop + filled.stop)


def _prepared(engine: Engine, task: GenerateTask, output: Output) -> PreparedPrompt:
    prepared = prepare(engine, task)
    for note in engine.model.notes:
        output.note(note)
    if prepared.dropped:
        output.warning(prepared.dropped)
    return prepared


def _write(engine: Engine, task: GenerateTask, params: Params, output: Output, log: RunLog) -> None:
    prepared = _prepared(engine, task, output)
    echo = show_prompt(engine, task, prepared.prompt).text if params["echo"] else ""
    view = AnswerView(
        output,
        samples=task.samples,
        markdown=_shows_markdown(engine, task, params),
        streams=not params["no_stream"],
        thinking=_thinking(params, output),
        echo=echo,
        silent=params["json"],
        logprobs=task.logprobs is not None,
    )
    log.ask(engine.model, task.parts)
    try:
        view.show(log.watch(generate(engine, task, prepared.prompt), task.sampling))
    finally:  # what was written until Ctrl-C or a crash is shown too
        if params["json"] and view.samples:
            answer = answer_json(engine.model, view.samples, logprobs=task.logprobs is not None)
            answer["seed"] = task.sampling.seed
            output.json(answer | ({"prompt": echo} if echo else {}))
    output.note(f"{timings_text(engine.model, view.samples)} · seed {task.sampling.seed}")
    _warn(view, task, output)


def _warn(view: AnswerView, task: GenerateTask, output: Output) -> None:
    sample = view.samples[-1]
    if any(repeats_itself(sample.text) for sample in view.samples):
        output.warning("the text repeats itself; try --dry-multiplier 0.8, or a larger model")
    elif sample.finish_reason == "length" and task.sampling.max_tokens is None:
        output.note(f"the text was cut after {sample.usage.completion_tokens} tokens (-n for more)")
    if not any(sample.text.strip() for sample in view.samples):
        output.warning("the model wrote nothing")


def _show_prompt(engine: Engine, task: GenerateTask, params: Params, output: Output) -> None:
    shown = show_prompt(engine, task, _prepared(engine, task, output).prompt)
    window = engine.model.context_limit
    if params["json"]:
        output.json(
            {
                "prompt": shown.text,
                "prompt_tokens": shown.token_count,
                "context_size": window,
                "model": engine.model.name,
            }
        )
        return
    output.write(shown.text)
    output.finish_text()
    output.status(f"{shown.token_count:,} tokens of a context window of {window:,}")


def _shows_markdown(engine: Engine, task: GenerateTask, params: Params) -> bool:
    if params["markdown"] is not None:
        return bool(params["markdown"])
    # What a base model goes on with is shown as it stands, and so is JSON.
    return task.is_chat(engine.model) and task.constraint is None


def _thinking(params: Params, output: Output) -> Thinking:
    if params["thinking"] is not None:
        return "show" if params["thinking"] == "show" else "hide"
    return "show" if output.stderr_is_tty else "hide"


def show_templates(output: Output, *, as_json: bool) -> None:
    """List the prompt templates: the shipped ones and the user's."""
    from gptcli import paths
    from gptcli.output.tables import print_table
    from gptcli.prompts.library import all_templates

    templates = all_templates(paths.templates_dir())
    if as_json:
        output.json([template.summary() for template in templates])
        return
    rows = [(template.name, template.usage(), template.description) for template in templates]
    print_table(output, ("template", "parameters", "what it writes"), rows)
