"""Write text: one prompt, one or several samples, within the context window."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

from gptcli.engine.api import (
    Engine,
    Event,
    Generate,
    ModelInfo,
    Prompt,
    Tokenize,
    Tokenized,
    stream,
    tokenize,
)
from gptcli.errors import ContextOverflowError, UsageError
from gptcli.prompts.compose import PromptParts, compose
from gptcli.sampling import MAX_SEED, OutputConstraint, SamplingParams

Overflow = Literal["error", "head", "tail", "middle"]

BASE_MAX_TOKENS = 256  # a base model does not end by itself
ANSWER_SHARE = 4  # a cut text leaves at least 1/4 of the window for the answer
ANSWER_TOKENS = 1024
CUT_MARGIN = 16  # tokens that a text may gain where its parts are joined again


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateTask:
    """What to write, and how. `raw`: without the chat template (None: as the model is made)."""

    parts: PromptParts
    raw: bool | None = None
    sampling: SamplingParams = field(default_factory=SamplingParams)
    constraint: OutputConstraint | None = None
    stop: tuple[str, ...] = ()
    samples: int = 1
    logprobs: int | None = None
    thinking: bool = True
    overflow: Overflow = "error"

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise UsageError(f"--num must be at least 1, not {self.samples}")
        if self.logprobs is not None and not 0 <= self.logprobs <= 1000:
            raise UsageError(f"--logprobs must be between 0 and 1000, not {self.logprobs}")
        if any(not stop for stop in self.stop):
            raise UsageError("--stop must not be empty")

    def is_chat(self, model: ModelInfo) -> bool:
        return model.is_chat if self.raw is None else not self.raw


@dataclass(frozen=True, slots=True)
class PreparedPrompt:
    """A prompt that fits, and what was dropped to make it fit (empty: nothing)."""

    prompt: Prompt
    dropped: str = ""


def prepare(engine: Engine, task: GenerateTask) -> PreparedPrompt:
    """Return the task's prompt, cut as `overflow` says if it does not fit.

    Raises ContextOverflowError when even the part that is never cut does not fit.
    """
    as_chat = task.is_chat(engine.model)
    prompt = compose(task.parts, as_chat=as_chat)
    if task.overflow == "error":
        return PreparedPrompt(prompt)
    window = engine.model.context_limit
    answer = task.sampling.max_tokens or min(ANSWER_TOKENS, window // ANSWER_SHARE)
    room = window - answer - CUT_MARGIN
    # The material is what may be cut; without any, the instruction is.
    cuts_material = bool(task.parts.documents)
    whole = task.parts.material if cuts_material else task.parts.instruction
    rest = task.parts.with_material("") if cuts_material else task.parts.with_instruction("")
    rest_prompt = compose(rest, as_chat=as_chat)
    rest_tokens = tokenize(engine, Tokenize(prompt=rest_prompt)).token_count if rest_prompt else 0
    limit = room - rest_tokens
    if limit <= 0:
        raise ContextOverflowError(
            f"the instruction alone has {rest_tokens:,} tokens, and the context window holds {window:,}",
            prompt_tokens=rest_tokens,
            context_size=window,
        )
    cut = tokenize(engine, Tokenize(prompt=whole, limit=limit, keep=task.overflow))
    if cut.kept_tokens == cut.token_count:
        return PreparedPrompt(prompt)
    kept = rest.with_material(cut.text) if cuts_material else rest.with_instruction(cut.text)
    what = {"head": "kept the head", "tail": "kept the tail", "middle": "left out the middle"}
    dropped = (
        f"{what[task.overflow]}: {cut.kept_tokens:,} of {cut.token_count:,} tokens, "
        f"{max(0, len(whole) - len(cut.text)):,} characters dropped"
    )
    return PreparedPrompt(compose(kept, as_chat=as_chat), dropped)


def show_prompt(engine: Engine, task: GenerateTask, prompt: Prompt) -> Tokenized:
    """Return the exact text that the model would see, and its token count."""
    return tokenize(engine, Tokenize(prompt=prompt, thinking=task.thinking))


def generate(engine: Engine, task: GenerateTask, prompt: Prompt) -> Iterator[Event]:
    """Yield the events of all samples, one sample after another; ids count from 0.

    Raises the error of a request that fails.
    """
    sampling = with_limit(task.sampling, task.constraint, is_chat=task.is_chat(engine.model))
    for number in range(task.samples):
        request = Generate(
            prompt=prompt,
            sampling=sampling_of_sample(sampling, number),
            constraint=task.constraint,
            stop=task.stop,
            logprobs=task.logprobs,
            thinking=task.thinking,
            id=number,
        )
        yield from stream(engine, request)


def sampling_of_sample(sampling: SamplingParams, number: int) -> SamplingParams:
    """Return the sampling of one of several samples: the seeds count up, so that they differ."""
    seed = sampling.seed
    return replace(sampling, seed=None if seed is None else (seed + number) % MAX_SEED)


def with_limit(
    sampling: SamplingParams, constraint: OutputConstraint | None, *, is_chat: bool
) -> SamplingParams:
    """Return sampling with a limit of tokens where nothing else would end the text."""
    if sampling.max_tokens is None and not is_chat and constraint is None:
        return replace(sampling, max_tokens=BASE_MAX_TOKENS)
    return sampling


def repeats_itself(text: str, *, times: int = 4, longest: int = 200) -> bool:
    """Tell whether a text ends in one passage repeated at least `times` times in a row.

    Small models fall into such loops; the user should hear of it.
    """
    end = " " + " ".join(text.split())
    lengths = range(3, min(longest, len(end) // times) + 1)
    return any(end.endswith(end[-length:] * times) for length in lengths)
