"""The spans of passages that answer a question best, found by scoring: nothing is generated.

Spans are scored behind passages and question, and the likeliest once more the other way round: how
likely the question is behind the span's own sentence and the span. That is the noisy channel of
statistical translation, and of Lewis and Fan 2018, "Generative Question Answering". Not so of Chinese,
where a question is likeliest behind its own words: without, F1 was 44 instead of 33 (Gemma 3 270M, 53
questions of CMRC 2018 and XQuAD), and 41 instead of 37 (Qwen2.5-Coder 0.5B, 26 questions).
"""

from __future__ import annotations

import bisect
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from gptcli.documents.passages import Passage
from gptcli.engine.api import Engine, Score, Scored
from gptcli.errors import GptcliError
from gptcli.languages import is_unspaced
from gptcli.prompts.ask import form_for
from gptcli.tasks.ordered import run_ordered
from gptcli.tasks.passages import flowing_sentences
from gptcli.tasks.spans import Candidate, Nearness, candidates

LEAST_BYTES = 600
READING_BYTES = 7000  # of passages that are read in one prompt: some 1,700 tokens of English
ROOM_TOKENS = 800  # of the window, for the worked examples, the question and the spans
BYTES_A_TOKEN = 3  # at least, of most texts
MOST_STARTS = 500  # of spans in a reading: those nearest to the question's words
BEAM = 14  # branches of spans that are gone on with
RESCORED = 5  # spans that are scored the other way round: eight choose no better, and cost more
RIVALS = 2  # sources that have none of these, and whose best span is scored so too
SAME_TEXT = 2  # spans with the same words that are scored so
# Weights, beside log P(span): of its nearness to the question's words, of the share of its words that
# the question has, of log P(question | sentence, span). Chosen on samples of XQuAD and SQuAD 2.0.
NEARNESS, ECHO, CHANNEL = 1.0, -2.0, 0.7
ECHO_UNSPACED = -5.0  # where pairs of characters are words: on 113 questions better than -2.0


@dataclass(slots=True)
class Hit:
    """A span of a passage's source, with what speaks for it, in nats.

    `prior`: what does before a model is asked, by the words of the question.
    """

    passage: Passage
    start: int  # in the source
    end: int
    sentence: tuple[int, int]  # the span's, in the source
    prior: float
    logprob: float = -math.inf  # of the span behind passages and question
    unknown: float = -math.inf  # of the answer that there is none, in the same place
    channel: float = 0.0  # log P(question | sentence, span), if that counts

    @property
    def text(self) -> str:
        return self.passage.source.text[self.start : self.end]

    @property
    def quote(self) -> str:
        return self.passage.source.text[slice(*self.sentence)]

    @property
    def first_score(self) -> float:
        return self.logprob + self.prior

    @property
    def score(self) -> float:
        return self.first_score + CHANNEL * self.channel


def find_spans(engine: Engine, question: str, passages: Sequence[Passage]) -> list[Hit]:
    """Return the likeliest answers, the best first. Raises the error of a request that fails."""
    hits: list[Hit] = []
    room = BYTES_A_TOKEN * (engine.model.context_limit - ROOM_TOKENS)
    readings = list(_readings(passages, question, max(LEAST_BYTES, min(READING_BYTES, room))))
    for reading, result in run_ordered(engine, readings, _Reading.request):
        if isinstance(result, GptcliError):
            raise result
        if isinstance(result, Scored):
            hits += reading.scored(result)
    hits.sort(key=lambda hit: -hit.first_score)
    likeliest = _likeliest(_of_distinct_texts(hits))
    if not is_unspaced(question):
        _score_question(engine, question, likeliest)
    return sorted(likeliest, key=lambda hit: -hit.score)


def _likeliest(hits: Sequence[Hit]) -> list[Hit]:
    """Return the first hits, and the first of other sources: overlapping spans may be most of them."""
    found = list(hits[:RESCORED])
    others: dict[str, Hit] = {}
    for hit in hits[RESCORED:]:
        if all(hit.passage.source.name != each.passage.source.name for each in found):
            others.setdefault(hit.passage.source.name, hit)
    return found + list(others.values())[:RIVALS]


