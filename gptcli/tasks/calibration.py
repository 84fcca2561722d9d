"""What turns a model's log-probabilities into probabilities that mean what they say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from gptcli.prompts.labels import log_softmax

Vector = list[float]
Scores = Sequence[Sequence[float]]  # log P(label | form): a row a form, a column a label

STEPS = 50
RIDGE = 0.5  # of an example's weight: holds the weights near those of no calibration


@dataclass(frozen=True, slots=True)
class Calibration:
    """log_odds[label] = sum(weights[form] * log P(label | form)) + biases[label].

    The weights say how much each form is worth and how far the model is too sure; the biases undo
    its liking for a label.
    """

    weights: tuple[float, ...]
    biases: tuple[float, ...]

    def log_odds(self, scores: Scores) -> Vector:
        """Return the evidence for each label, in nats, from each form's log-probabilities."""
        found = list(self.biases)
        for weight, of_form in zip(self.weights, scores, strict=True):
            for label, logprob in enumerate(of_form):
                found[label] += weight * logprob
        return found


def uncalibrated(forms: int, labels: int) -> Calibration:
    """Return the calibration that leaves a model's own probabilities; of several forms, their mean."""
    return Calibration((1 / forms,) * forms, (0.0,) * labels)


def from_prior(samples: Sequence[Scores], weights: Sequence[float]) -> Calibration:
    """Return the calibration under which texts that have nothing in common favour no label.

    Their evidence for each label is 0 on average, by the forms that the samples have scores of, the
    first ones; others are weighted alone.

    As Zhou et al. 2023 (Batch Calibration), with a sample of our own in place of the user's texts, so
    that no result depends on others.
    """
    forms, labels = len(samples[0]), len(samples[0][0])
    plain = Calibration(tuple(weights[:forms]), (0.0,) * labels)
    found = [plain.log_odds(scores) for scores in samples]
    biases = tuple(-sum(column) / len(found) for column in zip(*found, strict=True))
    return Calibration(tuple(weights), biases)


def fit(samples: Sequence[Scores], targets: Sequence[int]) -> Calibration:
    """Return the calibration under which the sample's own labels are most likely.

    That is multinomial logistic regression with one weight a form and one bias a label, which has
    temperature scaling (Guo et al. 2017) and bias in it; classes count alike however many examples
    they have. Solved by Newton's method; a step that leads too far is halved.
    """
    forms, labels = len(samples[0]), len(samples[0][0])
    start = [1 / forms] * forms + [0.0] * labels
    share = [len(targets) / labels / max(1, targets.count(label)) for label in range(labels)]
    found = list(start)
    loss = _penalized_loss(found, start, samples, targets, share)
    for _ in range(STEPS):
        gradient = [RIDGE * (value - first) for value, first in zip(found, start, strict=True)]
        hessian = [[RIDGE if i == j else 0.0 for j in range(len(found))] for i in range(len(found))]
        for scores, target in zip(samples, targets, strict=True):
            _add_example(gradient, hessian, found, scores, target, share[target])
        step = _solved(hessian, gradient)
        while max(map(abs, step)) >= 1e-6:
            further = [value - each for value, each in zip(found, step, strict=True)]
            reached = _penalized_loss(further, start, samples, targets, share)
            if reached <= loss:
                found, loss = further, reached
                break
            step = [each / 2 for each in step]
        else:
            break
    return Calibration(tuple(found[:forms]), _centred(found[forms:]))


def log_loss(calibration: Calibration, samples: Sequence[Scores], targets: Sequence[int]) -> float:
    """Return the mean of -log P(right label), in nats."""
    found = [log_softmax(calibration.log_odds(scores)) for scores in samples]
    return -sum(each[target] for each, target in zip(found, targets, strict=True)) / len(found)


def cross_validated_loss(samples: Sequence[Scores], targets: Sequence[int], folds: int = 5) -> float:
    """Return the log loss on examples that the calibration was not fitted on, in nats."""
    whole = 0.0
    for fold in range(folds):
        kept = [n for n in range(len(samples)) if n % folds != fold]
        left = [n for n in range(len(samples)) if n % folds == fold]
        found = fit([samples[n] for n in kept], [targets[n] for n in kept])
        whole += log_loss(found, [samples[n] for n in left], [targets[n] for n in left]) * len(left)
    return whole / len(samples)


def _penalized_loss(
    found: Vector, start: Vector, samples: Sequence[Scores], targets: Sequence[int], share: Vector
) -> float:
    """Return what `fit` makes as small as it can be."""
    forms = len(samples[0])
    calibration = Calibration(tuple(found[:forms]), tuple(found[forms:]))
    loss = RIDGE / 2 * sum((value - first) ** 2 for value, first in zip(found, start, strict=True))
    for scores, target in zip(samples, targets, strict=True):
        loss -= share[target] * log_softmax(calibration.log_odds(scores))[target]
    return loss


def _add_example(
    gradient: Vector,
    hessian: list[Vector],
    found: Vector,
    scores: Scores,
    target: int,
    share: float,
) -> None:
    forms, labels = len(scores), len(scores[0])
    calibration = Calibration(tuple(found[:forms]), tuple(found[forms:]))
    probabilities = [math.exp(each) for each in log_softmax(calibration.log_odds(scores))]
    features = [
        [of_form[label] for of_form in scores] + [float(label == other) for other in range(labels)]
        for label in range(labels)
    ]
    mean = [
        sum(p * row[i] for p, row in zip(probabilities, features, strict=True))
        for i in range(len(found))
    ]
    for label, (p, row) in enumerate(zip(probabilities, features, strict=True)):
        for i, value in enumerate(row):
            gradient[i] += share * (p - (label == target)) * value
            for j, other in enumerate(row):
                hessian[i][j] += share * p * (value - mean[i]) * (other - mean[j])


def _solved(matrix: list[Vector], vector: Vector) -> Vector:
    """Return x with matrix @ x = vector, by Gaussian elimination; the matrix is positive definite."""
    size = len(vector)
    rows = [[*row, value] for row, value in zip(matrix, vector, strict=True)]
    for at in range(size):
        for below in range(at + 1, size):
            ratio = rows[below][at] / rows[at][at]
            rows[below] = [a - ratio * b for a, b in zip(rows[below], rows[at], strict=True)]
    found = [0.0] * size
    for at in reversed(range(size)):
        known = sum(rows[at][n] * found[n] for n in range(at + 1, size))
        found[at] = (rows[at][size] - known) / rows[at][at]
    return found


def _centred(values: Sequence[float]) -> tuple[float, ...]:
    mean = sum(values) / len(values)
    return tuple(value - mean for value in values)
