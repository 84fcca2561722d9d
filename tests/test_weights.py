"""What only real weights show: the starter model through the real command."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from gptcli.engine.api import Embed, Embedded, EngineSettings, Generate, Score, Scored, complete
from gptcli.engine.local import LocalEngine
from gptcli.sampling import SamplingParams
from tests.conftest import Cli

pytestmark = pytest.mark.weights


@pytest.fixture(scope="module")
def starter_engine(starter_model: Path) -> Iterator[LocalEngine]:
    settings = EngineSettings(model_path=str(starter_model), model_name="starter", parallel=1)
    engine = LocalEngine(settings)
    yield engine
    engine.close()


@pytest.fixture
def generate(cli: Cli, starter_model: Path) -> Cli:
    return lambda *arguments, **more: cli("generate", "-m", str(starter_model), *arguments, **more)


def test_the_first_command_of_the_readme(cli: Cli, home: Path) -> None:
    first = cli("generate", "The quick brown fox", "-n", "8", "--temperature", "0")
    second = cli("generate", "The quick brown fox", "-n", "8", "--temperature", "0")

    assert first.status == second.status == 0
    assert first.stdout == second.stdout == " jumps over the lazy dog.\n\nThe\n"
    assert first.stderr == "no model is configured: using starter (Gemma 3 270M base)\n"
    assert [path.name for path in (home / "data" / "models").iterdir()] == ["gemma-3-270m-q4_k_m.gguf"]


def test_the_same_seed_gives_the_same_text(generate: Cli) -> None:
    texts = [generate("Once upon a time", "-n", "20", "--seed", seed).stdout for seed in ("7", "7", "8")]

    assert texts[0] == texts[1] != texts[2]


def test_xtc_takes_the_best_token_away_without_a_temperature_too(generate: Cli) -> None:
    greedy = generate("The quick brown fox", "-n", "8", "--temperature", "0").stdout
    cut = ("--xtc-probability", "1", "--xtc-threshold", "0.01")

    assert generate("The quick brown fox", "-n", "8", "--temperature", "0", *cut).stdout != greedy


def test_choices_are_kept_to(generate: Cli) -> None:
    answer = generate("Rome is a city in the country of", "--choices", "Italy,Spain,Peru").stdout

    assert answer == "Italy\n"


def test_a_regular_expression_is_kept_to(generate: Cli) -> None:
    answer = generate("The date of the moon landing:", "--regex", r"\d{4}-\d\d-\d\d").stdout

    assert re.fullmatch(r"\d{4}-\d\d-\d\d\n", answer)


def test_a_json_schema_is_kept_to(generate: Cli) -> None:
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
        "required": ["name", "age"],
    }

    result = generate(
        "A person as JSON:", "--json-schema", json.dumps(schema), "-n", "100", "--seed", "1"
    )

    person = json.loads(result.stdout)
    assert isinstance(person["name"], str)
    assert isinstance(person["age"], int)


def test_a_grammar_is_kept_to(generate: Cli) -> None:
    answer = generate("Digits:", "--grammar", 'root ::= [0-9] " " [0-9] "."').stdout

    assert re.fullmatch(r"\d \d\.\n", answer)


def test_characters_of_several_tokens_arrive_whole(generate: Cli) -> None:
    # The weights know few emoji as tokens of their own; the grammar asks for some that they do not.
    answer = generate("Signs:", "--grammar", 'root ::= "🜁🜂🜃🜄 𓀀𓀁"').stdout

    assert answer == "🜁🜂🜃🜄 𓀀𓀁\n"


def test_stop_strings_that_span_tokens_are_never_shown(generate: Cli) -> None:
    whole = generate("The quick brown fox", "-n", "8", "--temperature", "0").stdout
    stopped = generate(
        "The quick brown fox", "-n", "8", "--temperature", "0", "--stop", "lazy dog"
    ).stdout

    assert whole.startswith(" jumps over the lazy dog")
    assert stopped == " jumps over the \n"


def test_logit_bias_bans_a_token(generate: Cli) -> None:
    greedy = ("The quick brown fox", "-n", "1", "--temperature", "0")

    assert generate(*greedy).stdout == " jumps\n"
    assert generate(*greedy, "--logit-bias", " jumps-inf").stdout != " jumps\n"


def test_logprobs_are_log_probabilities(generate: Cli) -> None:
    answer = generate(
        "The quick brown fox", "-n", "3", "--temperature", "0", "--logprobs", "5", "--json"
    ).json

    for item in answer["logprobs"]:
        assert len(item["top"]) == 5
        values = [other["logprob"] for other in item["top"]]
        assert values == sorted(values, reverse=True)
        assert item["logprob"] == values[0] <= 0


def test_repeat_penalty_changes_a_loop(generate: Cli) -> None:
    loop = generate("The quick brown fox", "-n", "60", "--temperature", "0")
    calm = generate("The quick brown fox", "-n", "60", "--temperature", "0", "--dry-multiplier", "0.8")

    assert "repeats itself" in loop.stderr
    assert calm.stdout != loop.stdout
    assert "repeats itself" not in calm.stderr


@pytest.mark.parametrize(
    "options",
    [
        ["--top-k", "5", "--top-p", "0.8", "--min-p", "0.1", "--typical-p", "0.9"],
        ["--top-n-sigma", "1"],
        ["--xtc-probability", "0.5", "--xtc-threshold", "0.1"],
        ["--dynatemp-range", "0.5", "--dynatemp-exponent", "1.2"],
        ["--mirostat", "1"],
        ["--mirostat", "2", "--mirostat-ent", "3", "--mirostat-lr", "0.2"],
        ["--repeat-penalty", "1.3", "--repeat-last-n", "-1", "--presence-penalty", "0.5"],
        ["--frequency-penalty", "0.5", "--dry-multiplier", "1", "--dry-penalty-last-n", "-1"],
    ],
    ids=lambda options: options[0],
)
def test_every_sampler_runs_and_is_repeatable(generate: Cli, options: list[str]) -> None:
    command = ("It was a dark and stormy night", "-n", "12", "--seed", "3", *options)
    first, second = generate(*command), generate(*command)

    assert first.status == 0, first.stderr
    assert first.stdout == second.stdout != "\n"


def test_a_prompt_that_exceeds_the_window(generate: Cli) -> None:
    result = generate("--ctx-size", "512", "-n", "8", "--json", stdin="All work and no play. " * 200)

    assert result.status == 6
    assert result.error["context_size"] == 512
    assert result.error["prompt_tokens"] > 1000
    assert "--ctx-size 2048" in result.error["hint"]


def test_fifty_megabytes_are_refused_in_time(generate: Cli) -> None:
    result = generate("-n", "8", stdin=b"All work and no play makes Jack a dull boy. " * 1_200_000)

    assert result.status == 6
    assert re.search(r"the prompt has about [\d,]+ tokens", result.stderr)


def test_a_cut_prompt_says_what_was_dropped(generate: Cli) -> None:
    result = generate(
        *("--ctx-size", "512", "-n", "8", "--overflow", "middle", "Therefore", "-v"),
        stdin="All work and no play. " * 200,
    )

    assert result.status == 0
    assert re.search(r"left out the middle: \d+ of [\d,]+ tokens", result.stderr)


def test_the_doctor_finds_all_well(cli: Cli) -> None:
    result = cli("doctor", "--json")

    assert result.status == 0, result.stdout
    checks = {check["name"]: check for check in result.json["checks"]}
    assert {"gptcli", "packages", "cpu", "memory", "data", "starter", "build", "gpu", "engine"} <= set(
        checks
    )
    assert all(check["ok"] for check in checks.values())
    assert "one token" in checks["engine"]["value"]


def test_scores_prefer_what_is_true(starter_engine: LocalEngine) -> None:
    request = Score(
        prefix="Paris is the capital of", continuations=(" France", " Peru", " the United Kingdom")
    )
    (scored,) = [event for event in starter_engine.run([request]) if isinstance(event, Scored)]

    assert scored.token_counts == (1, 1, 3)
    assert scored.logprobs[0] > scored.logprobs[1] > -30


def test_a_user_s_labels_are_found(cli: Cli, starter_model: Path) -> None:
    texts = {
        "my card was charged twice": "billing",
        "please send me an invoice": "billing",
        "I cannot log in": "login",
        "forgot my password": "login",
        "where is my parcel?": "delivery",
        "the package arrived broken": "delivery",
    }
    labels = ("--labels", "billing,login,delivery")

    found = cli("classify", *labels, "-m", str(starter_model), "-q", stdin="\n".join(texts))

    # A prompt that lists the labels finds two of them.
    right = sum(a == b for a, b in zip(found.stdout.splitlines(), texts.values(), strict=True))
    assert right >= 5


def test_a_score_is_the_sum_of_the_logprobs_of_its_tokens(starter_engine: LocalEngine) -> None:
    request = Generate(
        prompt="The quick brown fox", sampling=SamplingParams(temperature=0, max_tokens=4), logprobs=0
    )
    written = complete(starter_engine, request)
    score = Score(prefix="The quick brown fox", continuations=(written.text,))
    (scored,) = [event for event in starter_engine.run([score]) if isinstance(event, Scored)]

    assert scored.token_counts == (4,)
    assert scored.logprobs[0] == pytest.approx(sum(item.logprob for item in written.logprobs), abs=0.05)


def test_scores_do_not_depend_on_what_was_asked_before(starter_engine: LocalEngine) -> None:
    review = Score(
        prefix="Review: dull.\nSentiment:", continuations=(" positive", " very negative"), id=1
    )
    other = Score(prefix="Review: dull. Really.\nSentiment:", continuations=(" fine", " bad"), id=2)
    (alone,) = [event for event in starter_engine.run([review]) if isinstance(event, Scored)]
    _, mixed = [event for event in starter_engine.run([other, review]) if isinstance(event, Scored)]

    assert mixed.logprobs == pytest.approx(alone.logprobs, abs=0.02)


def test_exact_scores_are_the_same_to_the_last_bit_in_any_company(starter_model: Path) -> None:
    texts = ["too long by half", "a joy", "又吵又脏，再也不来了。" * 6, "it 's fine , but " * 6, "no"]
    orders = [texts, texts[::-1], [*texts[2:], *texts, texts[0]], *([text] for text in texts)]

    def ask(text: str, number: int) -> Score:
        head = (
            "Review: A film for a rainy evening.\nVerdict: good\n\nReview: Dull, dull.\nVerdict: bad\n\n"
        )
        continuations = (" good", " bad", " not at all bad")
        prefix = f"{head}Review: {text}\nVerdict:"
        return Score(
            prefix=prefix, continuations=continuations, head=f"{head}Review: \nVerdict:", id=number
        )

    settings = EngineSettings(model_path=str(starter_model), model_name="starter", parallel=4)
    with contextlib.closing(LocalEngine(settings)) as engine:
        found = {
            (order[int(event.id)], event.logprobs)
            for order in orders
            for event in engine.run([ask(text, n) for n, text in enumerate(order)])
            if isinstance(event, Scored)
        }

    assert len(found) == len(texts)


def test_a_kept_prefix_gives_the_same_answer(starter_engine: LocalEngine) -> None:
    greedy = SamplingParams(temperature=0, max_tokens=12)
    prompt = "In the beginning there was a word, and the word was"
    fresh = complete(starter_engine, Generate(prompt=prompt, sampling=greedy))
    again = complete(starter_engine, Generate(prompt=prompt, sampling=greedy))

    assert again.usage.cached_tokens == fresh.usage.prompt_tokens - 1
    assert again.text == fresh.text


def test_embeddings_are_near_for_what_means_the_same(starter_engine: LocalEngine) -> None:
    texts = ("a cat sat on the mat", "a kitten rests on a rug", "stock markets fell sharply")
    requests = [Embed(text=text, id=number) for number, text in enumerate(texts)]
    vectors = [event.vector for event in starter_engine.run(requests) if isinstance(event, Embedded)]

    def cosine(first: int, second: int) -> float:
        return sum(a * b for a, b in zip(vectors[first], vectors[second], strict=True))

    assert len(vectors[0]) == starter_engine.model.embedding_size == 640
    assert cosine(0, 0) == pytest.approx(1)
    assert cosine(0, 1) > cosine(0, 2)


def test_a_long_kept_prefix_is_right_with_a_sliding_window(starter_model: Path) -> None:
    # Gemma looks back 512 tokens in most layers, so its cache forgets what lies behind.
    greedy = SamplingParams(temperature=0, max_tokens=8)
    facts = "".join(f"Box {n} is {('red', 'green', 'blue')[n % 3]}. " for n in range(120))
    requests = [Generate(prompt=f"{facts}\nBox {n} is", sampling=greedy) for n in (7, 50)]
    settings = EngineSettings(model_path=str(starter_model), model_name="starter")
    fresh = []
    for request in requests:
        engine = LocalEngine(settings)
        fresh.append(complete(engine, request).text)
        engine.close()

    engine = LocalEngine(settings)
    kept = [complete(engine, request) for request in requests]
    engine.close()

    assert kept[1].usage.cached_tokens > 700
    assert [answer.text for answer in kept] == fresh


def test_fifty_megabytes_are_cut_in_time(generate: Cli) -> None:
    result = generate(
        *("--ctx-size", "512", "-n", "8", "--overflow", "tail", "And so"),
        stdin=b"All work and no play makes Jack a dull boy. " * 1_200_000,
    )

    assert result.status == 0
    found = re.search(r"kept the tail: (\d+) of ([\d,]+) tokens", result.stderr)
    assert found is not None
    assert 13_000_000 < int(found[2].replace(",", "")) < 15_000_000


def test_a_chat_with_a_base_model_evaluates_only_what_is_new(cli: Cli, starter_model: Path) -> None:
    stdin = "".join(f"Here is question number {n} of several in this chat.\n" for n in range(5))
    result = cli("chat", "-m", str(starter_model), "--json", "-n", "20", "--seed", "3", stdin=stdin)

    usages = [json.loads(line)["usage"] for line in result.stdout.splitlines()]
    new = [usage["prompt_tokens"] - usage["cached_tokens"] for usage in usages]
    assert max(new[1:]) <= 22
    assert usages[-1]["prompt_tokens"] > 120
