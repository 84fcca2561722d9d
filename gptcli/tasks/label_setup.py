"""What a model is asked, and how its answers are to be read: measured once per model and labels."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from gptcli.engine.api import Engine, ModelInfo, Score, Scored
from gptcli.errors import ContextOverflowError
from gptcli.prompts.labels import AnyForm, Example, Label, LabelForm
from gptcli.prompts.sentiment import (
    BINARY,
    WITH_NEUTRAL,
    Language,
    sentiment_forms,
    sentiment_sample,
)
from gptcli.prompts.topics import SAMPLE, channel_form, topic_form
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
# Of a label behind a text, and of a text behind each label: fitted on 200 texts of seven sets (news,
# intents, support, tone; English, German, Chinese) with 3 to 7 labels. A 270M base model then finds
# 0.85 of them, a 0.5B instruct model 0.93 of 78, with calibration errors of 0.03 to 0.05. The first
# alone finds 0.75 and 0.83, and a prompt that lists the labels, behind examples, 0.56 and 0.68.
TOGETHER = (0.5, 0.6)
# Of labels by themselves, where half of the texts have the label: nearly the same of both models.
BY_ITSELF, BY_ITSELF_BIAS = (0.25,), -1.2
MOST_TOLD_APART = 20  # labels; with more, a text behind each would take too long
LABEL_WINDOW_BYTES = 600  # so that the log-odds of a text, a sum over its tokens, do not grow with it

Report = Callable[[int, int], object]  # texts measured, of how many


@dataclass(frozen=True, slots=True)
class Choice:
    """The form that suits a model best, by its name, and the calibration that belongs to it.

    Of a question whose forms are asked together, all their names.

    `left_out`: forms that were not compared, because the context window is too small for them.
    """

    form: str
    calibration: Calibration
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is to be known of texts, in every form that a model might be asked in.

    `sample` is what a model is measured on. Where no texts with these labels are known there are plain
    `texts`, and the forms are asked together, with these `weights` and `bias`. Long texts are read in
    windows of `window_bytes`. `chinese` is the question for Chinese texts, where it is another: the
    bias of a small model differs from script to script.
    """

    labels: tuple[str, ...]
    forms: tuple[AnyForm, ...]
    sample: tuple[Example, ...] = ()
    texts: tuple[str, ...] = ()
    weights: tuple[float, ...] = ()
    bias: float = 0.0
    is_multi: bool = False
    window_bytes: int = WINDOW_BYTES
    chinese: Question | None = None

    @property
    def digest(self) -> str:
        """Return what tells this question, with its forms and its sample, from any other."""
        parts: tuple[object, ...] = (self.labels, self.forms, self.sample, self.texts)
        if self.texts:
            parts = (*parts, self.weights, self.bias)
        return hashlib.sha256(repr(parts).encode("utf-8", "replace")).hexdigest()[:24]

    def only(self, form: str) -> Question:
        """Return the question in this form alone."""
        return replace(
            self,
            forms=tuple(each for each in self.forms if each.name == form),
            weights=(1.0,) if self.weights else (),
            chinese=self.chinese and self.chinese.only(form),
        )

    def task(self, choice: Choice | None, chinese: Choice | None = None) -> LabelTask:
        """Return the task for a model whose choices are known; None: the first form, not calibrated."""
        if self.texts:
            choice = choice or self.together()
            forms = self.forms
        else:
            choice = choice or Choice(self.forms[0].name, uncalibrated(1, len(self.labels)))
            forms = tuple(form for form in self.forms if form.name == choice.form)
        return LabelTask(
            labels=self.labels,
            forms=forms,
            calibration=choice.calibration,
            is_multi=self.is_multi,
            window_bytes=self.window_bytes,
            chinese=self.chinese.task(chinese) if self.chinese else None,
        )

    def measured(self) -> tuple[LabelForm, ...]:
        """Return the forms that have a liking for a label, or do not suit a model."""
        return tuple(form for form in self.forms if isinstance(form, LabelForm))

    def together(self, calibration: Calibration | None = None) -> Choice:
        """Return the choice of all forms; without a calibration, nothing is known of the model."""
        calibration = calibration or Calibration(self.weights, (0.0,) * len(self.labels))
        biases = tuple(each + self.bias for each in calibration.biases)
        name = " and ".join(form.name for form in self.forms)
        return Choice(name, replace(calibration, biases=biases))


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
    forms: tuple[AnyForm, ...] = (topic_form(labels, is_multi=is_multi),)
    if not is_multi and len(labels) <= MOST_TOLD_APART:
        forms = (*forms, channel_form(labels))
    return Question(
        labels=tuple(label.name for label in labels),
        forms=forms,
        texts=SAMPLE,
        weights=BY_ITSELF if is_multi else TOGETHER if len(forms) > 1 else (1.0,),
        bias=BY_ITSELF_BIAS if is_multi else 0.0,
        is_multi=is_multi,
        window_bytes=LABEL_WINDOW_BYTES,
    )


def measure(engine: Engine, question: Question, on_progress: Report) -> Choice:
    """Measure the model on the sample; return what suits it best. Raises what a request raised.

    With labels in the sample, that is the form with the lowest cross-validated log loss, of those that
    fit in the context window; if none does, that is a ContextOverflowError.
    """
    texts = question.texts or tuple(example.text for example in question.sample)
    forms = question.measured()
    asked = [(form, text) for form in forms for text in texts]
    found: dict[str, list[Scores]] = {form.name: [] for form in forms}
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
    if too_long and not fitting:
        raise _no_form_fits(engine.model, min(too_long.values()))
    if question.texts:
        prior = from_prior(found[fitting[0]], question.weights) if fitting else None
        return question.together(prior)
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
