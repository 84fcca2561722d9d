"""Renders a model's own Jinja chat template, which comes in an untrusted file.

As Transformers' `apply_chat_template` does: the same environment, the same variables. But here a
template can neither keep the process busy nor fill its memory: what it makes is counted.
"""

from __future__ import annotations

import contextlib
import functools
import json
import re
import signal
import string
import threading
import time
import warnings
from collections.abc import Callable, ItemsView, Iterable, Iterator, KeysView, Sequence, ValuesView
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, NoReturn

from gptcli.engine.thinking import TAGS
from gptcli.errors import ModelFileError, UsageError
from gptcli.messages import Conversation, Message

if TYPE_CHECKING:
    from jinja2 import Environment, Template
    from jinja2.parser import Parser
    from jinja2.runtime import Context

MAX_SOURCE = 128 * 1024  # characters; known templates have up to 30,000
TIME_LIMIT_S = 2.0
CONTINUE_MARK = "\ue002\ue003"  # private-use characters: here an unfinished answer goes on
PROBE = "gptcliprobe"


class ChatTemplate:
    """A chat template. `bos_token` and `eos_token` are the texts of the model's own tokens."""

    def __init__(self, source: str, bos_token: str, eos_token: str) -> None:
        self._source = source
        self._tokens = {"bos_token": bos_token, "eos_token": eos_token}
        self._budget = _Budget()

    def render(
        self, conversation: Conversation, *, thinking: bool = True, now: datetime | None = None
    ) -> str:
        """Return the prompt for the next answer, or for the rest of an unfinished last one.

        A system message goes into the first user message if the template does not know the role.
        Raises ModelFileError when the template fails, or does too much.
        """
        import jinja2.ext
        import jinja2.sandbox  # noqa: F401 (before the clock runs)

        messages = conversation.messages
        if not messages:
            raise UsageError("the conversation has no messages")
        options = {"enable_thinking": thinking, "thinking": thinking, "strftime_now": _clock(now)}
        try:
            with _time_limit(TIME_LIMIT_S):
                self._budget.start(sum(len(message.content) for message in messages))
                if messages[-1].role == "assistant":
                    return self._continue(messages, options)
                return self._fill(messages, {**options, "add_generation_prompt": True})
        except (_TemplateFailedError, _LimitError) as error:
            raise ModelFileError(
                f"the chat template of this model fails: {_reason(error, messages)}", hint="--raw"
            ) from error

    def _continue(self, messages: Sequence[Message], options: dict[str, Any]) -> str:
        *earlier, last = messages
        abilities, has_system = self._abilities, any(m.role == "system" for m in earlier)
        if not has_system or not abilities.takes_system or abilities.shows_system_to_the_end:
            marked = [*earlier, Message("assistant", last.content + CONTINUE_MARK)]
            with contextlib.suppress(_TemplateFailedError):
                text = self._fill(marked, {**options, "add_generation_prompt": False})
                prompt, mark, _ = text.rpartition(CONTINUE_MARK)
                if mark:
                    return prompt
        return self._fill(earlier, {**options, "add_generation_prompt": True}) + last.content

    def _fill(self, messages: Sequence[Message], variables: dict[str, Any]) -> str:
        parts = self._abilities.takes_parts
        run = functools.partial(self._run, self._template, variables=variables, parts=parts)
        if all(message.role != "system" for message in messages):
            return run(messages)
        if not self._abilities.takes_system:
            return run(_without_system(messages))
        try:
            return run(messages)
        except _TemplateFailedError:  # not at this place, perhaps, or not two of them
            with contextlib.suppress(_TemplateFailedError):
                return run(_without_system(messages))
            raise

    @functools.cached_property
    def _abilities(self) -> _Abilities:
        asked = Message("user", PROBE)
        parts = not self._shows_probe(asked) and self._shows_probe(asked, parts=True)
        told = [Message("system", PROBE), Message("user", "x")]
        return _Abilities(
            takes_parts=parts,
            takes_system=self._shows_probe(*told, parts=parts),
            shows_system_to_the_end=self._shows_probe(*told, Message("assistant", "x"), parts=parts),
        )

    def _shows_probe(self, *messages: Message, parts: bool = False) -> bool:
        template = self._template  # it may not even compile: that is not what is asked here
        asks = messages[-1].role == "user"
        variables = {"add_generation_prompt": asks, "strftime_now": _clock(None)}
        with contextlib.suppress(_TemplateFailedError):
            return PROBE in self._run(template, messages, variables, parts=parts)
        return False

    @functools.cached_property
    def _template(self) -> Template:
        if len(self._source) > MAX_SOURCE:
            raise _TemplateFailedError(f"it is longer than {MAX_SOURCE} characters")
        return _compile(self._source, self._budget)

    def _run(
        self, template: Template, messages: Sequence[Message], variables: dict[str, Any], *, parts: bool
    ) -> str:
        written: list[str] = []
        try:
            pieces = template.generate(
                messages=[_as_dict(message, parts=parts) for message in messages],
                tools=None,
                documents=None,
                **self._tokens,
                **variables,
            )
            written.extend(self._budget.made(piece) for piece in pieces)
        except Exception as error:  # a template may raise anything
            raise _TemplateFailedError(_describe(error)) from error
        return "".join(written)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Abilities:
    """What a template does with messages, found out by trying."""

    takes_parts: bool  # it wants each content as a list of parts, as templates for images do
    takes_system: bool
    shows_system_to_the_end: bool  # Mistral Nemo's does so only while a user message is the last one


