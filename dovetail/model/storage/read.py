"""From the ``quantization_config`` of a ``config.json``, or ``hf_quant_config.json`` beside it, to a `Storage`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from dovetail.core.errors import did_you_mean
from dovetail.core.formats import MXFP4
from dovetail.model.config import Config, read_fields
from dovetail.model.storage.compressed import compressed_tensors
from dovetail.model.storage.fp8 import fp8
from dovetail.model.storage.integers import awq, gptq
from dovetail.model.storage.modelopt import modelopt
from dovetail.model.storage.mxfp4 import mxfp4
from dovetail.model.storage.names import Names
from dovetail.model.storage.rules import Rule, Storage

_READERS: dict[str, Callable[[Config, str], Storage]] = {
    "fp8": fp8, "mxfp4": mxfp4, "compressed-tensors": compressed_tensors, "gptq": gptq, "awq": awq,
    "modelopt": modelopt, "modelopt_fp4": modelopt, "modelopt_mixed": modelopt,
}  # fmt: skip
# Methods that engines read and this project does not describe
_UNREAD = (
    "aqlm", "auto-round", "bitnet", "bitsandbytes", "eetq", "fbgemm_fp8", "fp_quant", "fouroversix", "gguf", "higgs",
    "hqq", "ipex", "metal", "mxfp8", "nvfp4", "quanto", "quark", "sinq", "spqr", "torchao", "vptq",
)  # fmt: skip
BESIDE = "hf_quant_config.json"  # where modelopt writes what older of its checkpoints have nowhere else


def storage_of(config: Config, dtype: str, folder: Path | None = None) -> Storage:
    """How the checkpoint of `config` is stored; `dtype` is the config's own.

    Raises
    ------
    DovetailError
        An unknown method, or fields that contradict each other or the method, by name.
    """
    found = _block(config)
    if found is None and folder is not None and (folder / BESIDE).is_file():
        return modelopt(Config(read_fields(folder / BESIDE), str(folder / BESIDE)).block("quantization"), dtype)
    if found is None:
        return Storage()
    method = _method(found)
    if method in _UNREAD:
        return Storage(unread=method)
    if method not in _READERS:
        hint = did_you_mean(method, [*_READERS, *_UNREAD])
        raise found.error("quant_method", f"unknown method '{method}'" if method else "missing", hint=hint)
    storage = _READERS[method](found, dtype)
    if method == "fp8" and not storage.unread and config.text("expert_dtype", default="fp8") == "fp4":
        # DeepSeek V4: routed experts in 4 bits with a power of two for each 32 inputs, as MXFP4
        return replace(storage, rules=(Rule(MXFP4, names=Names(("*.experts.*",))), *storage.rules))
    return storage


def _block(config: Config) -> Config | None:
    """The config's block about quantisation; models with several parts may have it in the language model's."""
    key = next((k for k in ("quantization_config", "compression_config") if config.fields.get(k)), None)
    if key is not None:
        return config.block(key)
    text = config.fields.get("text_config")
    if isinstance(text, Mapping) and text.get("quantization_config"):
        return config.block("text_config").block("quantization_config")
    return None


def _method(found: Config) -> str:
    """``quant_method``, or what writes the other fields: older modelopt and compressed-tensors leave it out."""
    if found.fields.get("quant_method") is not None:
        return found.text("quant_method").lower()
    if found.fields.get("quant_algo") is not None:
        return "modelopt"
    return "compressed-tensors" if found.fields.get("format") or found.fields.get("config_groups") else ""
