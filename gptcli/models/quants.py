"""The quantizations that a repository offers, and which one to take."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from gptcli.errors import ModelNotFoundError
from gptcli.models.faults import quoted
from gptcli.models.registry import is_safe_path

# Tried in this order when none is asked for: the usual compromise first, then what is near it.
PREFERRED = (
    "Q4_K_M", "Q4_K_S", "IQ4_XS", "Q5_K_M", "Q8_0", "MXFP4", "Q4_0", "F16", "UD-Q4_K_XL", "Q6_K",
)  # fmt: skip

_TOKEN = re.compile(
    r"(?:^|[-._/])((?:UD-)?(?:I?Q\d\w*|TQ\d\w*|MXFP4\w*|NVFP4\w*|BF16|F16|F32|FP16|FP32))(?=[.-]|/|$)",
    re.I,
)
_SHARD = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf", re.I)
_OTHER_NAMES = {"FP16": "F16", "FP32": "F32"}
# Files beside a model that are none: projectors, importance matrices, draft heads.
_NOT_MODELS = ("mmproj", "imatrix", "mtp-", "eagle3-", "dflash-", "dspark-")


@dataclass(frozen=True, slots=True)
class RepoFile:
    """A file of a repository: its size in bytes; its SHA-256 where the server says it."""

    path: str
    size: int
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Variant:
    """A model of a repository in one quantization: one file, or all the parts of a split one.

    `quantization` is "" where no file name says it. `missing` counts parts that are not there.
    """

    quantization: str
    files: tuple[RepoFile, ...]
    missing: int = 0

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def name(self) -> str:
        """What to ask for: the quantization, or the file's name where it has none."""
        return self.quantization or PurePosixPath(self.files[0].path).name


@dataclass(frozen=True, slots=True)
class Choice:
    """A variant, and why it was taken."""

    variant: Variant
    reason: str


def quantization_of(path: str) -> str:
    """Return the quantization that a file's name says, else its directory's, in capitals; "" if none.

    Only whole tokens count: "UD-Q4_K_M" is not "Q4_K_M".
    """
    for part in reversed(PurePosixPath(path).parts):
        found = _TOKEN.findall(part)
        if found:
            return _canonical(found[-1])
    return ""


def variants(files: Iterable[RepoFile]) -> list[Variant]:
    """Return the models among a repository's files, smallest first; parts of a split one together."""
    shards: dict[tuple[str, int], list[RepoFile]] = defaultdict(list)
    found = []
    for file in files:
        if not is_model_path(file.path):
            continue
        split = _SHARD.fullmatch(file.path)
        if split:
            shards[split[1], int(split[3])].append(file)
        else:
            found.append(Variant(quantization_of(file.path), (file,)))
    for (prefix, count), parts in shards.items():
        parts = [part for part in parts if 1 <= _shard_number(part) <= count]
        if parts:
            parts.sort(key=_shard_number)
            missing = count - len({_shard_number(part) for part in parts})
            found.append(Variant(quantization_of(f"{prefix}.gguf"), tuple(parts), missing))
    return sorted(found, key=lambda each: (each.size, each.name))


def is_model_path(path: str) -> bool:
    """Tell whether a repository's file may be a model, by its name alone."""
    name = PurePosixPath(path).name.lower()
    is_gguf = name.endswith(".gguf") and is_safe_path(path)
    return is_gguf and not any(each in name for each in _NOT_MODELS)


def choose(
    offered: Sequence[Variant],
    wanted: str | None,
    repo: str,
    fits: Callable[[Variant], bool] | None = None,
) -> Choice:
    """Return the variant that is asked for, never another one; or the best one that fits in memory.

    `wanted` is a quantization in any case, or a file's name. Raises ModelNotFoundError with what there
    is.
    """
    if not offered:
        raise ModelNotFoundError(
            f"{repo} holds no GGUF model",
            hint=f"gptcli models search {repo.rpartition('/')[2]}",
            model=repo,
        )
    if wanted is not None:
        return _asked_for(offered, wanted, repo)
    complete = [each for each in offered if not each.missing]
    if not complete:
        raise _parts_missing(offered[0], repo)
    if len(complete) == 1:
        return Choice(complete[0], "the only one there is")
    order = {name: place for place, name in enumerate(PREFERRED)}
    usual = sorted((v for v in complete if v.quantization in order), key=lambda v: order[v.quantization])
    for variant in usual:
        if fits is None or fits(variant):
            why = "the usual choice" if variant is usual[0] else "the first of the usual ones that fits"
            return Choice(_alone(usual, variant, repo), why)
    for variant in reversed(complete):
        if variant.quantization and fits is not None and fits(variant):
            return Choice(variant, "the largest that fits")
    if usual:
        return Choice(_alone(usual, usual[0], repo), "the usual choice; none fits in memory")
    if not any(variant.quantization for variant in complete):
        raise _ambiguous(complete, "models, and none says its quantization", repo)
    return Choice(complete[0], "the smallest")


def matches(variant: Variant, wanted: str) -> bool:
    """Tell whether `wanted`, in any case, is the variant's quantization or the name of a file."""
    named = any(wanted.lower() in _names(file.path) for file in variant.files)
    return named or (bool(wanted) and _canonical(wanted) == variant.quantization)


def _asked_for(offered: Sequence[Variant], wanted: str, repo: str) -> Choice:
    same = [variant for variant in offered if matches(variant, wanted)]
    if len(same) > 1:
        raise _ambiguous(same, f"files for {wanted}", repo)
    if not same:
        names = ", ".join(dict.fromkeys(v.name for v in offered))
        raise ModelNotFoundError(
            f"{repo} has no {quoted(wanted)}: it has {names}",
            hint=f"gptcli models fit {repo}",
            model=repo,
        )
    if same[0].missing:
        raise _parts_missing(same[0], repo)
    return Choice(same[0], "as asked")


def _parts_missing(variant: Variant, repo: str) -> ModelNotFoundError:
    return ModelNotFoundError(
        f"{repo}: {variant.missing} of the parts of {variant.name} are missing",
        hint=f"gptcli models fit {repo}",
        model=repo,
    )


def _alone(usual: Sequence[Variant], chosen: Variant, repo: str) -> Variant:
    """Return the chosen one, if its quantization does not leave open which model is meant."""
    same = [v for v in usual if v.quantization == chosen.quantization]
    if len(same) > 1:
        raise _ambiguous(same, f"files for {chosen.quantization}", repo)
    return chosen


def _ambiguous(same: Sequence[Variant], what: str, repo: str) -> ModelNotFoundError:
    names = [PurePosixPath(variant.files[0].path).name for variant in same]
    if len(set(names)) < len(names):
        names = [variant.files[0].path for variant in same]
    return ModelNotFoundError(
        f"{repo} has {len(same)} {what}: {', '.join(names)}",
        hint=f"name the file: {repo}:{names[0]}",
        model=repo,
    )


def _canonical(quantization: str) -> str:
    name = quantization.upper()
    return _OTHER_NAMES.get(name, name)


def _shard_number(file: RepoFile) -> int:
    split = _SHARD.fullmatch(file.path)
    return int(split[2]) if split else 1


def _names(path: str) -> set[str]:
    """Return what a file may be called: its path, its name, and the name without the ending."""
    lower = path.lower()
    name = PurePosixPath(lower).name
    return {lower, name, name.removesuffix(".gguf")}
