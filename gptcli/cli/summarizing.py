"""What `gptcli summarize` does with its options: read, find the points, show."""

from __future__ import annotations

from typing import Any

from gptcli.cli.collecting import gathered, read_piped
from gptcli.cli.logged import logged_run
from gptcli.cli.opening import opened_engine
from gptcli.cli.options import engine_settings, make_output
from gptcli.documents.summaries import Summary
from gptcli.errors import UsageError
from gptcli.output.console import Output
from gptcli.output.progress import Progress
from gptcli.output.summaries import print_summary, summary_members
from gptcli.prompts.compose import PromptParts
from gptcli.sampling import SamplingParams
from gptcli.tasks.summarize import summarize

Params = dict[str, Any]


def run_summarize(params: Params) -> None:
    """Run the command. What can be refused without a model is refused before one is loaded."""
    output = make_output(params)
    engine_settings(params, path="", name="")
    if params["words"] < 1:
        raise UsageError(f"--words must be 1 or more, not {params['words']}")
    names = params["file"] or []
    data = read_piped(names)
    if not names and not data.strip():
        raise UsageError("there is nothing to summarize", hint="gptcli summarize FILE, or a pipe")
    sources = gathered(names, data, output)
    with opened_engine(params, output, task="summarize") as engine:
        for note in engine.model.notes:
            output.note(note)
        with logged_run("summarize", params, output) as log:
            # The texts are in files of the user's, where they can be found and deleted.
            log.ask(engine.model, PromptParts(instruction=f"summarize {' '.join(names) or '-'}"))
            log.begin_answer(SamplingParams(temperature=0))
            with Progress(output, "summarizing") as progress:
                summary = summarize(engine, sources, words=params["words"], on_progress=progress.update)
            log.grow("\n".join(point.text for point in summary.points))
            log.end_answer("stop")
    _show(summary, params, output)


def _show(summary: Summary, params: Params, output: Output) -> None:
    if params["json"]:
        output.json(summary_members(summary))
    else:
        print_summary(output, summary)
    if summary.read < summary.passages:
        output.status(
            f"the model has read the most central passages: {summary.read:,} of {summary.passages:,}"
        )