def _of_distinct_texts(hits: Sequence[Hit]) -> list[Hit]:
    """Return the hits without further ones of the same words."""
    seen: Counter[str] = Counter()
    found = []
    for hit in hits:
        seen[hit.text] += 1
        if seen[hit.text] <= SAME_TEXT:
            found.append(hit)
    return found


@dataclass(slots=True)
class _Reading:
    """Passages that are read in one prompt, and the spans that are scored there."""

    number: int
    question: str
    text: str
    spans: list[Hit] = field(default_factory=list)

    def request(self) -> Score:
        form = form_for(self.text)
        spans = [form.continuation(span.text) for span in self.spans]
        return Score(
            prefix=form.prompt(self.text, self.question),
            continuations=(form.continuation(form.unknown), *spans),
            beam=BEAM,
            priors=(math.inf, *(span.prior for span in self.spans)),
            id=self.number,
        )

    def scored(self, result: Scored) -> Iterator[Hit]:
        """Yield the spans that were gone on with."""
        unknown, *logprobs = result.logprobs
        for span, logprob in zip(self.spans, logprobs, strict=True):
            if logprob > -math.inf:
                span.logprob, span.unknown = logprob, unknown
                yield span


def _readings(passages: Sequence[Passage], question: str, most_bytes: int) -> Iterator[_Reading]:
    """Yield what is read at once, of what has spans that could answer."""
    taken: list[Passage] = []
    size = number = 0
    for passage in (*passages, None):
        length = len(passage.text.encode("utf-8", "replace")) if passage else most_bytes
        if taken and size + length > most_bytes:
            reading = _reading(number, question, taken)
            if reading.spans:
                yield reading
            taken, size, number = [], 0, number + 1
        if passage:
            taken.append(passage)
            size += length


def _reading(number: int, question: str, passages: Sequence[Passage]) -> _Reading:
    """Return a reading with the spans that may answer: those that begin near the question's words."""
    gap = "\n\n"
    text = gap.join(passage.text for passage in passages)
    offsets, at = [], 0
    for passage in passages:
        offsets.append(at)
        at += len(passage.text) + len(gap)
    sentences = flowing_sentences(text)
    nearness = Nearness(question, sentences)
    echo = ECHO_UNSPACED if is_unspaced(question) else ECHO
    found = [
        (span, NEARNESS * nearness.of(span) + echo * nearness.echo(span))
        for span in candidates(sentences)
    ]
    starts: dict[int, float] = {}
    for span, prior in found:
        starts[span.start] = max(starts.get(span.start, -math.inf), prior)
    kept = set(sorted(starts, key=lambda start: -starts[start])[:MOST_STARTS])

    def hit(span: Candidate, prior: float) -> Hit:
        n = bisect.bisect_right(offsets, span.start) - 1
        shift = passages[n].start - offsets[n]
        own = sentences[span.sentence]
        sentence = (own.start + shift, own.end + shift)
        return Hit(passages[n], span.start + shift, span.end + shift, sentence, prior)

    return _Reading(number, question, text, [hit(*each) for each in found if each[0].start in kept])


def _score_question(engine: Engine, question: str, hits: Sequence[Hit]) -> None:
    """Fill in log P(question | sentence, span)."""
    numbered = list(enumerate(hits))
    for (_, hit), result in run_ordered(engine, numbered, lambda item: _channel(question, *item)):
        if isinstance(result, GptcliError):
            raise result
        if isinstance(result, Scored):
            (hit.channel,) = result.logprobs


def _channel(question: str, number: int, hit: Hit) -> Score:
    """Ask for the question alone: the logits of what comes before it would cost much."""
    form = form_for(hit.quote)
    return Score(
        prefix=form.prompt_for_question(hit.quote, hit.text),
        continuations=(form.continuation(question),),
        id=number,
    )
