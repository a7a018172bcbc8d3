"""A ``tokenizer.json`` as GGUF's metadata: byte-level BPE (``gpt2``) and SentencePiece (``llama``)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dovetail.core.errors import INFEASIBLE, DovetailError
from dovetail.core.lazy import require
from dovetail.runtime.corpus import held_out_text
from dovetail.runtime.gguf.splitting import named, nearest

_NORMAL, _UNKNOWN, _CONTROL, _USER, _UNUSED, _BYTE = 1, 2, 3, 4, 5, 6  # ``tokenizer.ggml.token_type``
_SPACE = "▁"
_SAMPLE_BYTES = 60_000
Field = int | bool | str | list[Any]


@dataclass(frozen=True, slots=True)
class Tokenizer:
    """Metadata of a tokenizer, by GGUF's keys, and what the file cannot say of it."""

    fields: Mapping[str, Field]
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, folder: Path, vocabulary: int, config: Mapping[str, Any]) -> Tokenizer:
        """The tokenizer of a Hugging Face folder, filled up to the rows of the embedding.

        Raises
        ------
        DovetailError
            A tokenizer of another kind, or one with more tokens than `vocabulary`.
        """
        path = folder / "tokenizer.json"
        if not path.is_file():
            note = "no tokenizer.json: the file takes and gives numbers of tokens only"
            return cls({"tokenizer.ggml.model": "none"}, (note,))
        told = _Told.read(path, config)
        tokens = told.tokens(vocabulary)
        fields, notes = _kind(told, path, vocabulary)
        return cls({**fields, **tokens, **told.special(), **told.template()}, notes)


def _kind(told: _Told, path: Path, vocabulary: int) -> tuple[dict[str, Field], tuple[str, ...]]:
    """What depends on the kind of tokenizer."""
    model = told.content["model"]
    merges = [m if isinstance(m, str) else " ".join(m) for m in model.get("merges") or []]
    if model.get("type") != "BPE":
        hint = "--format safetensors"
        what = f"tokenizers of type {model.get('type')} are not written as GGUF"
        raise DovetailError(what, where=str(path), hint=hint, exit_code=INFEASIBLE)
    if told.sentencepiece:
        return {
            "tokenizer.ggml.model": "llama",
            "tokenizer.ggml.pre": "default",
            "tokenizer.ggml.scores": told.scores(merges, vocabulary),
            "tokenizer.ggml.add_space_prefix": told.prefix,
            "tokenizer.ggml.remove_extra_whitespaces": False,
        }, ()
    way, notes = named(told.content.get("pre_tokenizer")), tuple[str, ...]()
    if way is None:
        tokenizers = require("tokenizers", "torch", to="read a tokenizer")
        way, likeness = nearest(tokenizers.Tokenizer.from_file(str(path)), held_out_text(_SAMPLE_BYTES))
        if likeness < 1:
            notes = (f"llama.cpp cannot cut text as this tokenizer does: '{way}', the nearest of its ways, agrees on "
                     f"{likeness:.1%} of the tokens' ends",)  # fmt: skip
    return {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": way, "tokenizer.ggml.merges": merges}, notes


@dataclass(frozen=True, slots=True)
class _Told:
    """What the files beside the weights say of the tokenizer."""

    content: Mapping[str, Any]  # tokenizer.json
    settings: Mapping[str, Any]  # tokenizer_config.json
    config: Mapping[str, Any]
    jinja: str = ""
    ids: dict[str, int] = field(default_factory=dict)  # vocabulary and added tokens

    @classmethod
    def read(cls, path: Path, config: Mapping[str, Any]) -> _Told:
        content, settings = _json(path), _json(path.with_name("tokenizer_config.json"))
        jinja = path.with_name("chat_template.jinja")
        text = jinja.read_text(encoding="utf-8") if jinja.is_file() else settings.get("chat_template") or ""
        try:
            ids = {**content["model"]["vocab"], **{t["content"]: t["id"] for t in content.get("added_tokens") or []}}
        except (KeyError, TypeError):
            raise DovetailError("has no vocabulary of tokens", where=str(path)) from None
        return cls(content, settings, config, text if isinstance(text, str) else "", ids)

    @property
    def sentencepiece(self) -> bool:
        """Whether this is a SentencePiece model converted: spaces become ``▁``, unknown characters bytes."""
        return bool(self.content["model"].get("byte_fallback"))

    @property
    def prefix(self) -> bool:
        """Whether a space is put before a text."""
        steps = json.dumps([self.content.get("normalizer"), self.content.get("pre_tokenizer")])
        return '"Prepend"' in steps or '"prepend_scheme": "first"' in steps or '"prepend_scheme": "always"' in steps

    def tokens(self, vocabulary: int) -> dict[str, Field]:
        """Every token with its type; rows of the embedding that no token has are unused."""
        if (most := max(self.ids.values(), default=0)) >= vocabulary:
            why = f"token {most}, and the embedding has {vocabulary} rows"
            raise DovetailError("the tokenizer does not fit the model", where="tokenizer.json", why=why)
        texts, types = [f"[PAD{i}]" for i in range(vocabulary)], [_UNUSED] * vocabulary
        for text, index in self.ids.items():
            texts[index], types[index] = text, self._type(text)
        for added in self.content.get("added_tokens") or []:
            unknown = added["content"] == self.content["model"].get("unk_token")
            types[added["id"]] = _UNKNOWN if unknown else _CONTROL if added.get("special") else _USER
        return {"tokenizer.ggml.tokens": texts, "tokenizer.ggml.token_type": types}

    def _type(self, text: str) -> int:
        byte = self.sentencepiece and len(text) == 6 and text.startswith("<0x") and text.endswith(">")
        return _BYTE if byte else _NORMAL

    def scores(self, merges: list[str], vocabulary: int) -> list[float]:
        """Minus the rank of the merge that makes a token: the higher is merged first. Others are never made."""
        found = [0.0] * vocabulary
        for rank, merge in enumerate(merges):
            made = self.ids.get(merge.replace(" ", ""))
            if made is not None and found[made] == 0.0:
                found[made] = -1.0 - rank
        return found

    def special(self) -> dict[str, Field]:
        """Which tokens begin and end a text, and whether they are put there."""
        found: dict[str, Field] = {}
        for key, name in {"bos": "bos", "eos": "eos", "pad": "padding", "unk": "unknown"}.items():
            if (index := self._token(f"{key}_token")) is not None:
                found[f"tokenizer.ggml.{name}_token_id"] = index
        around = json.dumps(self.content.get("post_processor"))
        for key in ("bos", "eos"):
            text = _text(self.settings.get(f"{key}_token"))
            given = self.settings.get(f"add_{key}_token")
            asked = json.dumps(text) in around if given is None else bool(given)
            found[f"tokenizer.ggml.add_{key}_token"] = bool(text) and asked
        return found

    def _token(self, key: str) -> int | None:
        text = _text(self.settings.get(key))
        if text in self.ids:
            return self.ids[text]
        index = self.config.get(f"{key}_id")
        index = index[0] if isinstance(index, list) and index else index
        return index if isinstance(index, int) else None

    def template(self) -> dict[str, Field]:
        """The chat template, where there is one."""
        return {"tokenizer.chat_template": self.jinja} if self.jinja else {}


def _text(token: Any) -> str:
    """A token of ``tokenizer_config.json``: a text, or an object that has it."""
    return str(token.get("content", "")) if isinstance(token, Mapping) else str(token or "")


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise DovetailError("is not readable JSON", where=str(path), why=str(error)[:200]) from None
    return value if isinstance(value, dict) else {}
