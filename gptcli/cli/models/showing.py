"""`gptcli models show`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gptcli.errors import ModelNotFoundError, UsageError
from gptcli.models import records
from gptcli.models.faults import quoted
from gptcli.models.fit import parameter_count, quantization_name
from gptcli.models.gguf import ArrayInfo, GgufHeader, read_header
from gptcli.models.registry import ModelSpec, load_registry
from gptcli.models.resolve import find_file
from gptcli.models.spec import AliasRef, ModelRef, parse_spec
from gptcli.output.amounts import byte_count
from gptcli.output.console import Output
from gptcli.output.tables import print_table

WIDEST_VALUE = 200  # characters of a header field in the list; --get gives it whole
CAPABILITIES = (  # what a chat template speaks of
    ("tools", "tools"),
    ("thinking", "<think"),
)


def show_model(params: dict[str, Any], output: Output) -> None:
    """Show a model's header, or what the registry knows of a model that is not here."""
    ref, key, as_json = parse_spec(params["spec"]), params["get"], params["json"]
    entry = _entry(ref)
    path = _path(ref, entry)
    if path is None:
        assert entry is not None
        _show_entry(output, entry, as_json)
        return
    header = read_header(path, skip_arrays=key is None)
    if key is not None:
        _show_field(output, header, key, as_json)
    elif as_json:
        output.json(_facts(header, path, entry) | {"metadata": _metadata(header)})
    else:
        _show_header(output, header, path, entry)


def _entry(ref: ModelRef) -> ModelSpec | None:
    if not isinstance(ref, AliasRef) or ref.alias in records.imported():
        return None
    return load_registry().models.get(ref.alias)


def _path(ref: ModelRef, entry: ModelSpec | None) -> Path | None:
    """Return the model's file; None where the registry alone knows the model."""
    try:
        return find_file(ref)
    except ModelNotFoundError:
        if entry is None:
            raise
        return None


def _show_entry(output: Output, entry: ModelSpec, as_json: bool) -> None:
    facts: dict[str, Any] = {
        "alias": entry.alias,
        "name": entry.name,
        "downloaded": False,
        "repo": entry.repo or None,
        "revision": entry.revision,
        "files": [{"path": f.path, "size": f.size, "sha256": f.sha256} for f in entry.files],
        "confirmed": entry.is_confirmed,
        "architecture": entry.architecture,
        "parameters": entry.parameters,
        "quantization": entry.quantization,
        "context_length": entry.context_length,
        "memory": entry.memory,
        "license": entry.license,
        "license_url": entry.license_url,
        "tasks": list(entry.tasks),
        "languages": list(entry.languages),
        "source": entry.source,
        "checked": entry.checked,
    }
    if as_json:
        output.json(facts)
        return
    facts["files"] = ", ".join(file.path for file in entry.files)
    for key in ("tasks", "languages"):
        facts[key] = ", ".join(facts[key])
    facts |= {"parameters": f"{entry.parameters:,}", "context_length": f"{entry.context_length:,}"}
    facts |= {"memory": byte_count(entry.memory), "downloaded": "no"}
    facts["confirmed"] = "yes" if entry.is_confirmed else "no: checked and recorded at the first pull"
    print_table(output, ("", ""), [(key, value) for key, value in facts.items() if value])
    output.status(f"  try: gptcli models pull {entry.alias}")


def _show_field(output: Output, header: GgufHeader, key: str, as_json: bool) -> None:
    if key not in header.metadata:
        near = [each for each in header.metadata if key in each]
        raise UsageError(
            f"the header has no {quoted(key)}",
            hint=f"--get {near[0]}" if near else "gptcli models show …",
        )
    value = header.metadata[key]
    if as_json:
        output.json(value)
    elif isinstance(value, tuple):
        output.write("".join(f"{item}\n" for item in value))
    else:
        output.write(str(value))
        output.finish_text()


def _facts(header: GgufHeader, path: Path, entry: ModelSpec | None) -> dict[str, Any]:
    template = header.chat_template
    named = header.metadata.get("general.license")
    return {
        "name": entry.name if entry else header.name,
        "path": str(path),
        "size": path.stat().st_size,
        "architecture": header.architecture,
        "parameters": parameter_count(header),
        "quantization": quantization_name(header) or (entry.quantization if entry else None),
        "layers": header.block_count,
        "context_length": header.context_length,
        "embedding_length": header.embedding_length,
        "license": entry.license if entry else named,
        "license_url": entry.license_url if entry else header.metadata.get("general.license.link"),
        "capabilities": list(_capabilities(header)),
        "chat_template_sha256": hashlib.sha256(template.encode()).hexdigest() if template else None,
        "tensors": header.tensor_count,
    }


def _capabilities(header: GgufHeader) -> Iterator[str]:
    """Yield what the model is for, as far as its header shows it."""
    if header.model_number("pooling_type") or str(header.architecture).endswith("bert"):
        yield "embedding"
        return
    template = header.chat_template
    yield "chat" if template else "completion"
    yield from (name for name, mark in CAPABILITIES if template and mark in template)


def _metadata(header: GgufHeader) -> dict[str, Any]:
    return {
        key: {"type": value.element_type, "length": value.length}
        if isinstance(value, ArrayInfo)
        else value
        for key, value in header.metadata.items()
    }


def _show_header(output: Output, header: GgufHeader, path: Path, entry: ModelSpec | None) -> None:
    facts = _facts(header, path, entry)
    facts["size"] = byte_count(facts["size"])
    facts["capabilities"] = ", ".join(facts["capabilities"])
    for key in ("parameters", "context_length"):
        facts[key] = f"{facts[key]:,}" if facts[key] else None
    print_table(output, ("", ""), [(key, value) for key, value in facts.items() if value is not None])
    output.write("\n")
    print_table(output, ("header field", "value"), list(_rows(header.metadata)))


def _rows(metadata: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in metadata.items():
        if isinstance(value, ArrayInfo):
            text = f"{value.length:,} x {value.element_type}"
        elif isinstance(value, tuple):
            text = ", ".join(map(str, value))
        else:
            text = str(value)
        line = " ".join(text.split())
        yield key, line if len(line) <= WIDEST_VALUE else f"{line[:WIDEST_VALUE]}… (--get {key})"
