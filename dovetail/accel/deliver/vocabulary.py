"""A tokenizer as a plain file, so that a program without libraries prints tokens and reads a prompt.

Lines of words parted by blanks. ``begin ID…``: what a text begins with. ``symbols bytes|characters``,
``prepend HEX``: how text is cut before pairs are merged. ``token ID HEX``: the bytes of each token. ``merge HEX HEX``:
pairs in the order of their rank. Without ``symbols`` the tokenizer has no merges: tokens can be printed, not read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

_BYTE = re.compile(r"^<0x([0-9A-F]{2})>$")
_BLANK = "\u2581"  # how SentencePiece writes a blank


def vocabulary_text(tokenizer: Any) -> str:
    """The file's text for a tokenizer of `transformers`."""
    told = json.loads(tokenizer.backend_tokenizer.to_str()) if getattr(tokenizer, "is_fast", False) else {}
    model = told.get("model", {})
    bytewise = "ByteLevel" in json.dumps(told.get("decoder")) + json.dumps(told.get("pre_tokenizer"))
    begin = tokenizer("").input_ids
    lines = [f"begin {' '.join(map(str, begin))}".strip()]
    if model.get("type") == "BPE":
        lines += [f"symbols {'bytes' if bytewise else 'characters'}"]
        if not bytewise and _prepends(told):
            lines += [f"prepend {b' '.hex()}"]
    special = set(tokenizer.all_special_ids)
    for piece, at in sorted(tokenizer.get_vocab().items(), key=lambda each: each[1]):
        found = b"" if at in special else _bytes(piece, bytewise)
        lines.append(f"token {at} {found.hex()}".strip())
    if model.get("type") == "BPE":
        lines += list(_merges(model["merges"], bytewise))
    return "\n".join(lines) + "\n"


def _merges(merges: list[Any], bytewise: bool) -> Iterator[str]:
    for pair in merges:
        left, right = pair.split(" ") if isinstance(pair, str) else pair
        yield f"merge {_bytes(left, bytewise).hex()} {_bytes(right, bytewise).hex()}"


def _prepends(told: dict[str, Any]) -> bool:
    words = json.dumps(told.get("normalizer"), ensure_ascii=False) + json.dumps(
        told.get("pre_tokenizer"), ensure_ascii=False
    )
    return '"Prepend"' in words or '"prepend_scheme": "always"' in words or '"prepend_scheme": "first"' in words


def _bytes(piece: str, bytewise: bool) -> bytes:
    """What a token stands for."""
    if bytewise:
        return (
            bytes(_LETTERS[letter] for letter in piece)
            if all(letter in _LETTERS for letter in piece)
            else piece.encode()
        )
    if found := _BYTE.match(piece):
        return bytes.fromhex(found[1])
    return piece.replace(_BLANK, " ").encode()


def _letters() -> dict[str, int]:
    """The letters that stand for bytes in byte-level vocabularies (GPT-2): printable ones for themselves."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + at): byte for at, byte in enumerate(rest)}


_LETTERS = _letters()
