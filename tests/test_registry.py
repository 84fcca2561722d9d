"""models.toml: what is shipped is well-formed and agrees with itself, and the user's own lies on it."""

from __future__ import annotations

import math
import re
import tomllib
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from gptcli.errors import UsageError
from gptcli.models.registry import (
    MEMORY_WINDOW,
    ModelFile,
    ModelSpec,
    is_repo_id,
    is_safe_path,
    load_registry,
    registry_path,
)

TASKS = {"generate", "chat", "ask", "summarize", "translate", "sentiment", "classify", "embed"}
OSI = {"apache-2.0", "mit"}
SHIPPED = tomllib.loads(registry_path().read_text(encoding="utf-8"))
MODELS = list(SHIPPED["models"])
LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Z][a-z]{3})?(-([A-Z]{2}|\d{3}))?")  # language, script, region

MINE = """
[models.mine]
name = "Mine"
repo = "me/Mine-GGUF"
revision = "0123456789abcdef0123456789abcdef01234567"
quantization = "Q8_0"
architecture = "llama"
parameters = 1_000_000
context_length = 2_048
memory = 300_000_000
kv_bytes_per_token = 1_024
license = "mit"
license_url = "https://example.org/license"
tasks = ["chat"]
languages = ["la"]
source = "my own"
checked = "2026-01-31"
files = [{ path = "mine-q8_0.gguf", size = 1_000, sha256 = "SHA" }]
""".replace("SHA", "0" * 64)


def own(home: Path, text: str) -> None:
    """Write the user's models.toml."""
    path = home / "config" / "models.toml"
    path.parent.mkdir()
    path.write_text(text, encoding="utf-8")


