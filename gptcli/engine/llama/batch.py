"""Tokens of several sequences, evaluated in one call of llama.cpp."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gptcli.engine.backend import Aborted, Span
from gptcli.errors import GptcliError


def decode(
    lib: Any,
    context: Any,
    batch: Any,
    spans: Iterable[Span],
    *,
    least: int = 1,
    multiple: int = 1,
    rows_multiple: int = 1,
) -> int:
    """Evaluate the spans, as many tokens as the batch has room for, and set their rows.

    There are at least so many tokens, and multiples of so many tokens and rows of logits: return how
    many tokens were added for that behind the last span, in its sequence. Raises Aborted or GptcliError:
    what the context's memory holds then is of no use.
    """
    n = outputs = added = 0
    for span in spans:
        span.row = n
        last = len(span.tokens) - 1
        for offset, token in enumerate(span.tokens):
            batch.token[n] = token
            batch.pos[n] = span.start + offset
            batch.n_seq_id[n] = 1
            batch.seq_id[n][0] = span.sequence
            batch.logits[n] = span.all_rows or (span.is_end and offset == last)
            outputs += batch.logits[n]
            n += 1
    while n < least or n % multiple:
        batch.token[n], batch.pos[n] = batch.token[n - 1], batch.pos[n - 1] + 1
        batch.n_seq_id[n], batch.seq_id[n][0] = 1, batch.seq_id[n - 1][0]
        batch.logits[n] = False
        n, added = n + 1, added + 1
    for row in range(n):
        if outputs % rows_multiple and not batch.logits[row]:
            batch.logits[row] = True
            outputs += 1
    batch.n_tokens = n
    status = lib.llama_decode(context, batch)
    if status == 2:
        raise Aborted
    if status != 0:
        raise GptcliError(f"llama.cpp could not evaluate the text (llama_decode: {status})")
    return added
