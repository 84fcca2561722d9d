"""Where gptcli keeps its files. Functions, never constants: tests and users move them by environment.

Each directory is the platform's own (on Linux: the XDG ones), or `GPTCLI_<KIND>_DIR`.
"""

from __future__ import annotations

import os
from pathlib import Path


def config_dir() -> Path:
    """Return the directory of what the user writes: config.toml, templates, models.toml."""
    return _directory("config")


def data_dir() -> Path:
    """Return the directory of what cannot be made again by itself: weights, conversations, heads."""
    return _directory("data")


def cache_dir() -> Path:
    """Return the directory of what may be deleted at any time."""
    return _directory("cache")


def state_dir() -> Path:
    """Return the directory of what programs remember between runs."""
    return _directory("state")


def config_file() -> Path:
    return config_dir() / "config.toml"


def templates_dir() -> Path:
    return config_dir() / "templates"


def models_file() -> Path:
    """Return the user's own models, laid over the shipped models.toml."""
    return config_dir() / "models.toml"


def models_lock_file() -> Path:
    """Return the file that says which commit and hashes were taken at the first pull."""
    return data_dir() / "models.lock.json"


def licenses_file() -> Path:
    """Return the file that says which licences were accepted."""
    return data_dir() / "licenses.json"


def imports_file() -> Path:
    """Return the file that says which files the user gave a name."""
    return data_dir() / "imports.json"


def bench_file() -> Path:
    """Return the file with the results of `gptcli bench`, a line a run."""
    return data_dir() / "bench.jsonl"


def memory_file() -> Path:
    """Return the database of translations."""
    return data_dir() / "translations.db"


def logs_file() -> Path:
    """Return the database of conversations and logs."""
    return data_dir() / "logs.db"


def logs_notice_file() -> Path:
    """Return the file that says that the user was told of the log."""
    return state_dir() / "told-of-logs"


def hub_cache_dir() -> Path:
    """Return the cache that the Hub's own programs use, as they find it."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if named := os.environ.get(name):
            return Path(os.path.expandvars(named)).expanduser()
    if home := os.environ.get("HF_HOME"):
        return Path(os.path.expandvars(home)).expanduser() / "hub"
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.path.expandvars(cache)).expanduser() / "huggingface" / "hub"


def heads_dir() -> Path:
    """Return the directory of the heads that `gptcli fit` made."""
    return data_dir() / "heads"


def prompt_cache_dir() -> Path:
    """Return the directory of evaluated prompts."""
    return cache_dir() / "prompts"


def chat_history_file() -> Path:
    """Return the file of what was typed in chats, for going back to it."""
    return state_dir() / "chat_history"


def indexes_dir() -> Path:
    """Return the directory of the indexes of folders that were asked about."""
    return cache_dir() / "indexes"


def calibrations_dir() -> Path:
    """Return the directory of what was measured to read models' labels rightly."""
    return cache_dir() / "calibrations"


def crash_memory_file() -> Path:
    """Return the file that says which builds of llama.cpp crash on which CPUs."""
    return state_dir() / "crashes.json"


def _directory(kind: str) -> Path:
    moved = os.environ.get(f"GPTCLI_{kind.upper()}_DIR")
    if moved:
        return Path(moved).expanduser()
    import platformdirs

    directories = platformdirs.PlatformDirs("gptcli", appauthor=False)
    return Path(getattr(directories, f"user_{kind}_dir"))
