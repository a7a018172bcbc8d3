"""Load a Hugging Face folder for execution here: offline, quiet, without code of its own."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from dovetail.core.errors import INFEASIBLE, DovetailError, did_you_mean
from dovetail.core.lazy import require
from dovetail.runtime.activations import round_inputs
from dovetail.runtime.checkpoint import Checkpoint
from dovetail.runtime.kernels.library import Missing, find
from dovetail.runtime.stored import Stored

if TYPE_CHECKING:
    import torch

KERNELS = ("dense", "auto", "exact", "int8")
_READ = {"output_loading_info": True, "ignore_mismatched_sizes": True}  # `_check_whole` says what is wrong, by name
DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16", "fp64": "float64"}


@dataclass(frozen=True, slots=True, eq=False)
class Loaded:
    """A model ready to run: the `transformers` module in eval mode, its tokenizer or None, and where from.

    `arithmetic` is how its linear layers multiply: ``dense`` by torch, ``exact`` or ``int8`` by the kernels of packed
    weights (`kernels.linear`), with `` + head`` where the output head was rounded to 8 bits as well. What is measured
    with a model is measured with this arithmetic.
    """

    model: Any
    tokenizer: Any
    folder: Path
    arithmetic: str = "dense"

    @property
    def max_context(self) -> int:
        """Longest sequence in tokens."""
        config = self.model.config
        return int(getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", 0) or 2**31)

    @property
    def vocabulary(self) -> int:
        return int(self.model.config.vocab_size)

    @property
    def device(self) -> torch.device:
        device: torch.device = next(self.model.parameters()).device
        return device


def load(
    folder: str | Path, dtype: str = "fp32", *, attention: str = "sdpa", device: str = "cpu", kernels: str = "dense",
    head_bits: int | None = None,
) -> Loaded:  # fmt: skip
    """Load a model and its tokenizer.

    Parameters
    ----------
    folder : path
        Hugging Face folder; its headers are checked first.
    dtype : str
        ``fp32``, ``bf16``, ``fp16`` or ``fp64``.
    attention : str
        ``sdpa`` or ``eager``.
    device : str
        ``cpu``, or ``cuda`` for an NVIDIA GPU (``cuda:1`` for the second).
    kernels : str
        How integer weights are executed. ``dense``: unpacked to `dtype` and multiplied by torch. ``exact``: kept
        packed, and multiplied with the activations that the checkpoint says, in fp32 or rounded per token: the same
        product up to the rounding of fp32 sums, in less memory and time. ``int8``: kept packed, activations rounded to
        8 bits in small blocks where the checkpoint leaves them: faster still with many tokens, and another result.
        ``auto``: ``exact`` where weights are integers and the kernels run here, else ``dense``.
    head_bits : int or None
        8: the output head is rounded to 8 bits here and runs on the kernels too; the folder is not changed.

    Raises
    ------
    DovetailError
        The folder is broken or of an unknown kind, its weights do not fit in memory, torch has no such device
        here, or it holds nothing that the kernels asked for can multiply.
    """
    if kernels not in KERNELS:
        raise DovetailError(f"no kernels '{kernels}'", where="kernels", hint=did_you_mean(kernels, list(KERNELS)))
    if dtype not in DTYPES:
        raise DovetailError(f"unknown dtype '{dtype}'", where="dtype", hint=did_you_mean(dtype, list(DTYPES)))
    if head_bits is not None and device != "cpu":
        hint = "device='cpu', or head_bits=None"
        raise DovetailError(f"an output head of {head_bits} bits runs on a CPU, not on {device}", hint=hint)
    checkpoint = Checkpoint.open(folder)
    torch, transformers = _libraries()
    path, arithmetic = checkpoint.folder, _arithmetic(checkpoint, kernels, dtype, device)
    free = available_memory() if device == "cpu" else _free_on(torch, device)
    _check_memory(checkpoint, getattr(torch, DTYPES[dtype]).itemsize, arithmetic, free)
    _check_known(transformers, checkpoint)
    try:
        model, arithmetic = _module(transformers, checkpoint, getattr(torch, DTYPES[dtype]), attention, arithmetic)
    except _faults() as error:
        why = " ".join(str(error).split())[:300]
        hint = "a causal language model that transformers knows without code of its own"
        raise DovetailError("transformers cannot load this model", where=str(path), why=why, hint=hint) from error
    if kernels not in ("auto", arithmetic):
        why = "its layers fuse matrices that are packed one by one"
        raise DovetailError("packed weights cannot run here", where=str(path), why=why, hint="kernels='dense'")
    if head_bits is not None:
        arithmetic = _packed_head(model, arithmetic, head_bits)
    return Loaded(model.eval().to(device), _tokenizer(transformers, path), path, arithmetic)


def _arithmetic(checkpoint: Checkpoint, kernels: str, dtype: str, device: str) -> str:
    """``dense``, ``exact`` or ``int8``: what was asked, or what `auto` comes to. Refuses what cannot be done here."""
    if kernels == "dense":
        return kernels
    missing = _no_kernels(checkpoint, dtype, device)
    if missing is None:
        return "exact" if kernels == "auto" else kernels
    if kernels == "auto":
        return "dense"
    what = f"kernels '{kernels}' cannot run this"
    raise DovetailError(what, where=str(checkpoint.folder), why=missing.why, hint=missing.hint)


def _no_kernels(checkpoint: Checkpoint, dtype: str, device: str) -> Missing | None:
    """Why packed weights cannot stay packed, and what to do about it."""
    if device != "cpu" or dtype == "fp64":
        return Missing(f"they run on a CPU in fp32 and below, not on {device} in {dtype}", "kernels='dense'")
    if (stored := Stored.of(checkpoint)) is None or not stored.integers():
        return Missing("its weights are not packed integers", "a recipe that packs, such as w8a16 or w4a16-rtn")
    found = find()
    return found if isinstance(found, Missing) else None


def _packed_head(model: Any, arithmetic: str, bits: int) -> str:
    if bits != 8:
        raise DovetailError(f"an output head of {bits} bits", where="head_bits", hint="8, or None to leave it")
    from dovetail.runtime.kernels.model import pack_head

    pack_head(model, "exact" if arithmetic == "dense" else arithmetic)
    return f"{arithmetic} + head"


def _libraries() -> tuple[ModuleType, ModuleType]:
    """Torch and transformers, told to stay offline and quiet."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    torch = require("torch", "torch", to="run a model")
    transformers = require("transformers", "torch", to="run a model")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return torch, transformers


