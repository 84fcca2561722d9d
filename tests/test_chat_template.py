# ruff: noqa: E501 (templates)
from __future__ import annotations

import contextlib
import gc
import signal
import threading
import time
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gptcli.engine.chat_template import ChatTemplate, opens_thinking
from gptcli.errors import ModelFileError, UsageError
from gptcli.messages import Conversation, Message, Role

CHATML = """\
{%- if messages[0]['role'] != 'system' %}
    {{- '<|im_start|>system\\nBe nice.<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""
LLAMA = """\
{{- bos_token }}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = '' %}
{%- endif %}
{%- if not date_string is defined %}
    {%- set date_string = strftime_now('%d %b %Y') %}
{%- endif %}
{{- '<|start_header_id|>system<|end_header_id|>\\n\\nToday: ' + date_string + '\\n\\n' + system_message + '<|eot_id|>' }}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}
"""
GEMMA = """\
{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}
{% for message in messages %}
{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate') }}{% endif %}
{% if message['role'] == 'assistant' %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}
{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}{% endfor %}
{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"""
MISTRAL = """\
{{- bos_token }}
{%- for message in messages if message.role != 'system' %}
    {%- if message.role == 'user' %}
        {%- if loop.last and messages[0].role == 'system' %}
            {{- '[INST]' + messages[0].content + '\\n\\n' + message.content + '[/INST]' }}
        {%- else %}
            {{- '[INST]' + message.content + '[/INST]' }}
        {%- endif %}
    {%- else %}
        {{- message.content + eos_token }}
    {%- endif %}
{%- endfor %}
"""
QWEN3 = CHATML.replace(
    "'<|im_start|>assistant\\n'",
    "'<|im_start|>assistant\\n' + ('' if enable_thinking else '<think>\\n\\n</think>\\n\\n')",
)
DEEPSEEK = """\
{{- bos_token }}{% for message in messages %}{% if message['role'] == 'system' %}{{ message['content'] }}{% endif %}
{% if message['role'] == 'user' %}{{ '<｜User｜>' + message['content'] }}{% endif %}
{% if message['role'] == 'assistant' %}{% set content = message['content'] %}{% if '</think>' in content %}{% set content = content.split('</think>')[-1] %}{% endif %}{{ '<｜Assistant｜>' + content + eos_token }}{% endif %}
{% endfor %}{% if add_generation_prompt %}{{ '<｜Assistant｜><think>\\n' }}{% endif %}"""
PARTS_ONLY = (
    "{% for m in messages %}{{ m.role }}: {% for part in m.content %}{% if part.type == 'text' %}{{ part.text }}"
    "{% endif %}{% endfor %};{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
)


def talk(*turns: str) -> Conversation:
    """Return a conversation of turns such as "user: Hello"."""
    roles: dict[str, Role] = {"system": "system", "user": "user", "assistant": "assistant"}
    parts = [turn.partition(": ") for turn in turns]
    return Conversation(tuple(Message(roles[role], text) for role, _, text in parts))


def render(source: str, *turns: str, thinking: bool = True) -> str:
    now = datetime(2026, 7, 1, tzinfo=UTC)
    return ChatTemplate(source, "<s>", "</s>").render(talk(*turns), thinking=thinking, now=now)


def failure(source: str, *turns: str) -> str:
    with pytest.raises(ModelFileError) as caught:
        render(source, *(turns or ("user: Hello",)))
    assert caught.value.hint == "--raw"
    assert "\n" not in caught.value.message
    return caught.value.message.removeprefix("the chat template of this model fails: ")


# --------------------------------------------------------------------------------- the families


def test_chatml() -> None:
    assert render(CHATML, "user: Hello") == (
        "<|im_start|>system\nBe nice.<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
    )
    assert render(CHATML, "system: S", "user: a", "assistant: b", "user: c") == (
        "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\na<|im_end|>\n"
        "<|im_start|>assistant\nb<|im_end|>\n<|im_start|>user\nc<|im_end|>\n<|im_start|>assistant\n"
    )


def test_llama_with_the_date() -> None:
    assert render(LLAMA, "system: S", "user: Hello ") == (
        "<s><|start_header_id|>system<|end_header_id|>\n\nToday: 01 Jul 2026\n\nS<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nHello<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    )


def test_gemma_gets_the_system_message_inside_the_first_user_message() -> None:
    assert render(GEMMA, "system: Be brief.", "user: Hello", "assistant: Hi", "user: Bye") == (
        "<s><start_of_turn>user\nBe brief.\n\nHello<end_of_turn>\n<start_of_turn>model\nHi<end_of_turn>\n"
        "<start_of_turn>user\nBye<end_of_turn>\n<start_of_turn>model\n"
    )
    assert render(GEMMA, "system: Be brief.") == render(GEMMA, "user: Be brief.")


def test_mistral() -> None:
    assert render(MISTRAL, "system: S", "user: a", "assistant: b", "user: c") == (
        "<s>[INST]a[/INST]b</s>[INST]S\n\nc[/INST]"
    )


def test_qwen3_without_thinking() -> None:
    assert render(QWEN3, "user: Hi").endswith("<|im_start|>assistant\n")
    assert render(QWEN3, "user: Hi", thinking=False).endswith(
        "<|im_start|>assistant\n<think>\n\n</think>\n\n"
    )


def test_deepseek_opens_the_thinking() -> None:
    prompt = render(DEEPSEEK, "system: S", "user: Hi", "assistant: <think>x</think>Hello", "user: Bye")
    assert prompt == "<s>S<｜User｜>Hi<｜Assistant｜>Hello</s><｜User｜>Bye<｜Assistant｜><think>\n"
    assert opens_thinking(prompt)


def test_a_template_that_drops_the_system_message_gets_it_in_the_user_message() -> None:
    silent = "{% for m in messages %}{% if m.role != 'system' %}[{{ m.content }}]{% endif %}{% endfor %}"
    assert render(silent, "system: S", "user: Hi") == "[S\n\nHi]"
    assert render(silent, "user: a", "assistant: b", "system: S", "user: c") == "[a][b][S\n\nc]"
    assert render(silent, "system: S", "assistant: b") == "[S][b"


def test_a_template_that_takes_the_system_message_only_first() -> None:
    first_only = CHATML.replace(
        "{%- for message in messages %}",
        "{%- for message in messages %}{% if message.role == 'system' and not loop.first %}"
        "{{ raise_exception('system must come first') }}{% endif %}",
    )
    assert "system\nS<|im_end|>" in render(first_only, "system: S", "user: a")
    assert "user\nT\n\nb<|im_end|>" in render(
        first_only, "user: a", "assistant: c", "system: T", "user: b"
    )


def test_a_template_that_wants_parts() -> None:
    assert render(PARTS_ONLY, "system: S", "user: Hi") == "system: S;user: Hi;assistant:"


def test_what_transformers_offers_is_there() -> None:
    source = (
        "{{ bos_token }}|{{ eos_token }}|{{ tools is none }}|{{ messages[0]|tojson }}|{{ [1, {'é': none}]|tojson(indent=2) }}|"
        "{% generation %}{{ 'x' }}{% endgeneration %}|{% for i in range(9) %}{% if i == 1 %}{% continue %}{% endif %}"
        "{% if i == 3 %}{% break %}{% endif %}{{ i }}{% endfor %}"
    )
    assert render(source, "user: ü\n<") == (
        '<s>|</s>|True|{"role": "user", "content": "ü\\n<"}|[\n  1,\n  {\n    "é": null\n  }\n]|x|02'
    )


def test_filters_methods_and_operators_that_templates_use() -> None:
    source = (
        "{% set ns = namespace(n=0, s='') %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }} "
        "{{ ' a '|trim }} {{ ['a', 'b']|join('-') }} {{ messages|map(attribute='role')|join(',') }} "
        "{{ 'a-b'.split('-')|last }} {{ 'aXb'|replace('X', '_') }} {{ 'aXb'.replace('X', '+') }} {{ '{}={:>3}'.format(1, 2) }} "
        "{{ '%s:%d' % ('a', 7) }} {{ '%s'|format('z') }} {{ 'a' ~ 1 ~ none }} {{ [1, 2] + [3] }} {{ 'ab' * 2 }} {{ 7 // 2 ** 1 }} "
        "{{ {'a': 1}.items()|list }} {% for k, v in {'a': 1}|dictsort %}{{ k }}{{ v }}{% endfor %} {{ ('x', 'y')[0] }} "
        "{{ 'hello'[1:3] }} {% macro f(x) %}<{{ x }}>{% endmacro %}{{ f('m') }} {% set c %}cap{{ 1 }}{% endset %}{{ c }} "
        "{{ messages|selectattr('role', 'equalto', 'user')|list|length }} {{ '<b>'|safe }} {{ '<'|e }} {{ 'a\\nb'|indent(2) }} "
        "{{ undefined_name|default('d') }} {{ ', '.join(['p', 'q']) }} {{ messages[::-1][0].content }}"
    )
    expected = "1 a a-b user b a_b a+b 1= 2 a:7 z a1None [1, 2, 3] abab 3 [('a', 1)] a1 x el <m> cap1 1 <b> &lt; a b d p, q Hi"
    assert render(source, "user: Hi").split() == expected.split()


# ------------------------------------------------------------------------- unfinished answers


@pytest.mark.parametrize(
    ("source", "end"),
    [
        (CHATML, "<|im_start|>assistant\nOnce upon "),
        (LLAMA, "assistant<|end_header_id|>\n\nOnce upon "),
        (GEMMA, "<start_of_turn>model\nOnce upon "),
        (MISTRAL, "[INST]Tell me.[/INST]Once upon "),
        (DEEPSEEK, "<｜Assistant｜>Once upon "),
        (PARTS_ONLY, "assistant: Once upon "),
    ],
)
def test_an_unfinished_answer_is_continued(source: str, end: str) -> None:
    assert render(source, "user: Tell me.", "assistant: Once upon ").endswith(end)


def test_the_system_message_is_kept_when_an_answer_is_continued() -> None:
    assert render(MISTRAL, "system: S", "user: a", "assistant: b") == "<s>[INST]S\n\na[/INST]b"
    assert render(GEMMA, "system: S", "user: a", "assistant: b").endswith(
        "user\nS\n\na<end_of_turn>\n<start_of_turn>model\nb"
    )


def test_an_empty_unfinished_answer() -> None:
    assert render(CHATML, "user: a", "assistant: ").endswith("<|im_start|>assistant\n")


def test_a_template_that_shows_no_last_answer_is_asked_for_a_new_one() -> None:
    no_last = "{% for m in messages if m.role == 'user' %}U:{{ m.content }} {% endfor %}{% if add_generation_prompt %}A:{% endif %}"
    assert render(no_last, "user: a", "assistant: b ") == "U:a A:b "


# --------------------------------------------------------------------------------------- errors


def test_no_messages() -> None:
    with pytest.raises(UsageError, match="no messages"):
        render(CHATML)


def test_roles_that_do_not_alternate() -> None:
    message = failure(GEMMA, "user: a", "user: b")
    assert (
        message
        == "it wants user and assistant to take turns, beginning with the user (Conversation roles must alternate)"
    )


def test_a_template_that_raises_has_its_own_words_in_the_message() -> None:
    assert failure("{{ raise_exception('no\\n \x1b[31mgood') }}") == "no [31mgood"
    assert len(failure("{{ raise_exception('x' * 5000) }}")) == 200


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{% if %}", "Expected an expression, got 'end of statement block' (line 1)"),
        ("a\n{{ x | nothing }}", "No filter named 'nothing'. (line 2)"),
        ("{{ x.y.z }}", "'x' is undefined"),
        ("{{ 1 // 0 }}", "ZeroDivisionError: integer division or modulo by zero"),
        ("{% include 'x' %}", "TypeError: no loader for this environment specified"),
        ("{% autoescape true %}{% endautoescape %}", "it switches autoescape (line 1)"),
        ("x" * 200_000, "it is longer than 131072 characters"),
    ],
)
def test_what_is_wrong_is_said(source: str, message: str) -> None:
    assert failure(source) == message


# -------------------------------------------------------------------------------- hostile templates

DOUBLED = "{{% set ns = namespace(x={start}) %}}{{% for i in range(60) %}}{{% set ns.x = {double} %}}{{% endfor %}}"
HOSTILE = {
    "text repeated": "{{ 'x' * 1000000000000 }}",
    "list repeated": "{{ ([0] * 1000000000)|length }}",
    "list repeated from the left": "{{ 1000000000 * [0] }}",
    "tuple repeated": "{{ ((1, 2) * 1000000000)|length }}",
    "huge power": "{{ 10 ** 1000000000 }}",
    "huge product": DOUBLED.format(start="99", double="ns.x * ns.x"),
    "huge range": "{% for i in range(1000000000) %}x{% endfor %}",
    "loops in loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}{% endfor %}{% endfor %}{% endfor %}",
    "loops in filters of loops": "{% for a in range(99999) %}{% for b in range(99999) if false %}{% endfor %}{% endfor %}",
    "output without end": "{% for a in range(99999) %}{% for b in range(99999) %}xxxxxxxx{% endfor %}{% endfor %}",
    "text doubled by +": DOUBLED.format(start="'x'", double="ns.x + ns.x") + "{{ ns.x }}",
    "text doubled by ~": DOUBLED.format(start="'x'", double="ns.x ~ ns.x"),
    "text doubled by join": DOUBLED.format(start="'x'", double="[ns.x, ns.x]|join"),
    "text doubled by replace": DOUBLED.format(start="'x'", double="'ab'|replace('a', ns.x)|replace('b', ns.x)"),
    "text doubled by replace()": DOUBLED.format(start="'x'", double="ns.x.replace('x', 'xx')"),
    "text doubled by join()": DOUBLED.format(start="'x'", double="ns.x.join(['x', 'x', 'x'])"),
    "text doubled by %": DOUBLED.format(start="'x'", double="'%s%s' % (ns.x, ns.x)"),
    "text doubled by format": DOUBLED.format(start="'x'", double="'{0}{0}'.format(ns.x)"),
    "text doubled by a macro": "{% macro m(a) %}{{ a }}{{ a }}{% endmacro %}" + DOUBLED.format(start="'x'", double="m(ns.x)"),
    "text doubled by a block": "{% set x %}xx{% endset %}" + "{% set x %}{{ x }}{{ x }}{% endset %}" * 60,
    "text doubled by slices": DOUBLED.format(start="'x'", double="ns.x[:] + ns.x[::-1]"),
    "text written out ever longer": DOUBLED.format(start="'<\"é'", double="ns.x|tojson") + "{{ ns.x }}",
    "a separator many times": "{{ range(99999)|join('x' * 100000) }}",
    "the same text in many places": "{{ ('x' * 100000).replace('x', 'y' * 100000) }}",
    "list doubled by +": DOUBLED.format(start="[0]", double="ns.x + ns.x"),
    "list nested in itself": DOUBLED.format(start="[0]", double="[ns.x, ns.x]") + "{{ ns.x }}",
    "dict nested in itself": DOUBLED.format(start="[0]", double="{'a': ns.x, 'b': ns.x}") + "{{ ns.x|tojson }}",
    "dict() nested in itself": DOUBLED.format(start="[0]", double="dict(a=ns.x, b=ns.x)") + "{{ ns.x ~ '' }}",
    "tuple nested in itself": DOUBLED.format(start="(0,)", double="(ns.x, ns.x)") + "{{ ns.x == ns.x[:] }}",
    "list nested by defaults": DOUBLED.format(start="[0]", double="[nil, nil]|map('default', ns.x)|list") + "{{ ns.x }}",
    "list nested deeply": "{% set ns = namespace(x=[]) %}{% for i in range(99999) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}",
    "namespace in itself": "{% set a = namespace() %}{% set a.a = a %}{{ a }}",
    "namespaces in each other": "{% set n0 = namespace() %}"
    + "".join(f"{{% set n{i} = namespace(a=n{i - 1}, b=n{i - 1}) %}}" for i in range(1, 60))
    + "{{ n59|string }}",
    "namespace in a list": "{{ [namespace()] }}",
    "recursive macro": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "macros calling twice": "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}",
    "recursive loop": "{% for a in [1] recursive %}{{ loop([1]) }}{% endfor %}",
    "recursive block": "{% block a %}{{ self.a() }}{% endblock %}",
    "nested parentheses": "{{" + "(" * 60_000,
    "a long sum": "{{ 1" + "+1" * 60_000 + "}}",
    "nested lists": "{{" + "[" * 60_000 + "]" * 60_000 + "}}",
    "a long chain of attributes": "{{ a" + ".a" * 60_000 + "}}",
    "many nested loops": "{% for a in [1] %}" * 3000 + "{% endfor %}" * 3000,
    "wide %": "{{ '%1000000000d' % 1 }}",
    "wide % by argument": "{{ '%*d' % (1000000000, 1) }}",
    "wide % of a key with parentheses": "{{ '%(a(b)c)1000000000d' % {'a(b)c': 1} }}",
    "precise %": "{{ '%.1000000000f' % 1.5 }}",
    "wide format filter": "{{ '%1000000000d'|format(1) }}",
    "wide format": "{{ '{:1000000000d}'.format(1) }}",
    "wide format by argument": "{{ '{:{w}}'.format(1, w=1000000000) }}",
    "wide format_map": "{{ '{a:1000000000}'.format_map({'a': 1}) }}",
    "wide date": "{{ strftime_now('%1000000000Y') }}",
    "center": "{{ 'a'.center(1000000000) }}",
    "center filter": "{{ 'a'|center(1000000000) }}",
    "ljust": "{{ 'a'.ljust(1000000000) }}",
    "zfill": "{{ 'a'.zfill(1000000000) }}",
    "expandtabs": "{{ '\\t'.expandtabs(1000000000) }}",
    "to_bytes": "{{ (1).to_bytes(1000000000, 'big') }}",
    "indent": "{{ 'a\\nb'|indent(1000000000) }}",
    "tojson indent": "{{ [[1]]|tojson(indent=1000000000) }}",
    "tojson separators": "{{ range(9999)|list|tojson(separators=('x' * 100000, 'y')) }}",
    "batch": "{{ [1]|batch(1000000000, 'x')|list }}",
    "slice filter": "{{ [1]|slice(1000000000)|list }}",
    "lipsum": "{{ lipsum(n=1000000) }}",
    "huge integer": "{{ ('f' * 1000000)|int(base=16) }}",
    "round": "{{ 1.5|round(1000000000, 'ceil') }}",
    "private attribute": "{{ messages.__class__.__mro__ }}{{ ''.__class__.__base__.__subclasses__() }}",
    "private attribute by index": "{{ ''['__class__']['__mro__'] }}",
    "private attribute by filter": "{{ ''|attr('__class__') }}",
    "private attribute by map": "{{ ['']|map(attribute='__class__.__mro__')|list }}",
    "private attribute by format": "{{ '{0.__class__.__mro__}'.format('') }}",
    "globals of a function": "{{ raise_exception.__globals__ }}{{ raise_exception.__globals__['os'] }}",
    "globals of a macro": "{% macro m() %}{% endmacro %}{{ m._environment.globals }}",
    "the context": "{{ self._TemplateReference__context.environment }}",
    "changing the messages": "{{ messages.append(1) }}",
    "changing a dict": "{{ messages[0].update({}) }}",
    "mro of a class": "{{ dict.mro() }}",
}  # fmt: skip


@pytest.mark.parametrize("source", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_template_is_a_clean_and_quick_error(
    source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gptcli.engine.chat_template.budget.TIME_LIMIT_S", 0.5)
    started = time.monotonic()
    failure(source)
    assert time.monotonic() - started < 1.5


def test_outside_the_main_thread_the_steps_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    # So many steps take longer than the time limit where the machine is slow.
    monkeypatch.setattr("gptcli.engine.chat_template.budget.TIME_LIMIT_S", 60)
    messages = []
    loops = HOSTILE["loops in loops"]
    thread = threading.Thread(target=lambda: messages.append(failure(loops)))
    thread.start()
    thread.join(120)
    assert messages == ["it does too much"]


def test_the_timer_of_the_caller_is_given_back() -> None:
    before = signal.getsignal(signal.SIGALRM)
    render(CHATML, "user: Hi")
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_what_takes_long_in_one_go_is_stopped_by_the_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gptcli.engine.chat_template.budget.TIME_LIMIT_S", 0.05)
    compares = (
        "{% set a = range(99999)|list %}{% set b = range(99999)|list %}"
        + "{% if a == b %}{% endif %}" * 3000
    )
    started = time.monotonic()
    assert failure(compares) == "it takes too long"
    assert time.monotonic() - started < 1


def test_an_alarm_lost_while_garbage_is_collected_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gptcli.engine.chat_template.budget.TIME_LIMIT_S", 0.02)
    naps = [0.05]

    def nap(phase: str, info: object) -> None:
        if naps:
            time.sleep(naps.pop())

    compares = (
        "{% set a = range(99999)|list %}{% set b = range(99999)|list %}"
        + "{% if a == b %}{% endif %}" * 3000
    )
    gc.callbacks.append(nap)
    try:
        assert failure(compares) == "it takes too long"
    finally:
        gc.callbacks.remove(nap)
    assert naps == []


def test_a_long_conversation_is_no_bomb() -> None:
    turns = [f"{role}: {'word ' * 200}" for _ in range(500) for role in ("user", "assistant")]
    assert len(render(CHATML, *turns, "user: Hi")) > 1_000_000
    collecting = (
        "{% set ns = namespace(all=[], text='') %}{% for m in messages %}{% set ns.all = ns.all + [m] %}"
        "{% set ns.text = ns.text + m.content[:20] %}{% endfor %}{{ ns.all|length }} {{ ns.text }}"
    )
    assert render(collecting, *turns, "user: Hi").startswith("1001 word word")


TOKENS = (
    "{{ }} {% %} {%- -%} {# #} for in if elif else endif endfor set endset macro endmacro call endcall filter endfilter "
    "block endblock recursive loop messages range namespace ns x content role [ ] ( ) { } . , : | ~ + - * ** % / // == < "
    "'a' '%s' '{}' 0 1 9 99999 true none format join replace split map list tojson upper string length items self caller "
    "not and is defined raise_exception generation endgeneration do break continue raw endraw ="
)
WORDS = st.sampled_from([*TOKENS.split(), "\n"])
SOURCES = st.one_of(
    st.text(max_size=60),
    st.lists(WORDS, max_size=40).map(" ".join),
    st.lists(WORDS, max_size=12).map(lambda words: "{{ " + " ".join(words) + " }}"),
    st.tuples(st.integers(0, len(QWEN3)), st.integers(0, 9), st.lists(WORDS, max_size=3)).map(
        lambda edit: QWEN3[: edit[0]] + " ".join(edit[2]) + QWEN3[edit[0] + edit[1] :]
    ),
)


@settings(max_examples=300, deadline=3000, suppress_health_check=[HealthCheck.too_slow])
@given(SOURCES)
def test_any_template_gives_text_or_a_clean_error(source: str) -> None:
    with contextlib.suppress(ModelFileError):
        assert isinstance(render(source, "system: S", "user: Hi", "assistant: Hel"), str)


# ------------------------------------------------------------------------------- opens_thinking


@pytest.mark.parametrize(
    ("prompt", "opens"),
    [
        ("<|im_start|>assistant\n<think>\n", True),
        ("<|im_start|>assistant\n<think>\nSo far I", True),
        ("<｜Assistant｜><think>\n", True),
        ("<|im_start|>assistant\n<think>\n\n</think>\n\n", False),
        ("<|im_start|>assistant\n", False),
        ("<|im_start|>user\nwhat is <think>?<|im_end|>\n<|im_start|>assistant\n", False),
        ("[INST] what is <think>? [/INST]", False),
        ("<|im_start|>assistant\n<think>a</think>b<|im_end|>\n<|im_start|>assistant\n<think>", True),
        ("[/INST][THINK]", True),
        ("<|turn>model\n<|channel>thought\n<channel|>", False),
        ("<|START_THINKING|><|END_THINKING|>", False),
        ("<|start|>assistant<|channel|>analysis<|message|>", True),
        ("<|start|>assistant<|channel|>final<|message|>", False),
        ("<|channel|>analysis<|message|>x<|end|><|start|>assistant", False),
        ("", False),
    ],
)
def test_opens_thinking(prompt: str, opens: bool) -> None:
    assert opens_thinking(prompt) is opens