def _as_dict(message: Message, *, parts: bool) -> dict[str, Any]:
    content = [{"type": "text", "text": message.content}] if parts else message.content
    return {"role": message.role, "content": content}


def opens_thinking(prompt: str) -> bool:
    """Tell whether the prompt ends inside a thinking block, so that the answer begins with thinking.

    An opener that another turn follows does not count: somebody only wrote about it.
    """
    openers = [(prompt.rfind(opener), opener) for opener in TAGS]
    openers += [(match.start(), match[0]) for match in _HARMONY_ANALYSIS.finditer(prompt)]
    start, opener = max(openers)
    rest = prompt[start + len(opener) :]
    return start >= 0 and TAGS.get(opener, "<|end|>") not in rest and not _TURN_MARK.search(rest)


# Where a turn begins or ends in the usual chat formats: <|im_end|>, <｜User｜>, [/INST], </s>, …
_TURN_MARK = re.compile(r"<[|｜]|[|｜]>|\[/?(?:INST|SYSTEM_PROMPT)\]|</?s>|<(?:start|end)_of_turn>")
_HARMONY_ANALYSIS = re.compile(r"<\|channel\|>(?!final)[^<]{1,64}<\|message\|>")


def _without_system(messages: Sequence[Message]) -> list[Message]:
    """Return the messages with the system's texts at the start of the user message after them."""
    merged: list[Message] = []
    waiting: list[str] = []
    for message in messages:
        if message.role == "system":
            waiting.append(message.content)
        elif not waiting:
            merged.append(message)
        elif message.role == "user":
            merged.append(Message("user", "\n\n".join([*waiting, message.content])))
            waiting = []
        else:
            merged += [Message("user", "\n\n".join(waiting)), message]
            waiting = []
    if waiting:
        merged.append(Message("user", "\n\n".join(waiting)))
    return merged


def _clock(now: datetime | None) -> Callable[[str], str]:
    moment = now or datetime.now().astimezone()

    def strftime_now(form: str) -> str:
        if len(form) > 100 or re.search(r"%\W*\d", form):  # glibc pads to any width
            raise _LimitError(f"it asks for the time as {form[:20]!r}")
        return moment.strftime(form)

    return strftime_now


# ----------------------------------------------------------------------------------------- errors