def _module(
    transformers: ModuleType, checkpoint: Checkpoint, dtype: torch.dtype, attention: str, arithmetic: str
) -> tuple[Any, str]:
    """The module, and the arithmetic its linear layers have: that asked for, or ``dense`` where none has a place.

    Its linear layers round their inputs where the checkpoint says so. Integers are unpacked here, or left packed for
    our kernels: transformers would leave every linear layer behind an offloading wrapper that costs more than a small
    matrix product does, and its scales in memory. The weights are the same, bit for bit.
    """
    rest = {"dtype": dtype, "attn_implementation": attention}
    here = {"local_files_only": True, "trust_remote_code": False}
    path, stored = str(checkpoint.folder), Stored.of(checkpoint)
    if stored is None:
        auto = transformers.AutoModelForCausalLM
        model, found = auto.from_pretrained(path, **rest, **here, **_READ, **_dequantised(transformers, checkpoint))
        _check_whole(checkpoint, found)
        return model, "dense"
    config = transformers.AutoConfig.from_pretrained(path, **here)
    del config.quantization_config
    kind = transformers.MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    model = None if arithmetic == "dense" else _packed_module(kind, config, stored, arithmetic, rest)
    if model is None:
        arithmetic, model = "dense", _of_floats(kind, config, stored, rest)
        round_inputs(model, lambda name: stored.rule(name).act, stored.whole_input)
    if (checkpoint.folder / "generation_config.json").is_file():
        model.generation_config = transformers.GenerationConfig.from_pretrained(path, local_files_only=True)
    return model, arithmetic


