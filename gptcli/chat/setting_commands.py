"""Commands about the model, the settings, and what the window holds."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, get_args

from gptcli.engine.api import Timings, Usage
from gptcli.errors import GptcliError, UsageError
from gptcli.output.amounts import counted
from gptcli.output.answer import Sample, Thinking, timings_text
from gptcli.sampling import DEFAULTS, SamplingParams

if TYPE_CHECKING:
    from gptcli.chat.dialog import Dialog

SAMPLING = tuple(each.name for each in fields(SamplingParams) if each.name != "logit_bias")
SWITCHES = ("markdown", "verbose", "vi")
OTHERS = ("thinking", "stop", "system", *SWITCHES)
SETTINGS = (*SAMPLING, *OTHERS)
THINKING = (*get_args(Thinking), "off")
ON, OFF = ("on", "yes", "true", "1"), ("off", "no", "false", "0")
NONE = ("default", "auto", "none", "-")

# What ollama's users type.
SYNONYMS = {"num_predict": "max_tokens", "n_predict": "max_tokens", "temp": "temperature"}
BAR_CELLS = 24  # columns of a bar for the whole window


def change(dialog: Dialog, argument: str) -> None:
    """Change a setting; without arguments show all."""
    name, _, value = argument.strip().removeprefix("parameter ").partition(" ")
    if not name:
        _show_settings(dialog)
        return
    name = name.lower().replace("-", "_")
    name, value = SYNONYMS.get(name, name), value.strip()
    if name == "quiet":
        name, value = "verbose", "off"
    elif name in ("think", "nothink"):
        name, value = "thinking", "show" if name == "think" else "off"
    elif name in SWITCHES and not value:
        value = "on"
    if name not in SETTINGS:
        near = difflib.get_close_matches(name, SETTINGS, n=1)
        hint = f"/set {near[0]}" if near else "/set shows all"
        raise UsageError(f"there is no setting {name}", hint=hint)
    if not value and name != "stop":
        raise UsageError(f"/set {name} needs a value: {_usage(name)}")
    if name == "system":
        system(dialog, value)
        return
    _set(dialog, name, value)
    dialog.output.status(f"{name} = {_values(dialog)[name]}")


def _set(dialog: Dialog, name: str, value: str) -> None:
    session, settings, view = dialog.session, dialog.session.settings, dialog.view
    if name in SAMPLING:
        changed: dict[str, Any] = {name: _parameter(name, value)}
        sampling = replace(settings.sampling, **changed)
        session.change(replace(settings, sampling=sampling))
    elif name == "stop":
        stops = () if value.lower() in ("", *NONE) else (*settings.stop, value)
        session.change(replace(settings, stop=stops))
    elif name == "thinking":
        mode = value.lower()
        if mode not in THINKING:
            raise UsageError(f"thinking is {', '.join(THINKING[:-1])} or off, not {value!r}")
        session.change(replace(settings, thinking=mode != "off"))
        view.thinking = next((each for each in get_args(Thinking) if each == mode), view.thinking)
    elif name == "markdown":
        view.markdown = None if value.lower() in NONE else _switch(name, value)
    elif name == "verbose":
        view.verbose = _switch(name, value)
    elif dialog.reader is not None:
        dialog.reader.set_vi(_switch(name, value))


def _parameter(name: str, text: str) -> float | None:
    if text.lower() in NONE:
        return None
    is_whole = name in ("seed", "max_tokens") or isinstance(DEFAULTS[name], int)
    try:
        return int(text) if is_whole else float(text)
    except ValueError as error:
        kind = "a whole number" if is_whole else "a number"
        raise UsageError(f"{name} is {kind} or default, not {text!r}") from error


def _switch(name: str, text: str) -> bool:
    if text.lower() not in (*ON, *OFF):
        raise UsageError(f"{name} is on or off, not {text!r}")
    return text.lower() in ON


def _usage(name: str) -> str:
    if name in SWITCHES:
        return "on or off"
    if name == "thinking":
        return ", ".join(THINKING)
    return "a text" if name == "system" else "a number, or default"


def _values(dialog: Dialog) -> dict[str, str]:
    """Return the settings as texts; what is not given has the model's default or llama.cpp's."""
    settings, model = dialog.session.settings, dialog.session.loaded_model
    filled = settings.sampling.with_defaults(model.sampling if model is not None else None)
    values: dict[str, Any] = {}
    for name in SAMPLING:
        given, used = getattr(settings.sampling, name), getattr(filled, name)
        values[name] = given if given is not None else f"default{'' if used is None else f' ({used})'}"
    values["thinking"] = dialog.view.thinking if settings.thinking else "off"
    values["stop"] = " ".join(repr(stop) for stop in settings.stop) or "none"
    markdown = dialog.view.markdown
    values["markdown"] = "auto" if markdown is None else "on" if markdown else "off"
    values["verbose"] = "on" if dialog.view.verbose else "off"
    values["vi"] = "on" if getattr(dialog.reader, "is_vi", False) else "off"
    values["system"] = settings.system or "none"
    return {name: str(value) for name, value in values.items()}


def _show_settings(dialog: Dialog) -> None:
    from gptcli.output.tables import print_table

    print_table(dialog.output, ("setting", "value"), list(_values(dialog).items()))


# ---------------------------------------------------------------------------------- model and system


def system(dialog: Dialog, argument: str) -> None:
    session = dialog.session
    if not argument:
        dialog.output.status(session.settings.system or "there is no system prompt")
        return
    text = "" if argument == "-" else argument
    session.change(replace(session.settings, system=text))
    dialog.output.status("the system prompt is set" if text else "there is no system prompt now")


def model(dialog: Dialog, argument: str) -> None:
    """Show the model, or go on with another. The one at hand is closed first: two need more memory."""
    if not argument:
        _show_model(dialog)
        return
    dialog.session.use_engine(*dialog.services.open_model(argument))
    dialog.output.status(f"going on with {argument}")


def _show_model(dialog: Dialog) -> None:
    info = dialog.session.model
    facts = {
        "model": dialog.session.model_spec,
        "what it is": info.description or info.architecture,
        "file": info.path,
        "context window": f"{info.context_limit:,} tokens of {info.context_length:,}",
        "form": "chat template" if info.is_chat else "transcript (a base model)",
        "loaded in": f"{info.load_s:.2f} s",
    }
    _print_facts(dialog, {name: fact for name, fact in facts.items() if fact})


def show(dialog: Dialog, argument: str) -> None:
    """Show one of several things, or what there is to show."""
    kinds: Mapping[str, Callable[[], None]] = {
        "model": lambda: _show_model(dialog),
        "info": lambda: _show_model(dialog),
        "system": lambda: system(dialog, ""),
        "settings": lambda: _show_settings(dialog),
        "parameters": lambda: _show_settings(dialog),
        "template": lambda: dialog.output.status(
            dialog.session.model.chat_template or "this model has no chat template"
        ),
        "thinking": lambda: _show_thinking(dialog),
        "context": lambda: context(dialog, ""),
    }
    if argument and argument not in kinds:
        raise UsageError(f"cannot show {argument}", hint=f"/show {' | '.join(SHOWN)}")
    kinds[argument or "model"]()


SHOWN = ("model", "system", "settings", "template", "thinking", "context")


def _show_thinking(dialog: Dialog) -> None:
    turns = dialog.session.turns
    text = turns[-1].thinking if turns else ""
    if not text:
        raise UsageError("the last answer came without thinking")
    dialog.output.thinking(text.rstrip() + "\n")


# ------------------------------------------------------------------------------------------- numbers


def context(dialog: Dialog, argument: str) -> None:
    """Show what fills the window, as bars."""
    from gptcli.output.bars import bar_text, has_blocks
    from gptcli.output.tables import print_table

    parts = dialog.session.measure()
    limit = dialog.session.model.context_limit
    rows, blocks = [], has_blocks(dialog.output)
    for name, tokens in parts.items():
        if tokens or name in ("messages", "free"):
            bar = bar_text(tokens / limit * BAR_CELLS, blocks=blocks)
            rows.append((name, f"{tokens:,}", f"{tokens / limit:.0%}", bar))
    print_table(dialog.output, ("part", "tokens", "share", ""), rows)
    start = dialog.session.start
    if start:
        how = "summarized" if dialog.session.summary else "left out"
        dialog.output.status(f"{counted(start, 'older turn')} {how}")


def stats(dialog: Dialog, argument: str) -> None:
    """Show tokens and speed of the last answer, and the tokens of the whole chat."""
    session = dialog.session
    turn = session.turns[-1] if session.turns else None
    if turn is not None and turn.finish_reason == "cancelled":
        dialog.output.status("the last answer was stopped: its tokens are not counted")
    elif turn is None or turn.usage is None:
        raise GptcliError("there is no answer to tell of yet")
    else:
        sample = Sample(text=turn.answer, usage=turn.usage, timings=turn.timings or Timings())
        dialog.output.status(timings_text(session.model, [sample]))
    total: Usage = session.total
    dialog.output.status(
        f"in all: {total.prompt_tokens:,} prompt tokens ({total.cached_tokens:,} cached), "
        f"{total.completion_tokens:,} written"
    )


def _print_facts(dialog: Dialog, facts: Mapping[str, str]) -> None:
    from gptcli.output.tables import print_table

    print_table(dialog.output, ("name", "value"), list(facts.items()))
