"""Calibrations that are shipped belong to the questions that are asked."""

from __future__ import annotations

import tomllib
from importlib.resources import files

from gptcli.store.calibrations import find_choice
from gptcli.tasks.label_setup import sentiment_question

SHIPPED = tomllib.loads(files("gptcli.store").joinpath("calibrations.toml").read_text(encoding="utf-8"))


def test_every_shipped_calibration_can_be_found() -> None:
    questions = {
        question.digest: question
        for with_neutral in (False, True)
        for is_chat in (False, True)
        for whole in (sentiment_question(with_neutral=with_neutral, is_chat=is_chat),)
        for question in (whole, whole.chinese)
        if question is not None
    }

    assert SHIPPED
    for model, choices in SHIPPED.items():
        for digest in choices:
            # If this fails, prompts or samples have changed: measure again (benchmarks.labels --keep).
            question = questions[digest]
            choice = find_choice(model, digest, len(question.labels))
            assert choice is not None
            assert choice.form in {form.name for form in question.forms}
            question.task(choice)
