"""The user's config.toml. Precedence everywhere: flag > GPTCLI_<OPTION> > config.toml > default.

Keys are option names (`temperature = 0.7`, `gpu-layers` or `gpu_layers`); a table named like a
command (`[generate]`) holds values for that command alone.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from gptcli.errors import StorageError, UsageError
from gptcli.files import write_whole

ConfigValues = Mapping[str, Any]


def read_config(path: Path) -> dict[str, Any]:
    """Return the file's content, {} if there is none. Raises UsageError when it is not TOML."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {error}") from error
    import tomllib

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not valid TOML: {error}", hint=f"edit {path}") from error


def defaults_by_command(
    config: ConfigValues, commands: Mapping[str, Collection[str]], path: Path
) -> dict[str, dict[str, Any]]:
    """Return each command's option values from the file, keyed by parameter name.

    `commands` maps a command to its parameter names. Raises UsageError for a key that no command has.
    """
    common = {_key(key): value for key, value in config.items() if not isinstance(value, dict)}
    known = {name for names in commands.values() for name in names}
    _check_keys(common, known, path)
    result = {}
    for command, names in commands.items():
        table = config.get(command, {})
        own = {_key(key): value for key, value in table.items()} if isinstance(table, dict) else {}
        _check_keys(own, names, path)
        result[command] = {name: value for name, value in common.items() if name in names} | own
    for key, value in config.items():
        if isinstance(value, dict) and key not in commands:
            raise _unknown(key, commands, path)
    return result


def write_value(path: Path, key: str, text: str, known: Collection[str]) -> object:
    """Set `key` (or `command.key`) in the file, keeping its comments; return the value as stored.

    `text` is read as TOML if it is (0.7, true, ["a"]), else as a string.
    Raises UsageError for an unknown key, StorageError when the file cannot be written.
    """
    import tomlkit
    import tomlkit.exceptions

    *tables, name = key.split(".")
    if len(tables) > 1 or _key(name) not in known:
        raise _unknown(name, known, path)
    try:
        value = tomlkit.parse(f"value = {text}")["value"]
    except tomlkit.exceptions.TOMLKitError:
        value = tomlkit.item(text)
    read_config(path)  # refuses a file that is not TOML before anything is changed
    document = tomlkit.parse(path.read_text(encoding="utf-8") if path.exists() else "")
    place: Any = document
    for table in tables:
        place = document.setdefault(table, tomlkit.table())
    for spelling in (name.replace("-", "_"), name.replace("_", "-")):
        place.pop(spelling, None)
    place[_key(name)] = value
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, tomlkit.dumps(document))
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}") from error
    return value.unwrap() if hasattr(value, "unwrap") else value


def _key(name: str) -> str:
    return name.replace("-", "_")


def _check_keys(values: ConfigValues, known: Collection[str], path: Path) -> None:
    for key in values:
        if key not in known:
            raise _unknown(key, known, path)


def _unknown(key: str, known: Collection[str], path: Path) -> UsageError:
    near = difflib.get_close_matches(_key(key), list(known), n=1)
    hint = f"did you mean {near[0]}?" if near else "gptcli config show"
    return UsageError(f'{path.name}: unknown key "{key}"', hint=hint)
