"""gptcli fit, heads, classify --head and eval, as users run them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gptcli.cli import app, fitting
from gptcli.store.heads import find_head, head_path
from tests.conftest import Cli
from tests.tiny_gguf import make_tiny_model

ROWS = [
    (f"{word} {n} the", label) for n in range(12) for word, label in (("good", "up"), ("bad", "down"))
]


@pytest.fixture
def data(tmp_path: Path) -> str:
    path = tmp_path / "data.csv"
    path.write_text("body,team\n" + "".join(f"{text},{label}\n" for text, label in ROWS))
    return str(path)


def columns(data: str) -> tuple[str, ...]:
    return (data, "--text", "body", "--label", "team")


def test_fit_list_use_show_and_remove(cli: Cli, data: str, tiny_model: Path) -> None:
    fitted = cli("fit", *columns(data), "-o", "teams", "-m", str(tiny_model))
    assert (fitted.status, fitted.stderr.splitlines()[-1].split(" ")[:2]) == (0, ["24", "examples"])
    assert fitted.stdout.startswith("accuracy ")
    assert "right \\ said  down  up" in fitted.stdout
    assert "without examples" in fitted.stdout

    # Without -m it is the model that the head was fitted on.
    found = cli("classify", "--head", "teams", "--jsonl", stdin="good 9 the\n\nbad 9 the\n")
    records = [json.loads(line) for line in found.stdout.splitlines()]
    assert [record["label"] for record in records] == ["up", None, "down"]
    assert sum(records[0]["scores"].values()) == pytest.approx(1, abs=1e-5)
    alone = cli("classify", "bad 9 the", "--head", "teams", "--json").json
    assert alone[0]["score"] == pytest.approx(records[2]["score"], abs=1e-3)

    listed = cli("heads", "list", "--json").json["heads"]
    assert [(head["name"], head["labels"], head["examples"]) for head in listed] == [
        ("teams", ["down", "up"], 24)
    ]
    assert listed[0]["cross_validated"]["accuracy"] > 0.6
    assert "teams  tiny.gguf" in cli("heads", "list").stdout
    assert "down, up" in cli("heads", "show", "teams").stdout

    assert cli("heads", "rm", "teams").status == 0
    assert cli("heads", "list", "--json").json == {"heads": []}
    gone = cli("heads", "show", "teams", "--json")
    assert (gone.status, gone.error["code"]) == (2, "usage")


def test_fit_tells_the_same_in_json(cli: Cli, data: str, tiny_model: Path) -> None:
    options = ("-m", str(tiny_model), "--no-zero-shot", "--json")

    told = cli("fit", *columns(data), "-o", "teams", *options).json

    assert (told["head"], told["examples"], told["counts"]) == ("teams", 24, {"down": 12, "up": 12})
    confusion = told["cross_validated"]["confusion"]
    assert [sum(row) for row in confusion] == [9, 9]  # 3 of each are in the prompt
    assert "zero_shot" not in told
    again = cli("fit", *columns(data), "-o", "teams", *options)
    assert (again.status, again.error["hint"]) == (2, "--overwrite, or another -o NAME")
    assert cli("fit", *columns(data), "-o", "teams", *options, "--overwrite").status == 0


def test_a_head_of_another_model_or_tampered_with_is_refused(
    cli: Cli, data: str, tiny_model: Path, tmp_path: Path
) -> None:
    cli("fit", *columns(data), "-o", "teams", "-m", str(tiny_model), "--no-zero-shot")
    other = make_tiny_model(tmp_path / "other.gguf", seed=1)

    refused = cli("classify", "x", "--head", "teams", "-m", str(other))
    assert refused.status == 2
    assert 'fitted on "tiny.gguf", and "other.gguf" is another model' in refused.stderr
    assert "try: -m tiny.gguf" in refused.stderr

    path = head_path("teams")
    path.write_text(path.read_text().replace('"up"', '"UP"', 1))
    tampered = cli("classify", "x", "--head", "teams", "--json")
    assert (tampered.status, tampered.error["code"]) == (1, "head_file")
    assert "was changed" in tampered.error["message"]
    assert "warning" in cli("heads", "list").stderr


@pytest.mark.parametrize(
    ("arguments", "content", "message"),
    [
        (("--text", "nothing", "-o", "x"), "text,label\na,b\n", '"nothing"'),
        (("--label", "nothing", "-o", "x"), "text,label\na,b\n", '"nothing"'),
        ((), "text,label\na,b\n", "needs a name"),
        (("-o", "../x"), "text,label\na,b\n", "cannot be a head's name"),
        (("-o", "x"), "", "no examples"),
        (("-o", "x"), "text,label\na,b\nc,b\n", "nothing to tell apart"),
        (("-o", "x"), "text,label\na,b\nc,b\nd,e\n", '"e" has one example'),
        (("-o", "x", "--limit", "-1"), "text,label\na,b\n", "--limit"),
    ],
)
def test_what_cannot_be_fitted_is_told_before_a_model_is_loaded(
    cli: Cli, tmp_path: Path, arguments: tuple[str, ...], content: str, message: str
) -> None:
    (tmp_path / "d.csv").write_text(content)

    refused = cli("fit", "d.csv", *arguments, "-m", "no-such-model")

    assert refused.status == 2
    assert message in refused.stderr
    assert refused.stdout == ""


def test_fit_without_scikit_learn_says_what_to_install(cli: Cli, data: str, tmp_path: Path) -> None:
    (tmp_path / "sklearn.py").write_text("raise ImportError\n")

    refused = cli("fit", *columns(data), "-o", "x", env={"PYTHONPATH": f"{tmp_path}:{Path.cwd()}"})

    assert refused.status == 1
    assert "pip install 'gptcli[fit]'" in refused.stderr


def test_a_head_excludes_labels(cli: Cli) -> None:
    refused = cli("classify", "x", "--head", "teams", "--labels", "a,b")

    assert refused.status == 2
    assert "--head excludes --labels" in refused.stderr


def test_eval_compares_models_forms_and_heads(cli: Cli, data: str, tiny_model: Path) -> None:
    cli("fit", *columns(data), "-o", "teams", "-m", str(tiny_model), "--no-zero-shot")

    found = cli("eval", "classify", *columns(data), "-m", str(tiny_model), "--head", "teams", "--json")
    (run,) = found.json["runs"]
    assert (run["form"], run["records"], run["failed"]) == ("head teams", 24, 0)
    assert run["accuracy"] > 0.8
    assert run["records_per_s"] > 0
    assert run["peak_memory_bytes"] > 1e7
    assert [sum(row) for row in run["confusion"]] == [12, 12]

    twice = cli("eval", "classify", *columns(data), "-m", str(tiny_model), "-m", str(tiny_model))
    assert twice.status == 0
    assert twice.stdout.count("right \\ said") == 2
    assert twice.stdout.splitlines()[-3].split() == [
        *("model", "form", "accuracy", "macro", "f1", "calibration", "error", "records/s", "memory")
    ]


def test_eval_of_forms_of_sentiment(cli: Cli, tmp_path: Path, tiny_model: Path) -> None:
    lines = [{"text": f"the {n}", "label": ("positive", "negative")[n % 2]} for n in range(6)]
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    options = ("-m", str(tiny_model), "--no-calibration", "--json")

    runs = cli("eval", "sentiment", "d.jsonl", "--form", "all", *options).json["runs"]

    assert len({run["form"] for run in runs}) == len(runs) > 1
    assert all(run["records"] == 6 for run in runs)
    limited = cli("eval", "sentiment", "d.jsonl", "--limit", "4", *options).json["runs"]
    assert [run["records"] for run in limited] == [4]
    unknown = cli("eval", "sentiment", "d.jsonl", "--form", "nonsense", *options)
    assert (unknown.status, unknown.error["code"]) == (2, "usage")


@pytest.mark.parametrize(
    ("content", "arguments", "message"),
    [
        ("text,label\n", (), "no records to evaluate"),
        ("text,label\na,b\n", ("--text", "body"), '"body"'),
        ("text,label\na,b\n", ("--head", "none"), 'no head "none"'),
    ],
)
def test_what_cannot_be_evaluated_is_told_before_a_model_is_loaded(
    cli: Cli, tmp_path: Path, content: str, arguments: tuple[str, ...], message: str
) -> None:
    (tmp_path / "d.csv").write_text(content)

    refused = cli("eval", "classify", "d.csv", *arguments, "-m", "no-such-model")

    assert refused.status == 2
    assert message in refused.stderr


def test_the_head_is_kept_when_the_comparison_is_stopped(
    data: str, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(fitting, "_compare", stop)

    status = app.run(["fit", *columns(data), "-o", "teams", "-m", str(tiny_model), "-q"])

    assert status == 130
    assert find_head("teams").report["examples"] == 24
