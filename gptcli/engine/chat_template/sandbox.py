"""The environment that templates run in: Jinja's sandbox, with a budget."""

from __future__ import annotations

import functools
import json
import warnings
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NoReturn

from gptcli.engine.chat_template.budget import Budget

if TYPE_CHECKING:
    from jinja2 import Environment, Template
    from jinja2.parser import Parser
    from jinja2.runtime import Context

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


class TemplateFailedError(Exception):
    """The template raised something; the text says what, in one line."""


def compile_template(source: str, budget: Budget) -> Template:
    """Return the template, changed so that it counts what it does. Raises TemplateFailedError."""
    environment = _environment(budget)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # of the Python code that Jinja writes
            tree = _counting().visit(environment.parse(source))
            tree.set_environment(environment)
            return environment.from_string(tree)
    except Exception as error:  # Jinja and Python's own compiler: syntax, recursion, memory, values
        raise TemplateFailedError(describe(error)) from error


def describe(error: Exception) -> str:
    """Return in one line what went wrong in a template."""
    import jinja2

    if isinstance(error, RecursionError | MemoryError):
        return "it is nested too deeply"
    raw = error.message if isinstance(error, jinja2.TemplateSyntaxError) else str(error)
    text = " ".join((raw or type(error).__name__).split())
    text = "".join(character for character in text if character.isprintable())[:200]
    if isinstance(error, jinja2.TemplateSyntaxError):
        return f"{text} (line {error.lineno})"
    return text if isinstance(error, jinja2.TemplateError) else f"{type(error).__name__}: {text}"


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


def _environment(budget: Budget) -> Environment:
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


def _filters(environment: Environment, budget: Budget) -> dict[str, Callable[..., Any]]:
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
