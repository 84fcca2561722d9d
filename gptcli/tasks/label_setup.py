"""What a model is asked, and how its answers are to be read: measured once per model and labels."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from gptcli.engine.api import Engine, ModelInfo, Score, Scored
from gptcli.errors import ContextOverflowError
from gptcli.prompts.labels import Example, Label, LabelForm
from gptcli.prompts.sentiment import (
    BINARY,
    WITH_NEUTRAL,
    Language,
    sentiment_forms,
    sentiment_sample,
)
from gptcli.prompts.topics import SAMPLE, label_form
from gptcli.tasks.calibration import (
    Calibration,
    Scores,
    cross_validated_loss,
    fit,
    from_prior,
    uncalibrated,
)
from gptcli.tasks.labels import WINDOW_BYTES, LabelTask
from gptcli.tasks.ordered import run_ordered

# A few sentences, as long as the examples and the sample: the mean over such windows finds the sentiment
# of a film review of 3,000 characters in 0.93 of cases, one window of 2,400 bytes in 0.73 (270M base).
SENTIMENT_WINDOW_BYTES = 300

Report = Callable[[int, int], object]  # texts measured, of how many


@dataclass(frozen=True, slots=True)
class Choice:
    """The form that suits a model best, by its name, and the calibration that belongs to it.

    `left_out`: forms that were not compared, because the context window is too small for them.
    """

    form: str
    calibration: Calibration
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is to be known of texts, in every form that a model might be asked in.

    `sample` is what a model is measured on: texts with labels, or without if none are known. Long texts
    are read in windows of `window_bytes`. `chinese` is the question for Chinese texts, where it is
    another: the bias of a small model differs from script to script.
    """

    labels: tuple[str, ...]
    forms: tuple[LabelForm, ...]
    sample: tuple[Example, ...] = ()
    texts: tuple[str, ...] = ()
    is_multi: bool = False
    window_bytes: int = WINDOW_BYTES
    chinese: Question | None = None

    @property
    def digest(self) -> str:
        """Return what tells this question, with its forms and its sample, from any other."""
        parts = (self.labels, self.forms, self.sample, self.texts)
        return hashlib.sha256(repr(parts).encode("utf-8", "replace")).hexdigest()[:24]

    def only(self, form: str) -> Question:
        """Return the question in this form alone."""
        forms = tuple(each for each in self.forms if each.name == form)
        return replace(self, forms=forms, chinese=self.chinese and self.chinese.only(form))

    def task(self, choice: Choice | None, chinese: Choice | None = None) -> LabelTask:
        """Return the task for a model whose choices are known; None: the first form, not calibrated."""
        choice = choice or Choice(self.forms[0].name, uncalibrated(1, len(self.labels)))
        form = next(form for form in self.forms if form.name == choice.form)
        return LabelTask(
            labels=self.labels,
            forms=(form,),
            calibration=choice.calibration,
            is_multi=self.is_multi,
            window_bytes=self.window_bytes,
            chinese=self.chinese.task(chinese) if self.chinese else None,
        )


def sentiment_question(*, with_neutral: bool, is_chat: bool) -> Question:
    """Return the question whether a text is positive or negative."""
    labels = WITH_NEUTRAL if with_neutral else BINARY

    def question(language: Language, chinese: Question | None = None) -> Question:
        return Question(
            labels=labels,
            forms=sentiment_forms(labels, is_chat=is_chat, language=language),
            sample=tuple(sentiment_sample(labels, language)),
            window_bytes=SENTIMENT_WINDOW_BYTES,
            chinese=chinese,
        )

    return question("any", question("chinese"))


def label_question(labels: Sequence[Label], *, is_multi: bool = False) -> Question:
    """Return the question which of a user's labels fits a text."""
    return Question(
        labels=tuple(label.name for label in labels),
        forms=(label_form(labels, is_multi=is_multi),),
        texts=SAMPLE,
        is_multi=is_multi,
    )


def measure(engine: Engine, question: Question, on_progress: Report) -> Choice:
    """Measure the model on the sample; return what suits it best. Raises what a request raised.

    With labels in the sample, that is the form with the lowest cross-validated log loss, of those that
    fit in the context window; if none does, that is a ContextOverflowError.
    """
    texts = question.texts or tuple(example.text for example in question.sample)
    asked = [(form, text) for form in question.forms for text in texts]
    found: dict[str, list[Scores]] = {form.name: [] for form in question.forms}
    numbers = {id(pair): n for n, pair in enumerate(asked)}
    results = run_ordered(
        engine,
        asked,
        lambda pair: Score(
            prefix=pair[0].prompt(pair[1]),
            continuations=pair[0].continuations,
            head=pair[0].head,
            id=numbers[id(pair)],
        ),
    )
    too_long: dict[str, int] = {}  # tokens by form
    for done, ((form, _), result) in enumerate(results, 1):
        if isinstance(result, ContextOverflowError):
            too_long[form.name] = max(too_long.get(form.name, 0), _prompt_tokens(result))
        elif isinstance(result, Scored):
            found[form.name].append((form.scores(result.logprobs),))
        else:
            assert isinstance(result, Exception)
            raise result
        on_progress(done, len(asked))
    fitting = [name for name in found if name not in too_long]
    if not fitting:
        raise _no_form_fits(engine.model, min(too_long.values()))
    if question.texts:
        (name,) = fitting
        return Choice(name, from_prior(found[name]))
    targets = [example.label for example in question.sample]
    best = min(fitting, key=lambda name: cross_validated_loss(found[name], targets))
    return Choice(best, fit(found[best], targets), tuple(too_long))


def _prompt_tokens(error: ContextOverflowError) -> int:
    tokens = error.details.get("prompt_tokens")
    return tokens if isinstance(tokens, int) else 0


def _no_form_fits(model: ModelInfo, tokens: int) -> ContextOverflowError:
    larger = model.window_for(tokens)
    return ContextOverflowError(
        f"asking for a label takes {tokens:,} tokens, and the context window holds "
        f"{model.context_limit:,}",
        hint=f"--ctx-size {larger}" if larger else "-m MODEL with a larger context window",
        prompt_tokens=tokens,
        context_size=model.context_limit,
    )
