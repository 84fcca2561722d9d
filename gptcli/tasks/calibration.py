"""What turns a model's log-probabilities into probabilities that mean what they say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Calibration:
    """log_odds[label] = sum(weights[form] * log P(label | form)) + biases[label].

    The weights say how much each form is worth and how sure the model is too soon; the biases undo
    its liking for a label.
    """

    weights: tuple[float, ...]
    biases: tuple[float, ...]

    def log_odds(self, scores: Sequence[Sequence[float]]) -> list[float]:
        """Return the evidence for each label, in nats, from each form's log-probabilities."""
        found = list(self.biases)
        for weight, of_form in zip(self.weights, scores, strict=True):
            for label, logprob in enumerate(of_form):
                found[label] += weight * logprob
        return found


def uncalibrated(forms: int, labels: int) -> Calibration:
    """Return the calibration that leaves a model's own probabilities; of several forms, their mean."""
    return Calibration((1 / forms,) * forms, (0.0,) * labels)