class _TemplateFailedError(Exception):
    """The template raised something; the text says what, in one line."""


class _LimitError(BaseException):
    """The template does too much. No `Exception`, so that no code of Jinja takes it for its own."""


def _describe(error: Exception) -> str:
    import jinja2

    if isinstance(error, RecursionError | MemoryError):
        return "it is nested too deeply"
    raw = error.message if isinstance(error, jinja2.TemplateSyntaxError) else str(error)
    text = " ".join((raw or type(error).__name__).split())
    text = "".join(character for character in text if character.isprintable())[:200]
    if isinstance(error, jinja2.TemplateSyntaxError):
        return f"{text} (line {error.lineno})"
    return text if isinstance(error, jinja2.TemplateError) else f"{type(error).__name__}: {text}"


def _reason(error: BaseException, messages: Sequence[Message]) -> str:
    turns = [message.role for message in messages if message.role != "system"]
    expected = [("user", "assistant")[n % 2] for n in range(len(turns))]
    if turns == expected or isinstance(error, _LimitError):
        return str(error)
    return f"it wants user and assistant to take turns, beginning with the user ({error})"


@contextlib.contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Raise _LimitError in the block after `seconds`, wherever it is.

    Signals reach the main thread only, and Windows has no timer for them; there, the clock is
    looked at whenever the template does something (`_Budget.step`).
    """
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return
    running = True

    def stop(_signal: int, _frame: object) -> None:
        if running:
            raise _LimitError("it takes too long")

    previous = signal.signal(signal.SIGALRM, stop)
    # Again and again, in case the first one is raised where exceptions are lost, as in a destructor.
    earlier = signal.setitimer(signal.ITIMER_REAL, seconds, 0.1)
    try:
        try:
            yield
        finally:
            running = False
    finally:
        signal.setitimer(signal.ITIMER_REAL, *earlier)
        signal.signal(signal.SIGALRM, previous or signal.SIG_DFL)


# ---------------------------------------------------------------------------------------- sandbox

BASE_BUDGET, BUDGET_PER_CHARACTER = 32 << 20, 64
BASE_SIZE, SIZE_PER_CHARACTER = 1 << 20, 4
STEP_COST = 64  # so at least 524,288 calls and rounds of loops
MAX_ITEMS = 100_000
MAX_BITS = 4096
MAX_DEPTH = 50

# The methods a template may call. Padding (center, ljust, zfill, expandtabs, …) and encoding are
# left out on purpose; format, join and replace are measured before they run.
TEXT_METHODS = (
    "capitalize casefold count endswith find format format_map index isalnum isalpha isascii isdecimal "
    "isdigit islower isnumeric isprintable isspace istitle isupper join lower lstrip partition "
    "removeprefix removesuffix replace rfind rindex rpartition rsplit rstrip split splitlines "
    "startswith strip swapcase title upper"
)
METHODS = {
    str: frozenset(TEXT_METHODS.split()),
    list: frozenset(("count", "index")),
    tuple: frozenset(("count", "index")),
    dict: frozenset(("get", "items", "keys", "values")),
    **dict.fromkeys((int, float, bool, range, type(None)), frozenset[str]()),
}
# Jinja's filters that make about as much as they are given.
PLAIN_FILTERS = (
    "abs capitalize count d default dictsort first float groupby int items last length list lower map "
    "max min reject rejectattr reverse select selectattr sort string title trim truncate unique upper "
    "urlencode wordcount"
)


class _Budget:
    """Counts what a template does and makes; raises _LimitError when that is too much."""

    def __init__(self) -> None:
        self._left = 0  # steps and characters
        self._largest = 0  # characters and items of one value, written out in full
        self._deadline = 0.0
        self._known: dict[int, tuple[object, int, int]] = {}  # by id: the container, size and depth
        self.opaque: type = type(None)  # Jinja's Namespace: may hold itself, and anything

    def start(self, prompt_characters: int) -> None:
        self._left = BASE_BUDGET + BUDGET_PER_CHARACTER * prompt_characters
        self._largest = BASE_SIZE + SIZE_PER_CHARACTER * prompt_characters
        self._deadline = time.monotonic() + TIME_LIMIT_S
        self._known.clear()

    def spend(self, cost: int) -> None:
        self._left -= cost
        if self._left < 0:
            raise _LimitError("it does too much")

    def step(self) -> None:
        """Count a call or a round of a loop."""
        self.spend(STEP_COST)
        if time.monotonic() > self._deadline:
            raise _LimitError("it takes too long")

    def made(self, value: Any) -> Any:
        """Count a value that the template has made, and return it; iterators as lists."""
        if isinstance(value, Iterator | ItemsView | KeysView | ValuesView):
            value = list(islice(value, MAX_ITEMS + 1))
        if isinstance(value, str):
            self.spend(len(value))
        if not isinstance(value, self.opaque):
            self.size(value)
        return value

    def size(self, value: Any) -> int:
        """Return the characters and items of a value, counting shared parts each time they occur."""
        return self.measure(value)[0]

    def measure(self, value: Any) -> tuple[int, int]:
        """Return the size, and how deep lists and dicts are nested in the value."""
        if isinstance(value, str):
            size, depth = len(value), 0
        elif isinstance(value, int):
            size, depth = value.bit_length(), 0
            if size > MAX_BITS:
                raise _LimitError("it computes with huge numbers")
        elif isinstance(value, list | tuple | dict):
            size, depth = self._measure_container(value)
        elif isinstance(value, self.opaque):
            raise _LimitError("it uses a namespace as a value")
        else:
            size, depth = 8, 0
        if size > self._largest or depth > MAX_DEPTH:
            raise _LimitError("it makes a value too large")
        return size, depth

    def _measure_container(self, value: Any) -> tuple[int, int]:
        known = self._known.get(id(value))
        if known is not None:
            return known[1:]
        parts = [*value, *value.values()] if isinstance(value, dict) else value
        if len(parts) > MAX_ITEMS:
            raise _LimitError("it makes a list too long")
        self.spend(len(parts))
        size, depth = len(parts), 0
        for part in parts:
            part_size, part_depth = self.measure(part)
            size, depth = size + part_size, max(depth, part_depth)
        depth += 1
        self._known[id(value)] = (value, size, depth)  # holding it: the id stays its own
        return size, depth

    # ------------------------------------------------------- what would make much out of little

    def foresee(self, size: int) -> None:
        self.spend(max(size, 0))
        if size > self._largest:
            raise _LimitError("it makes a value too large")

    def foresee_method(self, text: str, method: str, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the arguments as they should be passed."""
        if method == "replace" and len(args) >= 2:
            self.foresee_replace(text, args[0], args[1])
        elif method == "join" and args:
            items = self.made(iter(args[0]))
            self.foresee_join(text, items)
            return (items,)
        return args

    def foresee_replace(self, text: str, old: str, new: str) -> None:
        self.foresee(text.count(old) * len(new))

    def foresee_join(self, separator: str, items: Sequence[object]) -> None:
        self.foresee(len(separator) * len(items))

    def foresee_operator(self, operator: str, left: Any, right: Any) -> None:
        if operator == "*":
            for sequence, count in ((left, right), (right, left)):
                if isinstance(sequence, str | list | tuple) and isinstance(count, int):
                    self.foresee(len(sequence) * count)
        elif operator == "**" and isinstance(left, int) and isinstance(right, int):
            if left.bit_length() * right > MAX_BITS:
                raise _LimitError("it computes with huge numbers")
        elif operator == "%" and isinstance(left, str):
            self.foresee_percent(left, right)

    def foresee_percent(self, form: str, arguments: Any) -> None:
        if re.search(r"\*|\d{4}", form.partition("%")[2]):
            raise _LimitError("it formats to a huge width")
        self._foresee_fields(form.count("%"), arguments)

    def foresee_format(self, form: str, arguments: Sequence[Any]) -> None:
        fields = 0
        for _, field, spec, _ in string.Formatter().parse(form):
            fields += field is not None
            if spec and re.search(r"\{|\d{4}", spec):
                raise _LimitError("it formats to a huge width")
        self._foresee_fields(fields, arguments)

    def _foresee_fields(self, count: int, arguments: Any) -> None:
        size, depth = self.measure(arguments)
        # A text inside a list is written with escapes: \U0001f600.
        self.spend(count * (1000 + size * (10 if depth > 1 else 1)))


