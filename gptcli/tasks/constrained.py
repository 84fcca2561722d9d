"""Grammars that let a model write freely, but for what must, or must not, stand in its answer."""

from __future__ import annotations

from collections.abc import Sequence

from gptcli.sampling import OutputConstraint


def carrying(pieces: Sequence[str], without: str = "") -> OutputConstraint:
    """Return the grammar of one line in which each piece occurs, once, in this order.

    What begins a piece is otherwise forbidden, unless it is a letter, so that none is doubled; so are
    the letters that `without` gives as a class has them.
    """
    heads = {piece[0] for piece in pieces if not piece[0].isalpha()}
    if any(piece[0].isdigit() for piece in pieces):
        heads |= set("0123456789")
    forbidden = "".join(map(_escaped, sorted(heads | {"\n", "\r"})))
    between = f"[^{forbidden}{without}]*"
    body = f" {between} ".join(_literal(piece) for piece in pieces)
    return OutputConstraint("grammar", f'root ::= {between} {body} {between} "\\n"?\n')


def without(letters: str) -> OutputConstraint:
    """Return the grammar of one line that has none of the letters, given as a class has them."""
    return OutputConstraint("grammar", f'root ::= [^{letters}\\n\\r]+ "\\n"?\n')


def only_names() -> OutputConstraint:
    """Return the grammar of one line in which words in Latin letters begin with a capital one."""
    capitals, letters = r"A-Z\u00c0-\u00de", r"A-Za-z\u00c0-\u024f"
    return OutputConstraint(
        "grammar", f'root ::= ([{capitals}] [{letters}]* | [^{letters}\\n\\r])+ "\\n"?\n'
    )


def _literal(piece: str) -> str:
    return '"' + "".join(map(_escaped, piece)) + '"'


def _escaped(char: str) -> str:
    if char in '\\"[]-^':
        return f"\\x{ord(char):02x}"
    if char.isprintable():
        return char
    return f"\\x{ord(char):02x}" if ord(char) < 0x100 else f"\\u{ord(char):04x}"