def _of_floats(kind: type[Any], config: Any, stored: Stored, rest: dict[str, Any]) -> Any:
    """The module with all weights unpacked to its dtype."""
    tensors = dict(stored.dense_tensors(rest["dtype"]))
    model, found = kind.from_pretrained(None, config=config, state_dict=tensors, **rest, **_READ)
    _check_whole(stored.checkpoint, found)
    return model


def floats_of(stored: Stored) -> Any:
    """The module of a quantised checkpoint that is no folder yet, in fp32; its inputs come as they are.

    Raises
    ------
    DovetailError
        transformers does not know the architecture, or tensors are missing.
    """
    torch, transformers = _libraries()
    checkpoint = stored.checkpoint
    _check_known(transformers, checkpoint)
    config = _config(transformers, checkpoint)
    kind = transformers.MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    return _of_floats(kind, config, stored, {"dtype": torch.float32, "attn_implementation": "sdpa"}).eval()


def _config(transformers: ModuleType, checkpoint: Checkpoint) -> Any:
    """The config of the architecture as transformers has it, whatever weights are stored as."""
    fields = {name: value for name, value in checkpoint.config.items() if name != "quantization_config"}
    return transformers.CONFIG_MAPPING[fields["model_type"]].from_dict(fields)


def _faults() -> tuple[type[Exception], ...]:
    """What transformers raises for a folder that it cannot make a model of."""
    errors = require("huggingface_hub.errors", "torch", to="run a model")
    of_fields: type[Exception] = errors.StrictDataclassError
    return OSError, RuntimeError, ImportError, ValueError, KeyError, AttributeError, TypeError, of_fields


def _check_known(transformers: ModuleType, checkpoint: Checkpoint) -> None:
    """Refuse an architecture that transformers does not have."""
    kind = checkpoint.config.get("model_type")
    if kind not in transformers.CONFIG_MAPPING:
        why = f"model_type is {kind!r}" if kind else "config.json names no model_type"
        hint = "a causal language model that transformers knows without code of its own"
        raise DovetailError("transformers does not know this model", where=str(checkpoint.folder), why=why, hint=hint)


def _check_whole(checkpoint: Checkpoint, found: Mapping[str, Any]) -> None:
    """Refuse a model of whose weights some are not there: transformers would make them up at random."""
    where = str(checkpoint.folder)
    if mixed := sorted(found["mismatched_keys"]):
        name, stored, wanted = mixed[0]
        why = f"it is {_by(stored)}, config.json says {_by(wanted)}"
        hint = "the config.json that belongs to these weights"
        raise DovetailError(f"'{name}' has another shape", where=where, why=why, hint=hint)
    if lost := sorted(found["missing_keys"]):
        why = f"{len(lost):,} tensors that config.json asks for are not there"
        raise DovetailError(f"no tensor '{lost[0]}'", where=where, why=why, hint="a complete checkpoint of this model")


def _by(shape: Sequence[int]) -> str:
    return " x ".join(f"{size:,}" for size in shape)


def _packed_module(kind: type[Any], config: Any, stored: Stored, arithmetic: str, rest: dict[str, Any]) -> Any:
    """The module with its matrices still packed; None where it has no linear layer for one of them."""
    from dovetail.runtime.kernels.model import NoPlaceError, packed_module

    try:
        return packed_module(kind, config, stored, arithmetic, **rest)
    except NoPlaceError:
        return None


def skeleton(checkpoint: Checkpoint, dtype: str = "fp32") -> Any:
    """The module of a checkpoint's architecture on the meta device: its shape, without any weight.

    Raises
    ------
    DovetailError
        transformers does not know the architecture without code of its own.
    """
    torch, transformers = _libraries()
    _check_known(transformers, checkpoint)
    try:
        config = _config(transformers, checkpoint)
        with torch.device("meta"):
            return transformers.AutoModelForCausalLM.from_config(config, dtype=getattr(torch, DTYPES[dtype])).eval()
    except _faults() as error:
        why = " ".join(str(error).split())[:300]
        raise DovetailError("transformers does not know this model", where=str(checkpoint.folder), why=why) from error


