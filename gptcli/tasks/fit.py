"""Fitting a head: from labelled texts to weights, and an honest word on how good they are.

The only importer of scikit-learn, which an installation without the extra `fit` lacks.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gptcli.engine.api import Embedded, Engine, HiddenState
from gptcli.errors import GptcliError, UsageError
from gptcli.prompts.heads import choose_examples, head_form, head_line
from gptcli.prompts.labels import Example, LabelForm
from gptcli.tasks.heads import Head, embed_request
from gptcli.tasks.labels import WINDOW_BYTES, weighted_mean
from gptcli.tasks.metrics import LabelMetrics, label_metrics
from gptcli.tasks.ordered import run_ordered
from gptcli.tasks.passages import windows

if TYPE_CHECKING:
    import numpy as np

    Matrix = np.ndarray[Any, np.dtype[np.float64]]

Report = Callable[[int, int], object]  # texts read, of how many

# Where labels can be read best, measured on two models and two sets of reviews: behind the form in the
# third quarter of the layers, or in the mean over the text below the middle. As shares of all layers.
LAST_LAYERS = (0.5, 0.6, 0.65, 0.7, 0.75, 0.85)
MEAN_LAYER = 0.35
INVERSE_REGULARIZATIONS = (0.5, 2.0, 8.0)  # C of the logistic regression
FOLDS = 5
FEW = 5  # examples of a class: with fewer, its figures mean little
ABSENT = -30.0  # log-odds of a class of which a fold has no example


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledTexts:
    """Texts with the positions of their labels, each text once; and what was left out, in words."""

    labels: tuple[str, ...]
    texts: tuple[str, ...]
    targets: tuple[int, ...]
    remarks: tuple[str, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        return {label: self.targets.count(n) for n, label in enumerate(self.labels)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A head, and how it did on each text that it had not seen, in the texts' order.

    `kept` are the positions of the texts it learnt from: the others are in its prompt. `chosen` says
    what cross-validation chose.
    """

    head: Head
    metrics: LabelMetrics
    kept: tuple[int, ...]
    answers: tuple[int, ...]
    chosen: str


def labelled_texts(pairs: Iterable[tuple[str, str]]) -> LabelledTexts:
    """Return texts with their labels, ready to learn from. Raises UsageError if nothing can be learnt.

    Blank texts and labels, repetitions, and texts with two labels are left out.
    """
    found: dict[str, str | None] = {}
    blank = repeated = 0
    for text, label in pairs:
        text, label = " ".join(text.split()), label.strip()
        if not text or not label:
            blank += 1
        elif text not in found:
            found[text] = label
        elif found[text] == label:
            repeated += 1
        else:
            found[text] = None
    kept = {text: label for text, label in found.items() if label is not None}
    remarks = [
        f"{count:,} {what}: left out"
        for count, what in (
            (blank, "examples without a text or a label"),
            (repeated, "examples that are there already"),
            (len(found) - len(kept), "texts with two different labels"),
        )
        if count
    ]
    labels = tuple(sorted(set(kept.values())))
    targets = tuple(labels.index(label) for label in kept.values())
    return _checked(LabelledTexts(labels=labels, texts=tuple(kept), targets=targets), remarks)


def _checked(found: LabelledTexts, remarks: list[str]) -> LabelledTexts:
    if not found.texts:
        raise UsageError("there are no examples to learn from", hint="a text and a label each")
    if len(found.labels) == 1:
        raise UsageError(
            f'all examples have the label "{found.labels[0]}": there is nothing to tell apart',
            hint="examples of another label",
        )
    counts = found.counts
    for label, count in counts.items():
        if count < 2:
            raise UsageError(
                f'the label "{label}" has one example, of which nothing can be learnt',
                hint=f'more examples of "{label}", or none',
            )
    if few := [label for label, count in counts.items() if count < FEW]:
        remarks.append(f"fewer than {FEW} examples of {', '.join(few)}: their figures mean little")
    return LabelledTexts(
        labels=found.labels, texts=found.texts, targets=found.targets, remarks=tuple(remarks)
    )


def check_installed() -> None:
    """Raise GptcliError where scikit-learn is missing."""
    try:
        import sklearn.linear_model  # noqa: F401
    except ImportError as error:
        raise GptcliError(
            "fitting needs scikit-learn, which is not installed", hint="pip install 'gptcli[fit]'"
        ) from error