@pytest.fixture(scope="module", params=MODELS)
def spec(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ModelSpec:
    """Each shipped model, with nothing laid over it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GPTCLI_CONFIG_DIR", str(tmp_path_factory.mktemp("config")))
        return load_registry().find(request.param)


def test_files_are_named_safely(spec: ModelSpec) -> None:
    for file in spec.files:
        assert is_safe_path(file.path)
        assert file.path.endswith(".gguf")
        assert re.search(rf"(?i)(?<![a-z0-9]){spec.quantization}(?![a-z0-9_])", file.path)
    assert spec.package or is_repo_id(spec.repo)


def test_pins_have_the_right_form(spec: ModelSpec) -> None:
    for file in spec.files:
        assert file.size is None or 10**8 < file.size < 10**11
        assert file.sha256 is None or re.fullmatch(r"[0-9a-f]{64}", file.sha256)
        assert file.sha256 is None or len(set(file.sha256)) > 8, "a placeholder"
    assert spec.revision is None or re.fullmatch(r"[0-9a-f]{40}", spec.revision)


def test_numbers_fit_together(spec: ModelSpec) -> None:
    if spec.size:
        assert 3 < spec.size * 8 / spec.parameters < 11, "bits per parameter"
        assert spec.memory >= spec.size
    if spec.size and spec.repo:  # the rule at the top of models.toml
        needed = spec.size + MEMORY_WINDOW * spec.kv_bytes_per_token + 200 * 10**6
        assert spec.memory == math.ceil(needed / 10**7) * 10**7
    assert spec.memory_with(8192) - spec.memory_with(4096) == 4096 * spec.kv_bytes_per_token > 0
    assert spec.memory_with(MEMORY_WINDOW) == spec.memory
    assert 1024 <= spec.context_length <= 2**20


def test_words_are_known_ones(spec: ModelSpec) -> None:
    assert spec.tasks
    assert set(spec.tasks) <= TASKS
    assert len(set(spec.tasks)) == len(spec.tasks)
    assert spec.languages
    assert all(LANGUAGE.fullmatch(tag) for tag in spec.languages)
    assert len(set(spec.languages)) == len(spec.languages)
    assert spec.license_url.startswith("https://")
    assert spec.license == spec.license.lower()
    assert spec.accept_license or spec.package or spec.license in OSI
    assert spec.source


def test_no_file_is_listed_twice() -> None:
    models = load_registry().models.values()
    assert sum(bool(spec.repo) for spec in models) >= 15
    listed = Counter((spec.repo, spec.package, file.path) for spec in models for file in spec.files)
    hashes = Counter(file.sha256 for spec in models for file in spec.files if file.sha256)
    assert {*listed.values(), *hashes.values()} == {1}


def test_hub_models_are_ordered_by_size() -> None:
    sizes = [spec.size for spec in load_registry().models.values() if spec.repo and spec.size]
    assert all(one <= other for one, other in pairwise(sizes))


def test_defaults_name_models_made_for_the_task() -> None:
    registry = load_registry()
    assert registry.defaults.keys() == TASKS - {"embed"}
    for task, alias in registry.defaults.items():
        assert task in registry.find(alias).tasks, (task, alias)


def test_user_adds_a_model_and_makes_it_a_default(home: Path) -> None:
    own(home, f'[defaults]\nchat = "mine"\n{MINE}')
    registry = load_registry()
    mine = registry.find("mine")

    assert mine.files == (ModelFile(path="mine-q8_0.gguf", size=1_000, sha256="0" * 64),)
    assert mine.is_confirmed
    assert mine.memory_with(2048) == 300_000_000 - 2048 * 1024
    assert registry.defaults == SHIPPED["defaults"] | {"chat": "mine"}
    assert list(registry.models) == [*MODELS, "mine"]


def test_user_overrides_single_keys(home: Path) -> None:
    before = load_registry()
    own(home, '[models."qwen3.5-2b"]\nname = "Ours"\ncontext_length = 4_096')
    after = load_registry()

    changed, was = after.find("qwen3.5-2b"), before.find("qwen3.5-2b")
    assert (changed.name, changed.context_length) == ("Ours", 4096)
    assert (changed.repo, changed.files, changed.memory) == (was.repo, was.files, was.memory)
    assert after.find("starter") == before.find("starter")
    assert after.defaults == before.defaults


def over(key: str) -> str:
    return f"[models.qwen3-4b]\n{key}"


def path(text: str) -> str:
    return over(f"files = [{{ path = {text} }}]")


@pytest.mark.parametrize(
    ("text", "where"),
    [
        (over("context = 1"), "models.qwen3-4b.context is"),
        (over('context_length = "long"'), "models.qwen3-4b.context_length"),
        (over("parameters = true"), "models.qwen3-4b.parameters"),
        (over("memory = -1"), "models.qwen3-4b.memory"),
        (over('tasks = "chat"'), "models.qwen3-4b.tasks"),
        (over("files = []"), "models.qwen3-4b.files"),
        (over('files = [{ path = "a.gguf", bytes = 1 }]'), "models.qwen3-4b.files"),
        (over('files = [{ path = "a.gguf", size = "1" }]'), "models.qwen3-4b.files.size"),
        (over('files = [{ path = "a.gguf", sha256 = "abc" }]'), "models.qwen3-4b.files.sha256"),
        (MINE.replace("0" * 64, "A" * 64), "models.mine.files.sha256"),
        (over('revision = "main"'), "models.qwen3-4b.revision"),
        (over('repo = "no-user"'), "models.qwen3-4b.repo"),
        (over('package = "also-a-package"'), "models.qwen3-4b needs one of repo and package"),
        (over('checked = "yesterday"'), "models.qwen3-4b.checked"),
        (path("'../a.gguf'"), "models.qwen3-4b.files"),
        (path("'/tmp/a.gguf'"), "models.qwen3-4b.files"),
        (path(r"'dir\a.gguf'"), "models.qwen3-4b.files"),
        (path("'C:a.gguf'"), "models.qwen3-4b.files"),
        (path(r'"a\u001b[2J.gguf"'), "models.qwen3-4b.files"),
        (path("'model.safetensors'"), "models.qwen3-4b.files"),
        (MINE.replace('architecture = "llama"', ""), "models.mine has no architecture"),
        ('[models.Mine]\nname = "x"', "models.Mine"),
        ("models.mine = 3", "models.mine must be a table"),
        ("[model.mine]", "model is neither"),
        ('[defaults]\nchat = "qwen4"', "defaults.chat"),
        ('[defaults]\nchat = ["qwen3-4b"]', "defaults.chat"),
        ("[models.mine", "cannot read"),
    ],
)
def test_mistake_is_told_with_file_and_key(home: Path, text: str, where: str) -> None:
    own(home, text)
    with pytest.raises(UsageError) as caught:
        load_registry()
    assert "models.toml" in caught.value.message
    assert where in caught.value.message
    assert caught.value.message.isprintable()
    assert caught.value.hint