def _dequantised(transformers: ModuleType, checkpoint: Checkpoint) -> dict[str, Any]:
    """Other formats of compressed-tensors: unpack at load, not in the first pass, so that every pass costs the same."""
    if (checkpoint.config.get("quantization_config") or {}).get("quant_method") != "compressed-tensors":
        return {}
    require("compressed_tensors", "torch", to="unpack quantised weights")
    require("loguru", "torch").logger.disable("compressed_tensors")
    return {"quantization_config": transformers.CompressedTensorsConfig(dequantize=True)}


def tokenizer_of(folder: Path) -> Any:
    """The tokenizer of a folder. Raises `DovetailError` where there is none."""
    found = _tokenizer(_libraries()[1], folder)
    if found is None:
        raise DovetailError("no tokenizer", where=str(folder), hint="a folder with tokenizer.json")
    return found


def _tokenizer(transformers: ModuleType, path: Path) -> Any:
    if not any((path / name).is_file() for name in ("tokenizer.json", "tokenizer.model", "vocab.json")):
        return None
    try:
        return transformers.AutoTokenizer.from_pretrained(str(path), local_files_only=True, trust_remote_code=False)
    except (ValueError, KeyError, OSError, RuntimeError, ImportError, TypeError) as error:
        why = " ".join(str(error).split())[:300]
        raise DovetailError("the tokenizer cannot be loaded", where=str(path), why=why) from error


def dense_elements(checkpoint: Checkpoint) -> int:
    """Elements of all tensors once packed ones are unpacked (rows end within a word: an upper bound)."""
    stored = Stored.of(checkpoint)

    def bits(name: str) -> int:
        form = stored.rule(name.removesuffix("_packed")).form if stored else None
        return form.bits if form else 8

    sizes = checkpoint.stored.items()
    return sum(i.bytes * 8 // bits(n) if n.endswith("_packed") else i.elements for n, i in sizes)


def packed_bytes(checkpoint: Checkpoint, item_bytes: int) -> int:
    """Bytes of all tensors where integers stay packed: in 4 bits or 8, with scales and zero points as fp32."""
    stored = Stored.of(checkpoint)
    integers = set(stored.integers()) if stored else set()

    def size(name: str, elements: int) -> int:
        stem = name.removesuffix("_packed").removesuffix("_scale")
        form = stored.rule(stem).form if stored and stem in integers else None
        if form is None:
            return 0 if name.endswith(("_zero_point", "_shape")) else elements * item_bytes
        if name.endswith("_scale"):
            return elements * (8 if form.zeros else 4)
        return elements if name == stem else elements * 32 // form.bits // (2 if form.bits <= 4 else 1)

    return sum(size(name, info.elements) for name, info in checkpoint.stored.items())


def _free_on(torch: ModuleType, device: str) -> int:
    """Bytes that are free on a GPU. Raises `DovetailError` for a device that torch does not have here."""
    try:
        place = torch.device(device)
        known = place.type == "cuda" and (place.index or 0) < torch.cuda.device_count()
    except RuntimeError:
        known = False
    if not known:
        count = torch.cuda.device_count()
        why = f"torch {torch.__version__} sees {count} CUDA device{'' if count == 1 else 's'}"
        raise DovetailError(f"no device '{device}' here", where="device", why=why, hint="device='cpu'")
    return int(torch.cuda.mem_get_info(place)[0])


def _check_memory(checkpoint: Checkpoint, item_bytes: int, arithmetic: str, free: int | None) -> None:
    dense = arithmetic == "dense"
    needed = dense_elements(checkpoint) * item_bytes if dense else packed_bytes(checkpoint, item_bytes)
    if free is not None and needed > free:
        why = f"{needed / 1e9:.1f} GB of weights, {free / 1e9:.1f} GB are free"
        hint = "dtype='bf16', a smaller model, or `estimate`, which needs no weights"
        if dense and packed_bytes(checkpoint, item_bytes) <= free:
            hint = f"kernels='exact', which leaves weights packed, or {hint}"
        raise DovetailError(
            "the model does not fit in memory", where=str(checkpoint.folder), why=why, hint=hint, exit_code=INFEASIBLE
        )


def available_memory() -> int | None:
    """Bytes this machine can still give without swapping (``MemAvailable``); None where the kernel does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(found[0]) * 1024 if found else None