def _compile(source: str, budget: _Budget) -> Template:
    """Return the template, changed so that it counts what it does. Raises _TemplateFailedError."""
    environment = _environment(budget)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # of the Python code that Jinja writes
            tree = _counting().visit(environment.parse(source))
            tree.set_environment(environment)
            return environment.from_string(tree)
    except Exception as error:  # Jinja and Python's own compiler: syntax, recursion, memory, values
        raise _TemplateFailedError(_describe(error)) from error


def _counting() -> Any:
    """Return a visitor that makes loops and everything that builds values pass through the budget."""
    from jinja2 import TemplateSyntaxError, nodes
    from jinja2.visitor import NodeTransformer

    def through(name: str, node: nodes.Expr) -> nodes.Filter:
        return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)

    class Counting(NodeTransformer):
        def visit_For(self, node: nodes.For) -> nodes.For:  # noqa: N802
            self.generic_visit(node)
            step = through("_step", nodes.Const(True, lineno=node.lineno))
            node.body.insert(0, nodes.ExprStmt(step, lineno=node.lineno))
            if node.test is not None:
                node.test = nodes.And(step, node.test, lineno=node.lineno)
            return node

        def visit_Concat(self, node: nodes.Concat) -> nodes.Filter:  # noqa: N802
            self.generic_visit(node)
            return through("_concat", nodes.List(node.nodes, lineno=node.lineno))

        def visit_List(self, node: nodes.Expr) -> nodes.Expr:  # noqa: N802
            self.generic_visit(node)
            return through("_whole", node)

        def visit_Tuple(self, node: nodes.Tuple) -> nodes.Expr:  # noqa: N802
            self.generic_visit(node)
            return through("_whole", node) if node.ctx == "load" else node

        def visit_Getitem(self, node: nodes.Getitem) -> nodes.Expr:  # noqa: N802
            self.generic_visit(node)
            return through("_whole", node) if isinstance(node.arg, nodes.Slice) else node

        def visit_ScopedEvalContextModifier(self, node: nodes.Node) -> NoReturn:  # noqa: N802
            raise TemplateSyntaxError("it switches autoescape", node.lineno)

        visit_Dict = visit_List  # noqa: N815

    return Counting()


