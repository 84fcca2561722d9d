"""Answers from passages: spans of a text, found by scoring, with the place each is quoted from.

Nothing is generated. The spans that could be an answer are scored behind passage and question, and the
likeliest are scored once more the other way round: how likely the question is behind the span's own
sentence and the span (a noisy channel, as in statistical translation).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from gptcli.documents.passages import Passage, Source, line_of
from gptcli.engine.api import Engine, Score, Scored
from gptcli.errors import GptcliError
from gptcli.prompts.ask import form_for
from gptcli.tasks.ordered import run_ordered
from gptcli.tasks.spans import Candidate, Nearness, candidates, sentences_of

READING_BYTES = 7000  # of passages that are read in one prompt: some 1,700 tokens of English
MOST_STARTS = 160  # of spans in a reading: those nearest to the question's words
BEAM = 14  # first tokens of spans that are gone on with
RESCORED = 8  # spans that are scored the other way round
NEARNESS = 1.0  # nats for a unit of nearness
CHANNEL = 1.0  # weight of log P(question | sentence, span)
LEAST_SCORE = 0.5  # of an answer that is given
RIVAL_MARGIN = 2.0  # nats that another source's best span may be behind, to be cited too


@dataclass(frozen=True, slots=True)
class Citation:
    """A quote: `text` is `source.text[start:end]`, in characters; `line` is 1-based, of its start.

    `marks` are the places of the words that answer, in the source.
    """

    source: Source
    start: int
    end: int
    line: int
    text: str
    marks: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        if self.text != self.source.text[self.start : self.end]:
            raise GptcliError(f"a quote is not what {self.source.name} has at {self.start}: a bug")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a question's answer is, how probable it is that it has support, and where that is.

    `verified`: it is made of quotes. `log_odds`, in nats, is what `score` comes from.
    """

    question: str
    text: str
    found: bool
    score: float
    citations: tuple[Citation, ...] = ()
    verified: bool = True
    features: tuple[float, ...] = ()


@dataclass(slots=True)
class Hit:
    """A span of a source, with what speaks for it: nats, but for `nearness`."""

    passage: Passage
    start: int  # in the source
    end: int
    sentence: tuple[int, int]
    logprob: float  # of the span behind passage and question
    nearness: float
    unknown: float  # the log-probability of the answer that there is none, in the same place
    channel: float = -math.inf  # log P(question | sentence, span)
    question_tokens: int = 1

    @property
    def text(self) -> str:
        return self.passage.source.text[self.start : self.end]

    @property
    def quote(self) -> str:
        return self.passage.source.text[slice(*self.sentence)]

    @property
    def first_score(self) -> float:
        return self.logprob + NEARNESS * self.nearness

    @property
    def score(self) -> float:
        return self.first_score + CHANNEL * self.channel


def ask(
    engine: Engine, question: str, passages: Sequence[Passage], *, least: float | None = None
) -> Answer:
    """Return the span that answers a question best, and how probable it is that it does.

    It is not found where that is less than `least`; None: than LEAST_SCORE. Raises the error of a
    request that fails.
    """
    hits = find_spans(engine, question, passages)
    if not hits:
        return Answer(question=question, text="", found=False, score=0.0)
    return _answer(question, hits, LEAST_SCORE if least is None else least)


def find_spans(engine: Engine, question: str, passages: Sequence[Passage]) -> list[Hit]:
    """Return the likeliest spans, the best first."""
    readings = list(_readings(passages))
    hits: list[Hit] = []
    for reading, result in run_ordered(engine, readings, lambda each: each.request(question)):
        if isinstance(result, GptcliError):
            raise result
        if isinstance(result, Scored):
            hits += reading.hits(result)
    hits.sort(key=lambda hit: -hit.first_score)
    _rescore(engine, question, hits[:RESCORED])
    return sorted(hits[:RESCORED], key=lambda hit: -hit.score)