def fit_head(
    engine: Engine, examples: LabelledTexts, *, model: str, on_progress: Report = lambda *_: None
) -> Fitted:
    """Return the head that suits the examples best. `model` is the fingerprint of the weights.

    A few examples go into the prompt. Layers, pooling and regularization are chosen by cross-validation;
    the metrics come from an outer one, so that no figure is about a text that was learnt from or chosen
    by. Raises what a request raised.
    """
    shown = choose_examples(examples.texts, examples.targets, len(examples.labels))
    in_prompt = tuple(Example(examples.texts[n], examples.targets[n]) for n in shown)
    kept = tuple(n for n in range(len(examples.texts)) if n not in set(shown))
    form = head_form(examples.labels, in_prompt, head_line(examples.labels))
    states = states_to_try(engine.model.layer_count)
    rows = list(read_states(engine, form, states, [examples.texts[n] for n in kept], on_progress))
    targets = [examples.targets[n] for n in kept]
    learner = _Learner(rows, targets, len(examples.labels))
    with _one_thread():
        answers, confidences = learner.cross_validated()
        choice = learner.choose(range(len(kept)))
        weights, biases = learner.weights(choice, range(len(kept)))
    head = Head(
        model=model,
        model_name=engine.model.name,
        labels=examples.labels,
        examples=in_prompt,
        line=form.line,
        states=tuple(states[n] for n in choice.states),
        weights=weights,
        biases=biases,
    )
    return Fitted(
        head=head,
        metrics=label_metrics(examples.labels, targets, answers, confidences),
        kept=kept,
        answers=tuple(answers),
        chosen=choice.words(states),
    )


def states_to_try(layer_count: int) -> tuple[HiddenState, ...]:
    """Return the hidden states that may serve a head best, of a model with so many layers."""
    most = max(1, layer_count - 1)
    last = {min(most, max(1, round(share * layer_count))) for share in LAST_LAYERS}
    mean = min(most, max(1, round(MEAN_LAYER * layer_count)))
    return (*(HiddenState(layer) for layer in sorted(last)), HiddenState(mean, "mean"))


def read_states(
    engine: Engine,
    form: LabelForm,
    states: Sequence[HiddenState],
    texts: Sequence[str],
    on_progress: Report,
) -> Iterator[list[list[float]]]:
    """Yield each text's states behind the form; of a long text, their mean over its windows.

    Raises what a request raised.
    """
    parts = [(n, part.text) for n, text in enumerate(texts) for part in windows(text, WINDOW_BYTES)]
    numbers = iter(range(len(parts)))
    results = run_ordered(
        engine, parts, lambda part: embed_request(form, states, part[1], next(numbers))
    )
    read: list[tuple[int, Embedded]] = []
    for at, ((number, text), result) in enumerate(results):
        if isinstance(result, GptcliError):
            raise result
        assert isinstance(result, Embedded)
        read.append((len(text), result))
        if at + 1 == len(parts) or parts[at + 1][0] != number:
            sizes = [size for size, _ in read]
            yield [
                list(each[0]) if len(each) == 1 else weighted_mean(each, sizes)
                for each in zip(*(found.states for _, found in read), strict=True)
            ]
            on_progress(number + 1, len(texts))
            read = []


@dataclass(frozen=True, slots=True)
class _Choice:
    """What cross-validation chooses: states, by position, a regularization, a temperature."""

    states: tuple[int, ...]
    inverse_regularization: int  # position
    temperature: float

    def words(self, states: Sequence[HiddenState]) -> str:
        """Return the choice for people."""
        own = [states[n] for n in self.states]
        last = [str(each.layer) for each in own if each.pooling == "last"]
        mean = [str(each.layer) for each in own if each.pooling == "mean"]
        parts = [f"last token of layer {', '.join(last)}" if last else ""]
        parts += [f"mean of layer {', '.join(mean)}" if mean else ""]
        c = INVERSE_REGULARIZATIONS[self.inverse_regularization]
        return f"{' and '.join(filter(None, parts))}; C {c:g}, temperature {self.temperature:.2f}"