def _environment(budget: _Budget) -> Environment:
    """Return the environment that Transformers gives chat templates, with a budget."""
    from jinja2 import nodes
    from jinja2.exceptions import TemplateError
    from jinja2.ext import Extension
    from jinja2.sandbox import ImmutableSandboxedEnvironment, safe_range
    from jinja2.utils import Namespace

    class Generation(Extension):
        """`{% generation %}` marks what a model is trained on; its body is all that matters here."""

        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser: Parser) -> list[nodes.Node]:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    class BoundedEnvironment(ImmutableSandboxedEnvironment):
        intercepted_binops = frozenset(ImmutableSandboxedEnvironment.default_binop_table)

        def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
            allowed = METHODS.get(type(obj))
            return super().is_safe_attribute(obj, attr, value) and (allowed is None or attr in allowed)

        def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
            formatted = super().wrap_str_format(value)
            if formatted is None:
                return None

            def bounded(*args: Any, **kwargs: Any) -> str:
                budget.foresee_format(value.__self__, (*args, *kwargs.values()))
                return formatted(*args, **kwargs)

            return bounded

        def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
            budget.step()
            text = getattr(__obj, "__self__", None)
            if isinstance(text, str):
                args = budget.foresee_method(text, __obj.__name__, args)
            return budget.made(super().call(__context, __obj, *args, **kwargs))

        def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
            budget.step()
            budget.foresee_operator(operator, left, right)
            return budget.made(super().call_binop(context, operator, left, right))

        def concat(self, pieces: Iterable[str]) -> str:
            pieces = list(pieces)
            budget.spend(len(pieces) + sum(map(len, pieces)))
            return str(budget.made("".join(pieces)))

    def shown(value: Any) -> Any:
        budget.size(value)
        return value

    def raise_exception(message: object) -> NoReturn:
        raise TemplateError(str(message))

    budget.opaque = Namespace
    environment = BoundedEnvironment(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.loopcontrols", Generation],
        optimized=False,  # it would compute constants while compiling
        finalize=shown,
    )
    environment.globals = {
        "dict": dict,
        "namespace": Namespace,
        "raise_exception": raise_exception,
        "range": safe_range,
    }
    environment.filters = _filters(environment, budget)
    return environment


