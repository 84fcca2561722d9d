"""Which licences ask to be accepted before their model is used."""

from __future__ import annotations

import re

# Not approved by the Open Source Initiative: they restrict who may use the model, or for what.
_TO_ACCEPT = re.compile(
    r"gemma|llama\d.*|lfm.*|tencent.*|hunyuan.*|qwen(-research)?|cc-by-nc.*|openrail.*|bigscience.*|"
    r"creativeml.*|deepseek.*|falcon.*|nvidia.*|mrl|exaone.*|other",
    re.IGNORECASE,
)


def must_be_accepted(license_id: str) -> bool:
    """Tell whether the licence, as the Hub names it, asks for the user's consent."""
    return bool(_TO_ACCEPT.fullmatch(license_id))
