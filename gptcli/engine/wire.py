"""Requests and events as lines of JSON, for the pipes between front and worker.

To the worker goes a Load, then lists of requests and Cancels; back come a Ready, then events.
"""

from __future__ import annotations

import base64
import dataclasses
import json
from array import array
from typing import Any

from gptcli.engine import api
from gptcli.errors import GptcliError, error_from_code
from gptcli.messages import Conversation, Message
from gptcli.sampling import OutputConstraint, SamplingParams

TYPE_KEY = "$"
FLOATS = "floats"  # array("f"), as its bytes: both ends run on one machine
ENCODER = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"))
VALUES: dict[str, Any] = {
    cls.__name__: cls
    for cls in (
        *(api.Generate, api.Score, api.Embed, api.HiddenState, api.Tokenize, api.Keep),
        *(api.Started, api.Delta, api.Scored, api.Embedded, api.Tokenized, api.Kept),
        *(api.Finished, api.Failed),
        *(api.EngineSettings, api.ModelInfo, api.TokenLogprob, api.Usage, api.Timings),
        *(Conversation, Message, OutputConstraint, SamplingParams),
    )
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """The first line to a worker. `crash_memory`: where it keeps which builds crash on which CPUs;
    `prompt_cache`: the directory of evaluated prompts, None: none are kept.
    """

    settings: api.EngineSettings
    extra_buffers: bool | None = None  # None: as remembered; False: after a crash
    crash_memory: str | None = None
    prompt_cache: str | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """The worker's first answer: the model is loaded."""

    model: api.ModelInfo
    extra_buffers: bool


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """Stop a request."""

    id: api.RequestId


VALUES |= {cls.__name__: cls for cls in (Load, Ready, Cancel)}


def dumps(value: object) -> bytes:
    """Return the value as one line of JSON, newline included."""
    if isinstance(value, api.Delta) and not value.logprobs:  # one for each token: the quick way
        members = {TYPE_KEY: "Delta", "id": value.id, "text": value.text, "channel": value.channel}
        return ENCODER.encode(members).encode() + b"\n"
    return ENCODER.encode(_encode(value)).encode() + b"\n"


def loads(line: bytes) -> Any:
    """Return the value that `dumps` wrote. Raises ValueError for anything else."""
    return _decode(json.loads(line))


def _encode(value: object) -> object:
    if isinstance(value, GptcliError):
        details = {str(key): _encode(item) for key, item in value.details.items()}
        return {TYPE_KEY: "error", "code": value.code, "message": value.message} | (
            {"hint": value.hint, "details": details}
        )
    if dataclasses.is_dataclass(value):
        members: dict[str, object] = {TYPE_KEY: type(value).__name__}
        for field in dataclasses.fields(value):
            members[field.name] = _encode(getattr(value, field.name))
        return members
    if isinstance(value, array):
        return {TYPE_KEY: FLOATS, "base64": base64.b64encode(value).decode()}
    if isinstance(value, tuple | list):
        return [_encode(item) for item in value]
    return value


def _decode(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_decode(item) for item in value)
    if isinstance(value, dict) and value.get(TYPE_KEY) == FLOATS:
        return array("f", base64.b64decode(value["base64"]))
    if isinstance(value, dict) and TYPE_KEY in value:
        members = {name: _decode(item) for name, item in value.items() if name != TYPE_KEY}
        if value[TYPE_KEY] == "error":
            details = members.pop("details")
            return error_from_code(members["code"], members["message"], members["hint"], **details)
        return VALUES[value[TYPE_KEY]](**members)
    return value
