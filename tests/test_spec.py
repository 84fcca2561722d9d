"""What -m and `models pull` take for a model, in all its forms; what is none is a usage error."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gptcli.errors import UsageError
from gptcli.models.registry import is_repo_id, is_safe_path
from gptcli.models.spec import AliasRef, FileRef, HubRef, ModelRef, parse_spec

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPO = "org/m-GGUF"


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ("qwen3-4b", AliasRef("qwen3-4b")),
        ("qwen3-4b:q8_0", AliasRef("qwen3-4b", "q8_0")),
        (REPO, HubRef(REPO)),
        (f"{REPO}:Q4_k_M", HubRef(REPO, "Q4_k_M")),
        (f"{REPO}:sub/m-Q8_0.gguf", HubRef(REPO, "sub/m-Q8_0.gguf")),
        (f"{REPO}@v2:q8_0", HubRef(REPO, "q8_0", "v2")),
        (f"{REPO}@{COMMIT}", HubRef(REPO, None, COMMIT)),
        (f"hf.co/{REPO}:Q8_0", HubRef(REPO, "Q8_0")),
        (f"HuggingFace.co/{REPO}", HubRef(REPO)),
        (f"https://huggingface.co/{REPO}", HubRef(REPO)),
        (f"https://huggingface.co/{REPO}/", HubRef(REPO)),
        (f"https://hf.co/{REPO}/tree/main", HubRef(REPO)),
        (f"https://huggingface.co/{REPO}/blob/main/m-Q4_0.gguf", HubRef(REPO, "m-Q4_0.gguf")),
        (
            f"https://huggingface.co/{REPO}/resolve/{COMMIT}/a/m%2B.gguf?download=true",
            HubRef(REPO, "a/m+.gguf", COMMIT),
        ),
        (f"hf://{REPO}@v2:Q8_0", HubRef(REPO, "Q8_0", "v2")),
        (f"hf://models/{REPO}", HubRef(REPO)),
        ("m.gguf", FileRef(Path("m.gguf"))),
        ("models/m.GGUF", FileRef(Path("models/m.GGUF"))),
        ("./m", FileRef(Path("m"))),
        ("/models/m", FileRef(Path("/models/m"))),
        ("~/m.gguf", FileRef(Path.home() / "m.gguf")),
    ],
)
def test_every_form_is_read(text: str, ref: ModelRef) -> None:
    assert parse_spec(text) == ref


def test_a_file_goes_before_a_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "org").mkdir()
    (tmp_path / "org" / "m").touch()
    monkeypatch.chdir(tmp_path)

    assert parse_spec("org/m") == FileRef(Path("org/m"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        ":Q4_0",
        "a:",
        "a\tb",
        "org/",
        "/".join("abcd"),
        "org/m..x",
        "org/m--x",
        "org/m:../../x.gguf",
        "org/m:/etc/passwd",
        "org/m:a\\b",
        "org/m:\x1b[2J",
        "org/m@../../x",
        "org/m@",
        "hf://",
        "hf.co/m",
        "https://huggingface.co",
        "https://huggingface.co/org/m/settings",
        "https://huggingface.co/org/m/blob/main/%2E%2E/x.gguf",
        "https://example.org/m.gguf",
        "ftp://huggingface.co/org/m",
        "http://[::1",
        "org/m\0x",
        "~nobody-of-that-name/m",
        "org/" + "m" * 5000,
    ],
)
def test_what_is_no_model_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_spec(text)

    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 200
    assert caught.value.hint


@given(
    st.text(max_size=60)
    | st.text("abQ4_.:/@~-\\\0[]%2E\x1b h", max_size=40)
    | st.builds(
        "{}{}".format, st.sampled_from(["hf://", "https://hf.co/", "org/m:"]), st.text(max_size=30)
    )
)
@example("https://[x/org/m")
@example("~\0/m")
def test_any_text_is_a_safe_reference_or_a_usage_error(text: str) -> None:
    try:
        ref = parse_spec(text)
    except UsageError:
        return

    if isinstance(ref, HubRef):
        assert is_repo_id(ref.repo)
        assert ref.quantization is None or is_safe_path(ref.quantization)
        assert ref.revision is None or (ref.revision.isprintable() and ".." not in ref.revision)
