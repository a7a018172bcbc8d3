"""Lists with one entry for each layer, as configs write them: kinds of attention, kinds of feed-forward."""

from __future__ import annotations

from dovetail.model.config import Config


def kinds(config: Config, key: str, known: tuple[str, ...], default: list[str]) -> list[str]:
    """The kind of each layer, of those `known`; `default` where the config is silent.

    Entries beyond the last layer describe multi-token-prediction layers, which are not part of the model's step.

    Raises
    ------
    DovetailError
        Too few entries, or one that is not known.
    """
    found = config.fields.get(key) or default
    if not isinstance(found, list) or len(found) < config.layers:
        raise config.error(key, f"{found!r} does not list a kind for each of {config.layers} layers")
    for kind in found:
        if kind not in known:
            raise config.error(key, f"{kind!r} is not known", why=f"one of {', '.join(known)}")
    return found[: config.layers]


def flags(config: Config, key: str) -> list[bool] | None:
    """A list of 0 and 1 (or booleans), one for each layer; None where the config has none."""
    found = config.fields.get(key)
    if found is None:
        return None
    if not isinstance(found, list) or len(found) < config.layers or any(v not in (0, 1) for v in found):
        raise config.error(key, f"{found!r} does not list 0 or 1 for each of {config.layers} layers")
    return [bool(v) for v in found[: config.layers]]
