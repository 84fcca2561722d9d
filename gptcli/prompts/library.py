"""Prompt templates: `gptcli generate --template NAME -p key=value`.

A template has two forms. The chat form is an instruction (and a system prompt) for models with a chat
template. The base form is a text that begins what is wanted, with its own stop strings, for models
that only go on with what they read. Shipped templates are in library.toml; a user's NAME.toml in the
templates directory overrides the shipped one of that name.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gptcli.errors import UsageError
from gptcli.prompts.placeholders import lower_first, placeholder_text, upper_first

LIBRARY = Path(__file__).with_name("library.toml")
LIST_HINT = "gptcli generate --template list"
MATERIAL = "text"  # the parameter that stands for what is piped in or named with -f
NAME = re.compile(r"[a-z0-9][a-z0-9_-]*", re.IGNORECASE)
TEXT_KEYS = ("description", "prompt", "system", "base")
KEYS = (*TEXT_KEYS, "stop", "params", "headings")


@dataclass(frozen=True, slots=True, kw_only=True)
class Param:
    """A variable of a template; without a default it must be given."""

    name: str
    description: str = ""
    default: str | None = None

    @property
    def is_required(self) -> bool:
        return self.default is None


@dataclass(frozen=True, slots=True, kw_only=True)
class FilledTemplate:
    """What a template gives to the prompt: instruction or beginning, system prompt, stop strings."""

    prompt: str
    system: str
    stop: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A prompt with variables.

    `headings` serves `--words`: whether a long text of this kind shows them.
    """

    name: str
    description: str = ""
    params: tuple[Param, ...] = ()
    system: str = ""
    prompt: str = ""
    base: str = ""
    stop: tuple[str, ...] = ()
    headings: bool = False
    source: str = ""  # the user's file; empty: shipped

    @property
    def takes_material(self) -> bool:
        """Whether piped text or files can stand in for a parameter."""
        return any(param.name == MATERIAL for param in self.params)

    def usage(self) -> str:
        """Return the parameters in short: `topic= [tone=neutral]`."""
        return " ".join(_usage(param) for param in self.params)

    def summary(self) -> dict[str, Any]:
        """Return what the template is, as JSON members."""
        return {
            "name": self.name,
            "description": self.description,
            "parameters": [
                {
                    "name": param.name,
                    "description": param.description,
                    "required": param.is_required,
                    "default": param.default,
                }
                for param in self.params
            ],
            "source": self.source or "gptcli",
        }

    def check(self, values: Mapping[str, str], *, has_material: bool = False) -> None:
        """Raise UsageError for a parameter that is unknown, or missing.

        `has_material`: there is piped text, so the parameter `text` need not be given.
        """
        names = [param.name for param in self.params]
        for name in values:
            if name not in names:
                known = f"it has {', '.join(names)}" if names else "it has none"
                near = difflib.get_close_matches(name, names, n=1)
                raise UsageError(
                    f'template "{self.name}" has no parameter "{name}": {known}',
                    hint=f"-p {near[0]}=…" if near else f"--template {self.name} {self._example()}",
                )
        missing = [
            param.name
            for param in self.params
            if param.is_required
            and not values.get(param.name, "").strip()
            and not (has_material and param.name == MATERIAL)
        ]
        if missing:
            raise UsageError(
                f'template "{self.name}" needs {" and ".join(missing)}',
                hint=f"gptcli generate --template {self.name} {self._example()}",
            )

    def fill(self, values: Mapping[str, str], *, as_chat: bool, material: str = "") -> FilledTemplate:
        """Return the form for a chat model or a base model, with the values in place.

        `material` is the value of the parameter `text` unless that is given. Raises as `check`.
        """
        self.check(values, has_material=bool(material))
        known = {param.name: param.default or "" for param in self.params} | {MATERIAL: material}
        known |= {name: value for name, value in values.items() if value.strip()}
        if as_chat:
            prompt, stop = self.prompt or self.base, () if self.prompt else self.stop
            return FilledTemplate(
                prompt=_fill(prompt, known), system=_fill(self.system, known), stop=stop
            )
        return FilledTemplate(prompt=_fill(self.base or self.prompt, known), system="", stop=self.stop)

    def _example(self) -> str:
        return " ".join(
            f"-p {param.name}=@FILE" if param.name == MATERIAL else f'-p {param.name}="…"'
            for param in self.params
            if param.is_required
        )


