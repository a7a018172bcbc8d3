"""A Hugging Face config, read carefully: every field checked, every complaint with the file and the field."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dovetail.core.errors import DovetailError, did_you_mean

MAX_BYTES = 4 << 20  # the largest public config.json is below 100 kB
MAX_LAYERS = 10_000
MAX_WIDTH = 1 << 31
_DTYPES = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32", "float8_e4m3fn": "fp8"}
_STRETCHING = ("linear", "dynamic", "yarn")  # rope types whose factor multiplies the context written in the config


class Config(Mapping[str, Any]):
    """The fields of one config with where they came from; typed getters raise `DovetailError` naming file and field.

    Every getter takes the field's name and its aliases (``"num_experts", "num_local_experts"``); null counts as absent.
    """

    def __init__(self, fields: Mapping[str, Any], where: str = "config") -> None:
        self.fields, self.where = fields, where

    def __getitem__(self, key: str) -> Any:
        return self.fields[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.fields)

    def __len__(self) -> int:
        return len(self.fields)

    def error(self, key: str, what: str, *, why: str = "", hint: str = "") -> DovetailError:
        """A complaint about one field."""
        return DovetailError(what, where=f"{self.where}: {key}", why=why, hint=hint)

    def _find(self, keys: tuple[str, ...]) -> tuple[str, Any]:
        return next(((k, self.fields[k]) for k in keys if self.fields.get(k) is not None), (keys[0], None))

    def whole(self, *keys: str, default: int | None = None, low: int = 1, high: int = MAX_WIDTH) -> int:
        """A whole number within [low, high]; required unless there is a default."""
        key, value = self._find(keys)
        if value is None:
            if default is not None:
                return default
            raise self.error(key, "missing", why="it is required", hint="copy the model's own config.json")
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.error(key, f"{value!r} is not a whole number", hint="a positive integer such as 4096")
        if not low <= value <= high:
            hint = "the number of the model's own config.json"
            raise self.error(key, f"{value} is out of range", why=f"between {low} and {high}", hint=hint)
        return value

    def dividing(self, channels: int, *keys: str, default: int | None = None) -> int:
        """Heads, or groups, among which `channels` divide evenly."""
        parts = self.whole(*keys, default=default)
        if channels % parts:
            what = f"{channels} channels do not divide into {parts} heads"
            raise self.error(self._find(keys)[0], what, hint=f"a divisor of {channels}")
        return parts

    def flag(self, *keys: str, default: bool = False) -> bool:
        """True or false."""
        key, value = self._find(keys)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.error(key, f"{value!r} is neither true nor false", hint="true or false")
        return value

    def text(self, *keys: str, default: str | None = None) -> str:
        """A string; required unless there is a default."""
        key, value = self._find(keys)
        if value is None and default is not None:
            return default
        if not isinstance(value, str) or not value:
            raise self.error(key, "missing" if value is None else f"{value!r} is not a name")
        return value

    def number(self, *keys: str, default: float) -> float:
        """A positive, finite number."""
        key, value = self._find(keys)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
            raise self.error(key, f"{value!r} is not a positive number")
        return float(value)

    def block(self, *keys: str) -> Config:
        """A nested object, empty when absent."""
        key, value = self._find(keys)
        if value is not None and not isinstance(value, Mapping):
            raise self.error(key, f"{value!r} is not an object of fields")
        return Config(value or {}, f"{self.where}: {key}")

    def whole_list(self, key: str) -> list[int]:
        """A list of whole numbers (layer indices), empty when absent."""
        value = self.fields.get(key) or []
        if not isinstance(value, list) or any(isinstance(v, bool) or not isinstance(v, int) for v in value):
            raise self.error(key, f"{value!r} is not a list of whole numbers")
        return value

    # What nearly every family has.

    @property
    def dtype(self) -> str:
        """Dtype of the checkpoint, ``dtype`` or the older ``torch_dtype``; bf16, what engines run, when unsaid."""
        keys = ("dtype", "torch_dtype")
        name = self.text(*keys, default="bfloat16").removeprefix("torch.")
        if name in ("auto", *_DTYPES):
            return _DTYPES.get(name, "bf16")
        raise self.error(self._find(keys)[0], f"unknown dtype '{name}'", hint=did_you_mean(name, list(_DTYPES)))

    @property
    def layers(self) -> int:
        return self.whole("num_hidden_layers", "n_layer", "n_layers", high=MAX_LAYERS)

    @property
    def rope(self) -> Config:
        """Rotary fields: ``rope_parameters`` (new) or ``rope_scaling`` (old)."""
        return self.block("rope_parameters", "rope_scaling")

    def rope_theta(self, default: float = 10_000.0) -> float:
        """Base of the rotary frequencies, from ``rope_parameters.rope_theta`` (new) or ``rope_theta`` (old)."""
        return self.rope.number("rope_theta", default=self.number("rope_theta", default=default))

    def max_context(self, *keys: str, default: int = 2048) -> int:
        """Longest context in tokens; a linear, dynamic or YaRN rope stretches what the config says by its factor.

        A YaRN config may say the stretched length itself and the original beside it: then the larger of the two counts.
        """
        written = self.whole(*(keys or ("max_position_embeddings",)), default=default)
        kind = self.rope.text("rope_type", "type", default="default")
        if kind not in _STRETCHING:
            return written
        original = self.rope.whole("original_max_position_embeddings", default=written)
        return max(written, int(original * self.rope.number("factor", default=1.0)))

    def heads(self, *, head_dim: int | None = None, fill: bool = False) -> tuple[int, int, int]:
        """(heads, KV heads, channels of a head); `head_dim` is the family's default, else hidden / heads.

        With `fill` the heads must make up the hidden size, as in families that have no ``head_dim`` of their own.
        """
        hidden = self.whole("hidden_size", "n_embd", "d_model")
        names = ("num_attention_heads", "n_head", "n_heads")
        given = head_dim is not None or self.fields.get("head_dim") is not None
        heads = self.whole(*names) if given else self.dividing(hidden, *names)
        kv_heads = self.whole("num_key_value_heads", "num_kv_heads", default=heads)
        if heads % kv_heads:
            what = f"{heads} heads cannot share {kv_heads} KV heads evenly"
            raise self.error("num_key_value_heads", what, hint=f"a divisor of {heads}")
        found = self.whole("head_dim", default=head_dim or hidden // heads)
        if fill and found * heads != hidden:
            what = f"{heads} heads of {found} channels are not the hidden size of {hidden}"
            raise self.error("head_dim", what, hint=f"{hidden} / {heads}, or none")
        return heads, kv_heads, found


def read_fields(path: Path) -> dict[str, Any]:
    """The object in a JSON or YAML file.

    Raises
    ------
    DovetailError
        The file cannot be read, is larger than `MAX_BYTES`, or does not hold one object.
    """
    try:
        if (size := path.stat().st_size) > MAX_BYTES:
            why, hint = f"{size} bytes, at most {MAX_BYTES}", "a config.json holds numbers and names, not weights"
            raise DovetailError("too large for a config", where=str(path), why=why, hint=hint)
        text = path.read_text(encoding="utf-8")
        value = _parse(text, path.suffix)
    except (OSError, ValueError, RecursionError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else " ".join(str(error).split())
        hint = "a config.json as Hugging Face writes it"
        raise DovetailError("cannot be read as a config", where=str(path), why=why[:200], hint=hint) from None
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise DovetailError("does not hold an object of fields", where=str(path), why=f"a {type(value).__name__}")
    return value


def _parse(text: str, suffix: str) -> Any:
    if suffix not in (".yaml", ".yml"):
        return json.loads(text)
    import yaml  # 30 ms, and a config.json does not need it

    try:
        return yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None


def config_file(source: str | os.PathLike[str]) -> Path | None:
    """The config file a path means (itself, or ``config.json`` in a folder); None when there is no such path."""
    path = Path(source).expanduser()
    try:
        if path.is_dir():
            if not (path / "config.json").is_file():
                raise DovetailError("no config.json in it", where=str(path), hint="a Hugging Face model folder")
            return path / "config.json"
        return path if path.is_file() else None
    except (OSError, ValueError):  # a name too long for a file, or with a null character
        return None
