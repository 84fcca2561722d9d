"""Prompts whose placeholders are the fields of a record."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

from gptcli.errors import UsageError
from gptcli.prompts.compose import PromptParts
from gptcli.prompts.library import MATERIAL, Template
from gptcli.prompts.placeholders import lower_first, placeholder_text, upper_first

Fields = Mapping[str, Any]

FIELDS_SHOWN = 10


class RecordPrompt(Protocol):
    """Makes a prompt of a record's fields."""

    def check(self, fields: Collection[str], /) -> None:
        """Raise UsageError if the prompt has a placeholder that is none of these fields."""
        ...

    def is_blank(self, fields: Fields, /) -> bool:
        """Tell whether all that the record gives to the prompt is blank. Raises as `check`."""
        ...

    def parts(self, fields: Fields, as_chat: bool, /) -> PromptParts:
        """Return the prompt of a record. Raises UsageError as `check`."""
        ...

    def stop(self, as_chat: bool, /) -> tuple[str, ...]:
        """Return the stop strings that belong to the prompt."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class InlinePrompt:
    """A prompt written by the user, with {fields}, also in the system prompt.

    {Name} is the field of that name, or else that of `name` with a capital letter. `text_field` is
    the field that {text} stands for. Raises UsageError for a prompt without any field.
    """

    instruction: str
    system: str = ""
    text_field: str = MATERIAL

    def __post_init__(self) -> None:
        if not self._names():
            raise UsageError(
                "the template has no {field}: every record would get the same prompt",
                hint="gptcli map 'Summarise: {text}'",
            )

    def check(self, fields: Collection[str], /) -> None:
        for name in self._names():
            self._key(name, fields)

    def is_blank(self, fields: Fields, /) -> bool:
        return not any(field_text(fields[self._key(name, fields)]).strip() for name in self._names())

    def parts(self, fields: Fields, _as_chat: bool, /) -> PromptParts:
        def value_of(name: str) -> str:
            key = self._key(name, fields)
            value = field_text(fields[key])
            return upper_first(value) if name[0].isupper() and key != name else value

        return PromptParts(
            instruction=placeholder_text(self.instruction).fill(value_of),
            system=placeholder_text(self.system).fill(value_of) if self.system else "",
        )

    def stop(self, _as_chat: bool, /) -> tuple[str, ...]:
        return ()

    def _names(self) -> tuple[str, ...]:
        return placeholder_text(self.instruction).names + placeholder_text(self.system).names

    def _key(self, name: str, fields: Collection[str]) -> str:
        if name in fields and name != MATERIAL:
            return name
        lower = lower_first(name)
        key = self.text_field if lower == MATERIAL else lower
        if key in fields:
            return key
        raise no_field(key if lower == MATERIAL else name, fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class LibraryPrompt:
    """A template of the library: its parameters are the fields, but for those with fixed `values`.

    Raises UsageError when all have them.
    """

    template: Template
    values: Mapping[str, str]
    system: str = ""
    text_field: str = MATERIAL

    def __post_init__(self) -> None:
        if all(param.name in self.values for param in self.template.params):
            raise UsageError("no field goes into the template: every record would get the same prompt")

    def check(self, fields: Collection[str], /) -> None:
        for param in self.template.params:
            key = self._key(param.name)
            if param.is_required and param.name not in self.values and key not in fields:
                raise no_field(key, fields)

    def is_blank(self, fields: Fields, /) -> bool:
        self.check(fields)
        values = self._values(fields).values()
        return bool(values) and not any(value.strip() for value in values)

    def parts(self, fields: Fields, as_chat: bool, /) -> PromptParts:
        self.check(fields)
        values = {**self._values(fields), **self.values}
        filled = self.template.fill(values, as_chat=as_chat)
        return PromptParts(instruction=filled.prompt, system=self.system or filled.system)

    def stop(self, as_chat: bool, /) -> tuple[str, ...]:
        has_own_form = as_chat and bool(self.template.prompt)
        return () if has_own_form else self.template.stop

    def _values(self, fields: Fields) -> dict[str, str]:
        keys = {param.name: self._key(param.name) for param in self.template.params}
        return {
            name: field_text(fields[key])
            for name, key in keys.items()
            if key in fields and name not in self.values
        }

    def _key(self, name: str) -> str:
        return self.text_field if name == MATERIAL else name


def field_text(value: object) -> str:
    """Return a field's value as text: text as it is, nothing for None, else JSON."""
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False)


def no_field(name: str, fields: Collection[str]) -> UsageError:
    """Return the error that says which fields there are instead."""
    known = ", ".join(f'"{field}"' for field in islice(fields, FIELDS_SHOWN))
    known += " …" if len(fields) > FIELDS_SHOWN else ""
    fact = f"the fields are {known}" if known else "the record has none"
    return UsageError(
        f'there is no field "{name}": {fact}', hint="--field NAME" if name == MATERIAL else None
    )