class _Learner:
    """Logistic regressions on states of texts: one on each state, whose log-odds are averaged.

    A state has more dimensions than there are examples; the mean of several heads errs less than one
    head on all of them at once.
    """

    def __init__(self, rows: Sequence[list[list[float]]], targets: Sequence[int], labels: int) -> None:
        import numpy as np

        self._blocks = [np.array(column, dtype=np.float64) for column in zip(*rows, strict=True)]
        self._targets = np.array(targets)
        self._labels = labels
        every = tuple(range(len(self._blocks)))
        # Each state alone, the upper ones, all those of the last token, all.
        self._sets = [*((n,) for n in every), every[:-1], every[1:-1], every]
        self._sets = list(dict.fromkeys(states for states in self._sets if states))

    def cross_validated(self) -> tuple[list[int], list[float]]:
        """Return each text's answer and its probability, from a head that was fitted without it."""
        import numpy as np

        probabilities = np.zeros((len(self._targets), self._labels))
        for train, test in self._folds(range(len(self._targets)), seed=1):
            choice = self.choose(train)
            log_odds = self._mean(self._fitted_and_applied(train, test, choice.states), choice)
            probabilities[test] = np.exp(_log_softmax(log_odds / choice.temperature))
        return [int(n) for n in probabilities.argmax(1)], [float(p) for p in probabilities.max(1)]

    def choose(self, among: Sequence[int]) -> _Choice:
        """Return what has the lowest log loss on examples left out, among these."""
        import numpy as np

        every = tuple(range(len(self._blocks)))
        found = np.zeros((len(self._blocks), len(INVERSE_REGULARIZATIONS), len(among), self._labels))
        place = {n: at for at, n in enumerate(among)}
        for train, test in self._folds(among, seed=0):
            found[:, :, [place[n] for n in test]] = self._fitted_and_applied(train, test, every)
        targets = self._targets[list(among)]
        best, lowest = _Choice((0,), 0, 1.0), math.inf
        for states in self._sets:
            for n in range(len(INVERSE_REGULARIZATIONS)):
                temperature, loss = _best_temperature(found[list(states), n].mean(0), targets)
                if loss < lowest:
                    best, lowest = _Choice(states, n, temperature), loss
        return best

    def weights(
        self, choice: _Choice, train: Sequence[int]
    ) -> tuple[tuple[array[float], ...], tuple[float, ...]]:
        """Return the weights by label and the biases of the chosen heads' mean, calibrated."""
        import numpy as np

        share = choice.temperature * len(choice.states)
        fitted = [self._fit(n, train, (choice.inverse_regularization,))[0] for n in choice.states]
        rows = np.hstack([weights / share for weights, _ in fitted]).astype(np.float32)
        biases = np.sum([bias for _, bias in fitted], axis=0) / share
        return tuple(array("f", row.tobytes()) for row in rows), tuple(float(b) for b in biases)

    def _folds(self, among: Sequence[int], *, seed: int) -> Iterator[tuple[list[int], list[int]]]:
        """Yield training and test examples; each class is spread evenly over the folds."""
        import numpy as np

        order = np.random.default_rng(seed).permutation(np.array(among))
        by_class = sorted((int(n) for n in order), key=lambda n: int(self._targets[n]))
        for fold in range(FOLDS):
            test = by_class[fold::FOLDS]
            if test:
                yield sorted(set(by_class) - set(test)), sorted(test)

    def _fitted_and_applied(
        self, train: Sequence[int], test: Sequence[int], states: Sequence[int]
    ) -> Matrix:
        """Return log-odds by state, regularization, test example and label."""
        import numpy as np

        every = tuple(range(len(INVERSE_REGULARIZATIONS)))
        return np.stack(
            [
                np.stack([self._blocks[n][test] @ w.T + b for w, b in self._fit(n, train, every)])
                for n in states
            ]
        )

    @staticmethod
    def _mean(log_odds: Matrix, choice: _Choice) -> Matrix:
        mean: Matrix = log_odds[:, choice.inverse_regularization].mean(0)
        return mean

    def _fit(
        self, state: int, train: Sequence[int], regularizations: Sequence[int]
    ) -> list[tuple[Matrix, Matrix]]:
        """Return weights and biases on a state as it is, for each regularization."""
        import numpy as np
        from sklearn.linear_model import LogisticRegression

        values, targets = self._blocks[state][train], self._targets[list(train)]
        present = np.unique(targets)
        center, scale = values.mean(0), (values.std(0) + 1e-6) * math.sqrt(values.shape[1])
        points = (values - center) / scale
        fitted = []
        for n in regularizations:
            weights = np.zeros((self._labels, points.shape[1]))
            biases = np.full(self._labels, ABSENT)
            if len(present) > 1:
                model = LogisticRegression(
                    C=INVERSE_REGULARIZATIONS[n], class_weight="balanced", solver="newton-cg"
                ).fit(points, targets)
                coefficients, intercepts = model.coef_, model.intercept_
                if len(present) == 2:
                    coefficients = np.vstack([-coefficients / 2, coefficients / 2])
                    intercepts = np.concatenate([-intercepts / 2, intercepts / 2])
                weights[present] = coefficients / scale
                biases[present] = intercepts - weights[present] @ center
            else:
                biases[present] = 0.0
            fitted.append((weights, biases))
        return fitted


def _one_thread() -> Any:
    """Return a context in which numpy's library computes in one thread.

    The matrices are small, and on a busy machine threads that wait for each other are 10 times slower.
    """
    from threadpoolctl import threadpool_limits

    return threadpool_limits(1)


def _best_temperature(log_odds: Matrix, targets: Any) -> tuple[float, float]:
    """Return the temperature with the lowest log loss, and that loss (Guo et al. 2017)."""
    import numpy as np

    rows = np.arange(len(targets))

    def loss(temperature: float) -> float:
        return float(-_log_softmax(log_odds / temperature)[rows, targets].mean())

    best = 1.0
    for factor in (1.5, 1.1, 1.02):  # coarse to fine; from 0.13, lest a few easy examples make it sure
        best = min((best * factor**step for step in range(-4, 5)), key=loss)
    return best, loss(best)


def _log_softmax(log_odds: Matrix) -> Matrix:
    import numpy as np

    shifted = log_odds - log_odds.max(axis=-1, keepdims=True)
    found: Matrix = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return found
