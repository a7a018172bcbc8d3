"""Which layers a list in a checkpoint's config names: exact names, globs and regular expressions.

Lists are written in the names of the checkpoint on the hub, tensors in those of the graph: the decoder may sit at
``model``, ``language_model.model`` or ``backbone``, and all experts of a layer may be one tensor or many.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import translate
from functools import cached_property

from dovetail.model.config import Config

_ROOTS = ("model.language_model.", "language_model.model.", "language_model.", "backbone.", "model.", "")
_EXPERTS = {"gate_up_proj": ("gate_proj", "w1"), "down_proj": ("down_proj", "w2")}
_IMAGES = re.compile(r"(^|\.)(visual|vision|vision_tower|vision_model|multi_modal_projector|embed_vision)\b")


def spellings(module: str) -> Iterator[str]:
    """How a checkpoint may call the layer that the graph calls `module` (a tensor's name without ``.weight``)."""
    stem, _, last = module.rpartition(".")
    if stem.endswith("experts") and last in _EXPERTS:
        for part in _EXPERTS[last]:
            yield from spellings(f"{stem}.0.{part}")
    if _IMAGES.search(module):
        yield from (module, module.removeprefix("model."))
        return
    core = next(module[len(root) :] for root in _ROOTS if module.startswith(root))
    yield from (root + core for root in _ROOTS)


@dataclass(frozen=True)
class Names:
    """A list of layers as ``ignore``, ``exclude_modules``, ``modules_to_not_convert`` or ``targets`` writes it.

    A pattern means the layer of that name and all below it, wherever the name starts (``gate``, ``lm_head``); with
    ``*`` or ``?`` it is a glob, after ``re:`` a regular expression that must match from the start.
    """

    patterns: tuple[str, ...]

    @staticmethod
    def of(config: Config, *keys: str) -> Names:
        """The layers that a field (or the first of its aliases) lists; none when absent."""
        key = next((k for k in keys if config.fields.get(k)), keys[0])
        value = config.fields.get(key) or []
        if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
            raise config.error(key, "is not a list of names")
        for pattern in _expressions(value):
            try:
                re.compile(pattern)
            except (re.error, RecursionError, OverflowError) as error:
                raise config.error(key, f"'re:{pattern}'"[:80], why=f"not a regular expression: {error}") from None
        return Names(tuple(value))

    def __contains__(self, module: object) -> bool:
        """Whether the list names `module`, in any of its `spellings`."""
        return any(self._matches(name) for name in spellings(str(module)))

    def _matches(self, name: str) -> bool:
        parts = name.split(".")
        ends = range(1, len(parts) + 1)
        above, tails = (".".join(parts[:n]) for n in ends), (".".join(parts[-n:]) for n in ends)
        named = not self._exact.isdisjoint((*above, *tails))
        return named or any(p.match(name) for p in self._written)

    @cached_property
    def _exact(self) -> frozenset[str]:
        return frozenset(p for p in self.patterns if not _is_pattern(p))

    @cached_property
    def _written(self) -> tuple[re.Pattern[str], ...]:
        """One expression for all globs, then the regular expressions."""
        globs = [p for p in self.patterns if _is_pattern(p) and not p.startswith("re:")]
        below = [f"{p}.*" for p in globs if not p.endswith("*")]
        whole = "|".join(map(translate, globs + below))
        return tuple(map(re.compile, ([whole] if whole else []) + _expressions(self.patterns)))


def _is_pattern(text: str) -> bool:
    return text.startswith("re:") or "*" in text or "?" in text


def _expressions(patterns: Iterable[str]) -> list[str]:
    return [p.removeprefix("re:") for p in patterns if p.startswith("re:")]
