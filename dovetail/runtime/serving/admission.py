"""What a server can hold: asked by its front before the engine is, and by the engine again. No torch."""

from __future__ import annotations

from dovetail.core.errors import DovetailError
from dovetail.runtime.serving.request import Facts


def refuse(facts: Facts, prompt: int, most: int) -> None:
    """Raise `DovetailError` for a text that an engine could not hold, saying why."""
    if prompt < 1 or most < 1:
        what = "the prompt has no token" if prompt < 1 else f"cannot make {most} tokens"
        raise DovetailError(what, hint="a prompt of at least one token, and at least one to make")
    asked = prompt + most
    if asked > facts.context:
        why = f"{prompt} of the prompt and {most} new are {asked} tokens, the model holds {facts.context}"
        raise DovetailError("beyond the model's context", why=why, hint="a shorter prompt, or a smaller max_tokens")
    if asked > facts.longest:
        free = facts.cache_bytes / 1e9
        why = (
            f"{asked} tokens, prompt and new, need more than the {free:.3g} GB for keys and values; {facts.longest} fit"
        )
        hint = f"prompt and max_tokens of {facts.longest} together, or a server with more memory for its cache"
        raise DovetailError("beyond this server's memory", why=why, hint=hint)