def load_template(name: str, user_dir: Path) -> Template:
    """Return the user's template of that name, or the shipped one.

    Raises UsageError for an unknown name, and for a user's file that is not a template.
    """
    path = user_dir / f"{name}.toml"
    if NAME.fullmatch(name) and path.is_file():
        return _read_user_template(path)
    shipped = _shipped()
    if name in shipped:
        return shipped[name]
    names = [*shipped, *(path.stem for path in _user_files(user_dir))]
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    nearest = f': did you mean "{near[0]}"?' if near else ""
    raise UsageError(f'there is no template "{name}"{nearest}', hint=LIST_HINT)


def all_templates(user_dir: Path) -> list[Template]:
    """Return all templates by name, the user's in place of shipped ones. Raises as `load_template`."""
    found = _shipped() | {path.stem: _read_user_template(path) for path in _user_files(user_dir)}
    return [found[name] for name in sorted(found)]


def _shipped() -> dict[str, Template]:
    tables = tomllib.loads(LIBRARY.read_text(encoding="utf-8"))
    return {name: _template(name, table, "") for name, table in tables.items()}


def _user_files(user_dir: Path) -> list[Path]:
    return sorted(path for path in user_dir.glob("*.toml") if NAME.fullmatch(path.stem))


def _read_user_template(path: Path) -> Template:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path} is not a template: {error}", hint=f"edit {path}") from error
    return _template(path.stem, table, str(path))


def _template(name: str, table: Mapping[str, Any], source: str) -> Template:
    _check_table(table, source)
    texts = {key: table.get(key, "") for key in TEXT_KEYS}
    params = [_param(key, value, source) for key, value in table.get("params", {}).items()]
    used = _placeholders(texts[key] for key in ("system", "prompt", "base"))
    declared = {param.name for param in params}
    if unused := declared - set(used):
        raise _invalid(source, f'the parameter "{min(unused)}" is not used')
    # What a text names and [params] does not describe is required.
    params += [Param(name=key) for key in used if key not in declared]
    return Template(
        name=name,
        params=tuple(params),
        stop=tuple(table.get("stop", ())),
        headings=table.get("headings", False),
        source=source,
        **texts,
    )


def _check_table(table: Mapping[str, Any], source: str) -> None:
    for key, value in table.items():
        if key not in KEYS:
            near = difflib.get_close_matches(key, KEYS, n=1)
            raise _invalid(source, f'unknown key "{key}"', f"did you mean {near[0]}?" if near else "")
        if key in TEXT_KEYS and not isinstance(value, str):
            raise _invalid(source, f'"{key}" must be a string')
        if key == "stop" and not _is_strings(value):
            raise _invalid(source, f'"{key}" must be a list of strings, none of them empty')
        if key == "params" and not isinstance(value, dict):
            raise _invalid(source, '"params" must be a table')
        if key == "headings" and not isinstance(value, bool):
            raise _invalid(source, '"headings" must be true or false')
    if not (table.get("prompt") or table.get("base")):
        raise _invalid(source, 'there is neither a "prompt" nor a "base"')


def _param(name: str, value: Any, source: str) -> Param:
    """Return a parameter from `name = "description"` or `name = {description = "…", default = "…"}`."""
    members = {"description": value} if isinstance(value, str) else value
    if not isinstance(members, dict) or not all(
        key in ("description", "default") and isinstance(member, str) for key, member in members.items()
    ):
        raise _invalid(
            source, f'the parameter "{name}" must be a description, or have "description" and "default"'
        )
    return Param(name=name, **members)


def _invalid(source: str, problem: str, hint: str = "") -> UsageError:
    return UsageError(f"{source or LIBRARY} is not a template: {problem}", hint=hint or f"edit {source}")


def _is_strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) and item for item in value)


def _placeholders(texts: Iterable[str]) -> list[str]:
    names = (name for text in texts for name in placeholder_text(text).names)
    return list(dict.fromkeys(lower_first(name) for name in names))


def _fill(text: str, values: Mapping[str, str]) -> str:
    # {Name} is the value of `name`, its first letter a capital.
    def value_of(name: str) -> str:
        value = values[lower_first(name)].strip()
        return upper_first(value) if name[0].isupper() else value

    return placeholder_text(text).fill(value_of)


def _usage(param: Param) -> str:
    if param.default is None:
        return f"{param.name}="
    value = f'"{param.default}"' if " " in param.default else param.default
    return f"[{param.name}={value}]"
