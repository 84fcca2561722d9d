"""Prompt templates: what they ask for, how values get in, and what a user's file may hold."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptcli.errors import UsageError
from gptcli.prompts.library import Template, all_templates, load_template

NOWHERE = Path("no/such/directory")
SHIPPED = {template.name: template for template in all_templates(NOWHERE)}
EXAMPLES = {
    "topic": "a ferry to Skye",
    "text": "The cow is brown.",
    "name": "a kettle",
    "features": "quiet",
    "company": "Acme",
    "dish": "lentil soup",
}


def load(directory: Path, text: str) -> Template:
    (directory / "mine.toml").write_text(text, encoding="utf-8")
    return load_template("mine", directory)


def required(template: Template) -> dict[str, str]:
    return {param.name: EXAMPLES[param.name] for param in template.params if param.is_required}


def test_what_is_shipped() -> None:
    assert {"news", "blog", "story", "poem", "post", "email", "product", "headline"} <= SHIPPED.keys()
    assert {"summary", "rewrite", "press-release", "recipe"} <= SHIPPED.keys()


@pytest.mark.parametrize("template", SHIPPED.values(), ids=SHIPPED)
def test_a_shipped_template_is_complete(template: Template) -> None:
    values = required(template)
    chat, base = template.fill(values, as_chat=True), template.fill(values, as_chat=False)

    assert template.description
    assert all(param.description for param in template.params)
    for value in values.values():
        assert value.casefold() in chat.prompt.casefold()
        assert value.casefold() in base.prompt.casefold()
    assert "{" not in chat.prompt + base.prompt
    assert chat.stop == ()
    assert base.stop
    assert base.prompt.endswith("\n"), "the model begins a line of its own"


@pytest.mark.parametrize("template", SHIPPED.values(), ids=SHIPPED)
def test_a_stop_string_ends_the_next_example_not_the_text(template: Template) -> None:
    base = template.fill(required(template), as_chat=False)
    examples = base.prompt.split("\n---\n")[:-1]

    for example in examples:
        answer = example.strip().split(":\n", 1)[-1]
        assert not any(stop in answer.rstrip() for stop in base.stop)


def test_usage_names_what_is_required_and_the_defaults() -> None:
    assert SHIPPED["news"].usage() == "topic= [tone=factual]"
    assert SHIPPED["email"].usage() == 'topic= [to="a colleague"] [tone=polite]'


def test_summary_is_json() -> None:
    assert SHIPPED["headline"].summary() == {
        "name": "headline",
        "description": "A headline for a text",
        "parameters": [{"name": "text", "description": "The text", "required": True, "default": None}],
        "source": "gptcli",
    }


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip))
def test_a_value_gets_in_as_it_is(value: str) -> None:
    filled = SHIPPED["news"].fill({"topic": value, "tone": "{topic}"}, as_chat=True)

    assert filled.prompt.startswith(
        f"Write a news article about {value.strip()}. The tone is {{topic}}."
    )


def test_a_missing_and_an_unknown_parameter() -> None:
    with pytest.raises(UsageError, match='template "product" needs name and features') as error:
        SHIPPED["product"].check({"name": " "})
    assert error.value.hint == 'gptcli generate --template product -p name="…" -p features="…"'

    with pytest.raises(UsageError, match='has no parameter "topik": it has topic, tone') as error:
        SHIPPED["news"].check({"topik": "x"})
    assert error.value.hint == "-p topic=…"


def test_material_stands_for_the_parameter_text() -> None:
    template = SHIPPED["summary"]

    template.check({}, has_material=True)
    assert template.takes_material
    assert not SHIPPED["news"].takes_material
    assert template.fill({}, as_chat=False, material="The cow.").prompt.endswith(
        "Text: The cow.\nSummary:\n"
    )
    assert "The horse." in template.fill({"text": "The horse."}, as_chat=True, material="x").prompt
    with pytest.raises(UsageError, match="needs text"):
        template.fill({}, as_chat=True)


@pytest.mark.parametrize(
    ("name", "nearest"), [("stroy", ': did you mean "story"?'), ("../news", ""), ("zzzz", "")]
)
def test_an_unknown_name(name: str, nearest: str) -> None:
    with pytest.raises(UsageError) as error:
        load_template(name, NOWHERE)

    assert error.value.message.startswith(f'there is no template "{name}"')
    assert error.value.message.endswith(nearest)
    assert error.value.hint == "gptcli generate --template list"


# -------------------------------------------------------------------------------- a user's own


def test_a_file_overrides_and_adds(tmp_path: Path) -> None:
    (tmp_path / "news.toml").write_text('prompt = "My {topic}"', encoding="utf-8")
    mine = load(tmp_path, 'prompt = "Say {what}"\ndescription = "mine"')

    names = [template.name for template in all_templates(tmp_path)]

    assert names == sorted([*SHIPPED, "mine"])
    assert load_template("news", tmp_path).source == str(tmp_path / "news.toml")
    assert mine.usage() == "what="
    assert mine.fill({"what": "hi"}, as_chat=False).prompt == "Say hi"


def test_what_a_text_names_without_describing_it_is_required(tmp_path: Path) -> None:
    mine = load(tmp_path, 'prompt = "{a} {b} {{c}} {A} {1} { d }"\n[params]\nb = {default = "two"}')

    assert [(param.name, param.is_required) for param in mine.params] == [("b", False), ("a", True)]
    assert mine.fill({"a": "one {b}"}, as_chat=True).prompt == "one {b} two {c} One {b} {1} { d }"


def test_a_base_form_alone_serves_chat_models_too(tmp_path: Path) -> None:
    mine = load(tmp_path, 'base = "Q: {q}\\nA:"\nstop = ["\\nQ:"]')

    assert mine.fill({"q": "x"}, as_chat=True) == mine.fill({"q": "x"}, as_chat=False)
    assert mine.fill({"q": "x"}, as_chat=True).stop == ("\nQ:",)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("prompt = ", "Invalid value"),
        ('promt = "x"', 'unknown key "promt"'),
        ('description = "x"', 'there is neither a "prompt" nor a "base"'),
        ("prompt = 3", '"prompt" must be a string'),
        ('prompt = "x"\nstop = "y"', '"stop" must be a list of strings'),
        ('prompt = "x"\nstop = [""]', '"stop" must be a list of strings, none of them empty'),
        ('prompt = "x"\nheadings = 1', '"headings" must be true or false'),
        ('prompt = "x"\nparams = ["a"]', '"params" must be a table'),
        ('prompt = "{a}"\n[params]\na = {defalt = "x"}', 'the parameter "a" must be a description'),
        ('prompt = "{a}"\n[params]\na = {default = 4}', 'the parameter "a" must be a description'),
        ('prompt = "{a}"\n[params]\nb = "x"', 'the parameter "b" is not used'),
    ],
)
def test_a_file_that_is_no_template(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(UsageError) as error:
        load(tmp_path, text)

    assert error.value.message.startswith(f"{tmp_path / 'mine.toml'} is not a template: ")
    assert problem in error.value.message
    assert "\n" not in error.value.message
    assert error.value.hint


def test_a_file_that_is_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_bytes(b'prompt = "\xff"')

    with pytest.raises(UsageError, match=r"mine\.toml is not a template"):
        all_templates(tmp_path)