@dataclass(slots=True)
class _Reading:
    """Passages that are read in one prompt, and the spans that are scored there."""

    number: int
    passages: list[Passage]
    spans: list[Hit] = field(default_factory=list)

    def request(self, question: str) -> Score | Scored:
        form = form_for("".join(passage.text for passage in self.passages))
        self.spans = list(self._spans(question))
        if not self.spans:
            return Scored(id=self.number, logprobs=(), token_counts=())
        return Score(
            prefix=form.prompt("\n".join(passage.text for passage in self.passages), question),
            continuations=(
                form.continuation(form.unknown),
                *(form.continuation(span.text) for span in self.spans),
            ),
            priors=(math.inf, *(NEARNESS * span.nearness for span in self.spans)),
            beam=BEAM,
            id=self.number,
        )

    def hits(self, result: Scored) -> Iterator[Hit]:
        if not result.logprobs:
            return
        unknown, *logprobs = result.logprobs
        for span, logprob in zip(self.spans, logprobs, strict=True):
            if logprob > -math.inf:
                span.logprob, span.unknown = logprob, unknown
                yield span

    def _spans(self, question: str) -> Iterator[Hit]:
        found = [hit for passage in self.passages for hit in _candidate_hits(passage, question)]
        starts: dict[tuple[int, int], float] = {}
        for hit in found:
            key = (id(hit.passage), hit.start)
            starts[key] = max(starts.get(key, 0.0), hit.nearness)
        kept = set(sorted(starts, key=lambda key: -starts[key])[:MOST_STARTS])
        return (hit for hit in found if (id(hit.passage), hit.start) in kept)


def _candidate_hits(passage: Passage, question: str) -> Iterator[Hit]:
    sentences = sentences_of(passage.text)
    nearness = Nearness(question, sentences)
    for span in candidates(sentences):
        yield _hit(
            passage,
            span,
            nearness.of(span),
            (sentences[span.sentence].start, sentences[span.sentence].end),
        )


def _hit(passage: Passage, span: Candidate, nearness: float, sentence: tuple[int, int]) -> Hit:
    return Hit(
        passage=passage,
        start=passage.start + span.start,
        end=passage.start + span.end,
        sentence=(passage.start + sentence[0], passage.start + sentence[1]),
        logprob=-math.inf,
        nearness=nearness,
        unknown=-math.inf,
    )


def _readings(passages: Sequence[Passage]) -> Iterator[_Reading]:
    taken: list[Passage] = []
    size = number = 0
    for passage in passages:
        length = len(passage.text.encode("utf-8", "replace"))
        if taken and size + length > READING_BYTES:
            yield _Reading(number, taken)
            taken, size, number = [], 0, number + 1
        taken.append(passage)
        size += length
    if taken:
        yield _Reading(number, taken)


def _rescore(engine: Engine, question: str, hits: Sequence[Hit]) -> None:
    """Score the question behind each hit's sentence and span."""
    by_sentence: dict[tuple[int, tuple[int, int]], list[Hit]] = {}
    for hit in hits:
        by_sentence.setdefault((id(hit.passage.source), hit.sentence), []).append(hit)
    groups = list(enumerate(by_sentence.values()))
    for (_, group), result in run_ordered(engine, groups, lambda item: _channel(question, *item)):
        if isinstance(result, GptcliError):
            raise result
        if isinstance(result, Scored):
            for n, hit in enumerate(group):
                lead, whole = result.logprobs[2 * n : 2 * n + 2]
                hit.channel = whole - lead
                hit.question_tokens = result.token_counts[2 * n + 1] - result.token_counts[2 * n]


def _channel(question: str, number: int, hits: Sequence[Hit]) -> Score:
    form = form_for(hits[0].quote)
    return Score(
        prefix=form.prompt_for_question(hits[0].quote),
        continuations=tuple(
            text for hit in hits for text in form.question_continuations(hit.text, question)
        ),
        id=number,
    )


def _answer(question: str, hits: Sequence[Hit], least: float) -> Answer:
    best = hits[0]
    score = 1.0
    cited = {id(best.passage.source): best}
    for hit in hits[1:]:
        if hit.score > best.score - RIVAL_MARGIN:
            cited.setdefault(id(hit.passage.source), hit)
    return Answer(
        question=question,
        text=best.text,
        found=score >= least,
        score=score,
        citations=tuple(_citation(hit) for hit in cited.values()),
    )


def _citation(hit: Hit) -> Citation:
    source, (start, end) = hit.passage.source, hit.sentence
    return Citation(
        source, start, end, line_of(source.text, start), source.text[start:end], ((hit.start, hit.end),)
    )
