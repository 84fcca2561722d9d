"""A scripted engine whose scores follow a rule."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping

from gptcli.engine.api import Event, ModelInfo, Request, Score, Scored
from gptcli.engine.scripted import Reply, ScriptedEngine, prompt_text

Rule = Callable[[str, str], float]  # prefix, continuation: log-probability


class RuleEngine(ScriptedEngine):
    """Scores continuations by a rule; writes what the replies say."""

    def __init__(
        self, rule: Rule, replies: Iterable[Reply] = (), *, model: ModelInfo | None = None
    ) -> None:
        super().__init__(replies, model=model)
        self._rule = rule

    def _answer(self, request: Request) -> Generator[Event, None, None]:
        if not isinstance(request, Score):
            yield from super()._answer(request)
            return
        prefix = prompt_text(request.prefix)
        scores = tuple(self._rule(prefix, each) for each in request.continuations)
        counts = tuple(max(1, len(each.split())) for each in request.continuations)
        yield Scored(id=request.id, logprobs=scores, token_counts=counts)


def favouring(*answers: str) -> Rule:
    """Return the rule by which these answers are likely, the first one most; all others are not."""

    def rule(_prefix: str, continuation: str) -> float:
        said = continuation.strip().split("\n")[0]
        return -1.0 - answers.index(said) if said in answers else -20.0 - len(said) / 100

    return rule


def by_words(labels: Mapping[str, str]) -> Rule:
    """Return the rule by which each of these words makes its label likelier; all others are alike.

    The text is the last line but one of the prompt, and continuations are labels in any case.
    """

    def rule(prefix: str, continuation: str) -> float:
        text, said = prefix.split("\n")[-2], continuation.strip().lower()
        return -4.0 + sum(2.0 * text.count(word) for word, label in labels.items() if label == said)

    return rule