def _filters(environment: Environment, budget: _Budget) -> dict[str, Callable[..., Any]]:
    """Return the filters of the sandbox: Jinja's own where they are harmless, else bounded ones."""
    from jinja2 import pass_context
    from jinja2.filters import FILTERS, do_indent, make_attrgetter
    from markupsafe import escape

    def replace(text: object, old: object, new: object, count: int | None = None) -> str:
        budget.foresee_replace(str(text), str(old), str(new))
        return str(text).replace(str(old), str(new), -1 if count is None else count)

    def join(items: Iterable[Any], d: object = "", attribute: str | int | None = None) -> str:
        if attribute is not None:
            items = map(make_attrgetter(environment, attribute), items)
        texts = [str(item) for item in items]
        budget.foresee_join(str(d), texts)
        return str(d).join(texts)

    def indent(text: str, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
        budget.foresee((text.count("\n") + 1) * (width if isinstance(width, int) else len(width)))
        return do_indent(text, width, first, blank)

    def percent(form: object, *args: Any, **kwargs: Any) -> str:
        budget.foresee_percent(str(form), kwargs or args)
        return str(form) % (kwargs or args)

    def tojson(
        value: Any,
        ensure_ascii: bool = False,
        indent: int | str | None = None,
        separators: tuple[str, str] | None = None,
        sort_keys: bool = False,
    ) -> str:
        margin = indent if isinstance(indent, int) else len(indent or "")
        size, depth = budget.measure(value)
        budget.spend(size * (margin * depth + budget.size(separators)))
        return json.dumps(
            value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
        )

    def concat(parts: Iterable[object]) -> str:
        return "".join(map(str, parts))

    def text(value: object) -> str:
        return str(value)

    def escaped(value: object) -> str:
        return str(escape(str(value)))

    def whole(value: Any) -> Any:
        return value

    @pass_context
    def step(_context: Context, value: Any) -> Any:  # with the context, it is not a constant
        return value

    def bounded(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def measured(*args: Any, **kwargs: Any) -> Any:
            budget.step()
            for value in (*args, *kwargs.values()):
                budget.size(value)
            return budget.made(function(*args, **kwargs))

        return measured

    own = {
        "e": escaped,
        "escape": escaped,
        "forceescape": escaped,
        "format": percent,
        "indent": indent,
        "join": join,
        "replace": replace,
        "safe": text,
        "tojson": tojson,
        "_concat": concat,
        "_step": step,
        "_whole": whole,
    }
    return {
        name: bounded(do)
        for name, do in (*((n, FILTERS[n]) for n in PLAIN_FILTERS.split()), *own.items())
    }
