"""What embedding models want before a passage and before a question, as their cards say."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EmbeddingForm:
    """What stands before a passage, and before a question that is to find it."""

    passage: str = ""
    question: str = ""


_SENTENCE = EmbeddingForm(question="Represent this sentence for searching relevant passages: ")
_FORMS = (
    ("nomicembed", EmbeddingForm("search_document: ", "search_query: ")),
    ("embeddinggemma", EmbeddingForm("title: none | text: ", "task: search result | query: ")),
    (
        "qwen3embedding",
        EmbeddingForm(
            question="Instruct: Given a web search query, "
            "retrieve relevant passages that answer the query\nQuery:"
        ),
    ),
    ("arcticembedlv2", EmbeddingForm(question="query: ")),
    ("arcticembedmv2", EmbeddingForm(question="query: ")),
    ("arcticembed", _SENTENCE),
    ("mxbaiembed", _SENTENCE),
    ("bgesmallen", _SENTENCE),
    ("bgebaseen", _SENTENCE),
    ("bgelargeen", _SENTENCE),
    ("e5", EmbeddingForm("passage: ", "query: ")),
)


def embedding_form(model_name: str) -> EmbeddingForm:
    """Return the form of a model by its name; texts as they are where it is not known."""
    name = re.sub(r"[\W_]", "", model_name.lower())
    return next((form for part, form in _FORMS if part in name), EmbeddingForm())
