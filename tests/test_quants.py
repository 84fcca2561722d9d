"""Quantizations in file names, and which of a repository's files is taken."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptcli.errors import ModelNotFoundError
from gptcli.models.quants import (
    RepoFile,
    Variant,
    choose,
    is_model_path,
    matches,
    quantization_of,
    variants,
)

REPO = "org/m-GGUF"
TOKENS = ("Q2_K", "Q4_K_M", "Q4_K_S", "UD-Q4_K_M", "UD-Q4_K_XL", "IQ4_XS", "Q8_0", "MXFP4", "F16")


def offered(*paths: str) -> list[Variant]:
    """Return the variants of files with these paths, each larger than the one before."""
    return variants(RepoFile(path, 1000 + size) for size, path in enumerate(paths))


def chosen(*paths: str, wanted: str | None = None) -> list[str]:
    choice = choose(offered(*paths), wanted, REPO)
    return [file.path for file in choice.variant.files]


@pytest.mark.parametrize(
    ("path", "quantization"),
    [
        ("m-Q4_K_M.gguf", "Q4_K_M"),
        ("m.q4_k_m.gguf", "Q4_K_M"),
        ("m_Q8_0.gguf", "Q8_0"),
        ("Q8_0.gguf", "Q8_0"),
        ("m-UD-Q4_K_M.gguf", "UD-Q4_K_M"),
        ("m-IQ2_XXS.gguf", "IQ2_XXS"),
        ("m-TQ1_0.gguf", "TQ1_0"),
        ("gpt-oss-20b-mxfp4.gguf", "MXFP4"),
        ("m-fp16.gguf", "F16"),
        ("m-bf16.gguf", "BF16"),
        ("gemma-qat-Q4_0.gguf", "Q4_0"),
        ("m-Q4_K_M-00001-of-00002.gguf", "Q4_K_M"),
        ("Q5_K_M/m.gguf", "Q5_K_M"),
        ("Q5_K_M/m-Q4_0.gguf", "Q4_0"),
        ("mQ4_K_M.gguf", ""),
        ("m-4bit.gguf", ""),
        ("m.gguf", ""),
    ],
)
def test_the_quantization_is_a_whole_token(path: str, quantization: str) -> None:
    assert quantization_of(path) == quantization


@pytest.mark.parametrize(
    ("path", "is_model"),
    [
        ("m-Q4_0.gguf", True),
        ("a/b/m.GGUF", True),
        ("mmproj-F16.gguf", False),
        ("m-Q4_0-mmproj.gguf", False),
        ("m.imatrix.gguf", False),
        ("imatrix_unsloth.gguf", False),
        ("mtp-m-Q4_0.gguf", False),
        ("m.safetensors", False),
        ("m.gguf.part", False),
        ("../m-Q4_0.gguf", False),
        ("/m-Q4_0.gguf", False),
        ("a\\m-Q4_0.gguf", False),
        ("C:m-Q4_0.gguf", False),
        ("a//m-Q4_0.gguf", False),
        ("m\x1b[2J-Q4_0.gguf", False),
        ("m\n-Q4_0.gguf", False),
    ],
)
def test_only_models_with_a_safe_name_are_offered(path: str, is_model: bool) -> None:
    assert is_model_path(path) is is_model


@pytest.mark.parametrize(
    ("wanted", "path"),
    [
        ("q4_k_m", "m-Q4_K_M.gguf"),
        ("Q4_K_M", "m-Q4_K_M.gguf"),
        ("ud-q4_k_m", "m-UD-Q4_K_M.gguf"),
        ("M-q8_0", "sub/m-Q8_0.gguf"),
        ("m-Q8_0.GGUF", "sub/m-Q8_0.gguf"),
        ("sub/m-q8_0.gguf", "sub/m-Q8_0.gguf"),
        ("FP16", "m-fp16.gguf"),
        ("f16", "m-fp16.gguf"),
    ],
)
def test_a_quantization_in_any_case_or_a_file_is_asked_for(wanted: str, path: str) -> None:
    paths = ("m-UD-Q4_K_M.gguf", "m-Q4_K_M.gguf", "sub/m-Q8_0.gguf", "m-fp16.gguf")

    assert chosen(*paths, wanted=wanted) == [path]


@pytest.mark.parametrize("wanted", ["Q4_K", "Q4", "K_M", "M", "m", "", "Q4_K_M", "Q8_0", ".", "gguf"])
def test_another_quantization_is_never_taken(wanted: str) -> None:
    with pytest.raises(ModelNotFoundError, match="UD-Q4_K_M, Q4_K_S"):
        chosen("m-UD-Q4_K_M.gguf", "m-Q4_K_S.gguf", wanted=wanted)


@pytest.mark.parametrize(
    ("paths", "taken"),
    [
        (("m-Q2_K.gguf", "m-Q4_K_M.gguf", "m-Q8_0.gguf"), "m-Q4_K_M.gguf"),
        (("m-UD-Q4_K_M.gguf", "m-Q4_K_S.gguf"), "m-Q4_K_S.gguf"),
        (("m-F16.gguf", "m-MXFP4.gguf"), "m-MXFP4.gguf"),
        (("m-Q3_K_L.gguf", "m-Q6_K_L.gguf"), "m-Q3_K_L.gguf"),
        (("mmproj-F16.gguf", "m.gguf"), "m.gguf"),
    ],
)
def test_without_a_quantization_the_usual_one_is_taken(paths: tuple[str, ...], taken: str) -> None:
    assert chosen(*paths) == [taken]


@pytest.mark.parametrize(
    ("largest", "taken", "why"),
    [
        (1003, "Q8_0", "the usual choice"),
        (1001, "Q2_K_L", "the largest that fits"),
        (1000, "Q2_K", "the largest that fits"),
        (999, "Q8_0", "the usual choice; none fits in memory"),
    ],
)
def test_what_fits_goes_before_what_is_usual(largest: int, taken: str, why: str) -> None:
    files = offered("m-Q2_K.gguf", "m-Q2_K_L.gguf", "m-Q8_0.gguf", "m-F16.gguf")

    choice = choose(files, None, REPO, lambda variant: variant.size <= largest)

    assert (choice.variant.quantization, choice.reason) == (taken, why)


@pytest.mark.parametrize("wanted", [None, "Q4_K_M"])
def test_two_models_of_one_quantization_are_told_apart_by_name(wanted: str | None) -> None:
    with pytest.raises(ModelNotFoundError) as caught:
        chosen("coder-Q4_K_M.gguf", "chat-Q4_K_M.gguf", wanted=wanted)

    assert "coder-Q4_K_M.gguf, chat-Q4_K_M.gguf" in caught.value.message
    assert caught.value.hint == f"name the file: {REPO}:coder-Q4_K_M.gguf"
    assert chosen("coder-Q4_K_M.gguf", "chat-Q4_K_M.gguf", wanted="chat-q4_k_m.gguf") == [
        "chat-Q4_K_M.gguf"
    ]


def test_files_without_a_quantization_are_not_chosen_among() -> None:
    with pytest.raises(ModelNotFoundError, match=r"coder\.gguf, chat\.gguf"):
        chosen("coder.gguf", "chat.gguf")


PARTS = [f"Q8_0/m-Q8_0-0000{number}-of-00003.gguf" for number in (1, 2, 3)]


@pytest.mark.parametrize("wanted", [None, "q8_0", PARTS[0], PARTS[2]])
def test_all_parts_of_a_split_model_are_taken_in_order(wanted: str | None) -> None:
    assert chosen(*reversed(PARTS), wanted=wanted) == PARTS


@pytest.mark.parametrize("wanted", [None, "q8_0"])
@pytest.mark.parametrize(
    "paths",
    [
        PARTS[:2],
        PARTS[1:],
        [*PARTS[:2], "Q8_0/m-Q8_0-00004-of-00003.gguf"],
        ["Q8_0/m-Q8_0-00000-of-00003.gguf", *PARTS[:2]],
    ],
)
def test_a_split_model_is_not_taken_in_part(paths: list[str], wanted: str | None) -> None:
    with pytest.raises(ModelNotFoundError, match="1 of the parts of Q8_0"):
        chosen(*paths, wanted=wanted)


def test_a_whole_model_goes_before_parts() -> None:
    assert chosen(*PARTS[:2], "m-Q2_K.gguf") == ["m-Q2_K.gguf"]


names = st.builds(
    "{}{}{}{}.gguf".format,
    st.sampled_from(["", "dir/", "Q8_0/", "Q4_K_M/"]),
    st.sampled_from(["m-", "m.", "", "q4_k_m_", "F16-"]),
    st.sampled_from(TOKENS),
    st.sampled_from(["", "-00001-of-00002", "-00002-of-00002", "-x"]),
)


@given(st.lists(names, unique=True, max_size=8), st.sampled_from(TOKENS), st.booleans())
def test_the_choice_has_the_quantization_that_was_asked_for(
    paths: list[str], wanted: str, lower: bool
) -> None:
    try:
        variant = choose(offered(*paths), wanted.lower() if lower else wanted, REPO).variant
    except ModelNotFoundError:
        return

    assert variant.quantization == wanted
    assert {quantization_of(file.path) for file in variant.files} == {wanted}
    assert len(variant.files) in (1, 2)
    assert not variant.missing
    assert matches(variant, wanted)
