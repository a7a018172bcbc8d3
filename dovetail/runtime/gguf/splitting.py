"""How text is cut before byte-pair merging: GGUF names one of llama.cpp's built-in ways, and holds no other.

The patterns are those of the models after which llama.cpp calls them, as their own ``tokenizer.json`` has them.
"""

from __future__ import annotations

from typing import Any

from dovetail.core.lazy import require

_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_CASES = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_TAIL = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_WORD = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_MIXED = rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*"

WAYS: dict[str, tuple[str, ...]] = {
    "gpt-2": (_GPT2,),
    "smollm": (r"\p{N}", _GPT2),
    "llama-bpe": (rf"{_CASES}|{_WORD}|\p{{N}}{{1,3}}|{_TAIL}",),
    "qwen2": (rf"{_CASES}|{_WORD}|\p{{N}}|{_TAIL}",),
    "tekken": (rf"{_MIXED}|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",),
    "superbpe": (r"\p{N}+", r"(?=(\d{3})+(?!\d))"),  # words are not parted at all
}
"""GGUF's ``tokenizer.ggml.pre`` to the patterns that cut a text, one after the other."""


def named(pre_tokenizer: dict[str, Any] | None) -> str | None:
    """The way with exactly the patterns of a ``pre_tokenizer`` of ``tokenizer.json``; None where none has them."""
    patterns = tuple(_patterns(pre_tokenizer or {}))
    return next((name for name, way in WAYS.items() if way == patterns), None)


def _patterns(step: dict[str, Any]) -> list[str]:
    kind = step.get("type")
    if kind == "Sequence":
        return [pattern for part in step.get("pretokenizers", []) for pattern in _patterns(part)]
    if kind == "ByteLevel":
        return ["a space before"] * bool(step.get("add_prefix_space")) + [_GPT2] * bool(step.get("use_regex", True))
    if kind == "Digits" and step.get("individual_digits"):
        return [r"\p{N}"]
    if kind == "Split" and step.get("behavior") == "Isolated" and not step.get("invert"):
        return [str(step.get("pattern", {}).get("Regex"))]
    return [f"a {kind} step"]


def nearest(tokenizer: Any, text: str) -> tuple[str, float]:
    """The way under which a ``tokenizers.Tokenizer`` cuts `text` most as it does, and how alike the two are.

    The likeness is the share of the places where a token ends in either that are ends in both. The tokenizer is left as
    it was.
    """
    own = tokenizer.pre_tokenizer
    wanted = _ends(tokenizer, text)
    likeness = {}
    for name in WAYS:
        tokenizer.pre_tokenizer = _built(name)
        found = _ends(tokenizer, text)
        likeness[name] = len(wanted & found) / max(1, len(wanted | found))
    tokenizer.pre_tokenizer = own
    best = max(likeness, key=lambda name: likeness[name])
    return best, likeness[best]


def _ends(tokenizer: Any, text: str) -> set[int]:
    return {end for _, end in tokenizer.encode(text, add_special_tokens=False).offsets}


def _built(name: str) -> Any:
    tokenizers = require("tokenizers", "torch", to="read a tokenizer")
    steps = tokenizers.pre_tokenizers
    cuts = [steps.Split(tokenizers.Regex(pattern), "isolated") for pattern in WAYS[name]]
    return steps.Sequence([*cuts, steps.ByteLevel(add_prefix_space=False, use_regex=False)])
