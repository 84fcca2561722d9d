"""Calibrations: from log-probabilities to probabilities that mean what they say."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptcli.prompts.labels import log_softmax
from gptcli.tasks.calibration import (
    Calibration,
    Scores,
    cross_validated_loss,
    fit,
    from_prior,
    log_loss,
    uncalibrated,
)


def drawn(
    count: int, *, bias: float, sureness: float, share: float = 0.5
) -> tuple[list[Scores], list[int]]:
    """Return scores of a model that likes label 1 by `bias` nats and is `sureness` times too sure."""
    chance = random.Random(7)
    samples: list[Scores] = []
    targets = []
    for _ in range(count):
        target = int(chance.random() < share)
        evidence = chance.gauss(2.0 if target else -2.0, 2.0)
        samples.append((log_softmax((0.0, sureness * evidence + bias)),))
        targets.append(target)
    return samples, targets


def test_fit_finds_bias_and_temperature() -> None:
    samples, targets = drawn(2000, bias=3.0, sureness=2.5)

    found = fit(samples, targets)

    # Of evidence from N(±2, 2) the log-odds are the evidence itself.
    (weight,) = found.weights
    assert weight * 2.5 == pytest.approx(1.0, abs=0.1)
    assert found.biases[1] - found.biases[0] == pytest.approx(-3.0 * weight, abs=0.2)
    assert sum(found.biases) == pytest.approx(0)
    assert log_loss(found, samples, targets) < log_loss(uncalibrated(1, 2), samples, targets)


def test_classes_count_alike() -> None:
    even = fit(*drawn(3000, bias=1.0, sureness=1.0))
    skewed = fit(*drawn(3000, bias=1.0, sureness=1.0, share=0.9))

    assert skewed.biases == pytest.approx(even.biases, abs=0.2)


def test_a_form_that_knows_nothing_weighs_little() -> None:
    samples, targets = drawn(1000, bias=0.0, sureness=1.0)
    chance = random.Random(1)
    both = [(scores[0], log_softmax((0.0, chance.gauss(0, 2)))) for scores in samples]

    found = fit(both, targets)

    assert found.weights[0] > 0.8
    assert abs(found.weights[1]) < 0.1


VALUES = st.floats(-60, 0, allow_subnormal=False)


@st.composite
def labelled(draw: st.DrawFn) -> tuple[list[Scores], list[int]]:
    labels, forms, size = draw(st.integers(2, 4)), draw(st.integers(1, 2)), draw(st.integers(2, 14))
    row = st.lists(VALUES, min_size=labels, max_size=labels).map(log_softmax)
    sample = st.lists(row, min_size=forms, max_size=forms).map(tuple)
    samples = draw(st.lists(sample, min_size=size, max_size=size))
    return list(samples), [n % labels for n in range(size)]


@given(labelled())
def test_fit_is_finite_and_never_worse_than_no_calibration(data: tuple[list[Scores], list[int]]) -> None:
    samples, targets = data
    forms, labels = len(samples[0]), len(samples[0][0])

    found = fit(samples, targets)

    assert all(map(math.isfinite, (*found.weights, *found.biases)))
    assert sum(found.biases) == pytest.approx(0, abs=1e-6)

    def loss(calibration: Calibration) -> float:  # with classes alike, as it is fitted
        parts = [
            log_loss(calibration, *zip(*chosen, strict=True))
            for label in range(labels)
            if (chosen := [(s, t) for s, t in zip(samples, targets, strict=True) if t == label])
        ]
        return sum(parts) / labels

    assert loss(found) <= loss(uncalibrated(forms, labels)) + 1e-6


@pytest.mark.parametrize("gap", [1.0, 30.0, 600.0])
def test_separable_examples_do_not_make_it_endlessly_sure(gap: float) -> None:
    samples: list[Scores] = [(log_softmax((0.0, gap if n % 2 else -gap)),) for n in range(40)]
    targets = [n % 2 for n in range(40)]

    found = fit(samples, targets)

    assert all(map(math.isfinite, (*found.weights, *found.biases)))
    assert 0 < found.weights[0] < 10
    assert log_loss(found, samples, targets) < 0.1


def test_a_model_that_tells_nothing_apart_can_be_fitted() -> None:
    even = log_softmax((0.0, 0.0))

    assert fit([(even,)] * 4, [0, 1, 0, 1]).biases == (0.0, 0.0)


def test_the_cross_validated_loss_is_of_examples_left_out() -> None:
    samples, targets = drawn(200, bias=2.0, sureness=2.0)
    fitted = log_loss(fit(samples, targets), samples, targets)

    assert (
        fitted <= cross_validated_loss(samples, targets) < log_loss(uncalibrated(1, 2), samples, targets)
    )


@given(labelled())
def test_a_prior_favours_no_label_on_its_sample(data: tuple[list[Scores], list[int]]) -> None:
    samples, _ = data
    found = from_prior(samples, uncalibrated(len(samples[0]), len(samples[0][0])).weights)

    odds = [found.log_odds(scores) for scores in samples]
    means = [sum(column) / len(odds) for column in zip(*odds, strict=True)]

    assert means == pytest.approx([means[0]] * len(means), abs=1e-6)
    assert found.weights == uncalibrated(len(samples[0]), len(means)).weights
