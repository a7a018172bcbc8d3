"""Conversations as a prompt: by the tokenizer's own template, or by a plain one where it has none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dovetail.app.serving.asked import Message
from dovetail.app.serving.problem import ApiError

PLAIN_STOPS = ("\nuser:", "\nsystem:")  # where a model without a template goes on with the other's turn


def templated(tokenizer: Any) -> bool:
    """Whether a tokenizer says how conversations are written."""
    return bool(getattr(tokenizer, "chat_template", None))


def prompt(tokenizer: Any, messages: Sequence[Message]) -> str:
    """The text after which the assistant's turn comes. Raises `ApiError` where the template refuses the messages.

    Without a template a conversation is written as turns of ``role: text``, an empty line between them, and
    ``assistant:`` at the end.
    """
    turns = [message.plain for message in messages]
    if not templated(tokenizer):
        return "".join(f"{turn['role']}: {turn['content']}\n\n" for turn in turns) + "assistant:"
    try:
        return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
    except Exception as error:  # whatever a template raises, about roles that do not alternate above all
        raise ApiError(400, f"messages: the model's template refuses them: {error}"[:300], param="messages") from None
