"""Renders a model's own Jinja chat template, which comes in an untrusted file.

As Transformers' `apply_chat_template` does: the same environment, the same variables. But here a
template can neither keep the process busy nor fill its memory: what it makes is counted.
"""

from __future__ import annotations

from gptcli.engine.chat_template.template import ChatTemplate, opens_thinking

__all__ = ["ChatTemplate", "opens_thinking"]
