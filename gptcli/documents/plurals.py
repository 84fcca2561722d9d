"""Plural forms of gettext, by language.

The rules are those of the GNU gettext manual (section "Plural forms") and of Unicode CLDR for integers,
in the shape that gettext's own tools write.
"""

from __future__ import annotations

import gettext
import re
from dataclasses import dataclass

from gptcli.documents.segments import PluralForm

_ONE = "(n != 1)"
_ZERO_ONE = "(n > 1)"
_SLAVIC = "(n%10==1 && n%100!=11 ? 0 : n%10>=2 && n%10<=4 && (n%100<12 || n%100>14) ? 1 : 2)"
RULES: tuple[tuple[int, str, str], ...] = (
    (1, "0", "ay bm bo dz id ig ja jbo jv ko lo ms my sah su th to tt ug vi wo yo zh"),
    (2, _ZERO_ONE, "ach ak am br fa fr hy gun ln mfe mg mi oc pt-br tg ti tr uz wa"),
    (2, "(n%10!=1 || n%100==11)", "is mk"),
    (3, _SLAVIC, "be bs hr ru sr uk"),
    (3, "(n==1 ? 0 : n>=2 && n<=4 ? 1 : 2)", "cs sk"),
    (3, "(n==1 ? 0 : n%10>=2 && n%10<=4 && (n%100<12 || n%100>14) ? 1 : 2)", "csb pl"),
    (3, "(n==1 ? 0 : (n==0 || (n%100>0 && n%100<20)) ? 1 : 2)", "mo ro"),
    (3, "(n%10==1 && n%100!=11 ? 0 : n%10>=2 && (n%100<10 || n%100>=20) ? 1 : 2)", "lt"),
    (3, "(n%10==1 && n%100!=11 ? 0 : n!=0 ? 1 : 2)", "lv"),
    (4, "(n%100==1 ? 0 : n%100==2 ? 1 : n%100==3 || n%100==4 ? 2 : 3)", "dsb hsb sl"),
    (4, "(n==1 || n==11 ? 0 : n==2 || n==12 ? 1 : n>2 && n<20 ? 2 : 3)", "gd"),
    (4, "(n==1 ? 0 : n==0 || (n%100>1 && n%100<11) ? 1 : n%100>10 && n%100<20 ? 2 : 3)", "mt"),
    (4, "(n==1 ? 0 : n==2 ? 1 : n!=8 && n!=11 ? 2 : 3)", "cy"),
    (5, "(n==1 ? 0 : n==2 ? 1 : n<7 ? 2 : n<11 ? 3 : 4)", "ga"),
    (
        6,
        "(n==0 ? 0 : n==1 ? 1 : n==2 ? 2 : n%100>=3 && n%100<=10 ? 3 : n%100>=11 ? 4 : 5)",
        "ar ars",
    ),
    (3, "(n==1 ? 0 : n==2 ? 1 : 2)", "he iu kw naq se sma smi smj smn sms"),
)
HEADER = re.compile(r"nplurals\s*=\s*(\d+)\s*;\s*plural\s*=\s*([^;\n]+)")
NUMBERS = range(201)  # every rule above tells its forms apart among these
EXAMPLES = 4


@dataclass(frozen=True, slots=True)
class PluralRule:
    """How many forms there are, and which one a number takes."""

    count: int
    expression: str  # in C, of n

    def __str__(self) -> str:
        return f"nplurals={self.count}; plural={self.expression};"

    @property
    def forms(self) -> tuple[PluralForm, ...]:
        choose = gettext.c2py(self.expression)
        numbers: dict[int, list[int]] = {}
        for number in NUMBERS:
            numbers.setdefault(choose(number), []).append(number)
        return tuple(
            PluralForm(form, self.count, tuple(numbers.get(form, [])[:EXAMPLES]))
            for form in range(self.count)
        )


def rule_of(language: str) -> PluralRule:
    """Return the rule of a language by its BCP 47 tag; two forms, as in English, for an unknown one."""
    tag = language.lower().replace("_", "-")
    base = tag.split("-")[0]
    for name in (tag, base):
        for count, expression, languages in RULES:
            if name in languages.split():
                return PluralRule(count, expression)
    return PluralRule(2, _ONE)


def rule_in(header: str) -> PluralRule | None:
    """Return the rule that a PO header states, None if it states none that can be read."""
    found = HEADER.search(header)
    if not found or not 1 <= int(found[1]) <= 10:
        return None
    rule = PluralRule(int(found[1]), found[2].strip())
    try:
        return rule if all(form.index < rule.count for form in rule.forms) else None
    except (ValueError, ZeroDivisionError, OverflowError, RecursionError):
        return None
