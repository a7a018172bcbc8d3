"""A linear layer whose weights stay packed integers in memory, multiplied by the kernels of this folder.

Three arithmetics. ``exact``: activations stay fp32 and weights become fp32 in registers, so the result is the product
with the unpacked weights up to the rounding of fp32 sums (activations beyond 1e27 overflow). ``int8``: each block of a
token's activations is rounded to integers of 8 bits with a scale of its own, and products of integers are added
exactly; faster from a few tokens on. ``int8-token`` has one scale per token, as compressed-tensors describes W8A8.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dovetail.core.errors import DovetailError, did_you_mean
from dovetail.runtime.kernels.library import Matrix, library

ARITHMETICS = ("int8", "exact", "int8-token")  # in the order of `How` in products.cpp
_PARTS = ("_codes", "_scales", "_zeros", "_bias")
_ROWS = 16  # of a tile, as in kernels.h
_BLOCK = 128  # columns between scales of activations where the weights' own groups do not say
_LONGEST = 256  # a longer block would blur the activations' scales
_MOST = 1 << 15  # columns of a block whose integer sum fits in 32 bits


def block_of(columns: int, group: int) -> int:
    """Columns that share a scale of weights and one of activations, for weights in groups of `group` (0: whole rows).

    A group longer than 256 is cut into equal blocks where one of at most 256 divides it.
    """
    if group <= 0 or group >= columns:
        return min(_BLOCK, columns)
    if group <= _LONGEST:
        return group
    return next((b for b in range(_LONGEST, _BLOCK // 2, -8) if group % b == 0), group)


class PackedLinear(nn.Module):
    """``y = x W^T + bias`` with ``W = (integer - zero) * scale`` held as packed integers.

    Parameters
    ----------
    steps : Tensor (rows, cols), int8
    scale : Tensor (rows, groups)
        Scales of consecutive groups of columns; one column of scales stands for whole rows.
    bits : int
        2 to 8: integers of at most 4 bits are stored in 4, others in 8.
    group : int
        Columns of a group; the last may be shorter. 0: one scale a row.
    zero : Tensor (rows, groups) of integers, or None
    bias : Tensor (rows,) or None
    arithmetic : str
        One of `ARITHMETICS`.
    variant : str or None
        Instruction set (`library.VARIANTS`); by default the fastest that runs here.

    Raises
    ------
    DovetailError
        Shapes, dtypes or bits that do not fit, integers beyond `bits`, or no kernels on this computer.
    """

    def __init__(
        self, steps: Tensor, scale: Tensor, bits: int, group: int = 0, bias: Tensor | None = None, *,
        zero: Tensor | None = None, arithmetic: str = "exact", variant: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        _check(steps, scale, bits, group, bias, arithmetic)
        if zero is not None and zero.shape != scale.shape:
            why = f"scales are {tuple(scale.shape)}"
            raise DovetailError(f"zero points are {tuple(zero.shape)}", where="packed linear", why=why)
        self.out_features, self.in_features = steps.shape
        self.bits, self.group, self.arithmetic, self.variant = bits, group, arithmetic, variant
        block = block_of(self.in_features, group)
        self._scales = _tiled(scale.detach().float(), block, group, self.in_features)
        self._zeros = None if zero is None else _tiled(zero.detach().float(), block, group, self.in_features)
        self._bias = None if bias is None else bias.detach().float().contiguous()
        self._shape = (self.out_features, self.in_features, block, 4 if bits <= 4 else 8, int(scale.shape[1] > 1))
        lib, plain = library(), steps.detach().contiguous()
        sized = ctypes.byref(Matrix(*self._shape, None, None, None, None))
        self._codes = torch.empty(lib.bytes(sized), dtype=torch.uint8)
        lib.pack(sized, plain.data_ptr(), self._codes.data_ptr())
        self._connect()

    def _connect(self) -> None:
        """What a call needs, looked up once. The tensors are no buffers of the module: pointers to them are kept."""
        lib, parts = library(), [getattr(self, name) for name in _PARTS]
        self._matrix = Matrix(*self._shape, *(None if part is None else part.data_ptr() for part in parts))
        self._address = ctypes.addressof(self._matrix)
        self._product, self._index = lib.product, lib.variant(self.variant)
        self._how = ARITHMETICS.index(self.arithmetic)

    @classmethod
    def joined(cls, layers: Sequence[PackedLinear]) -> PackedLinear | None:
        """One layer whose outputs are those of all `layers`, in order; None where packed otherwise, or hooked.

        Each of `layers` goes on with its part of the whole: nothing is held twice.
        """
        first, *others = layers
        alike = all(o._alike == first._alike for o in others) and all(p.out_features % _ROWS == 0 for p in layers)
        if not alike or any(layer.hooked for layer in layers):
            return None
        whole = cls.__new__(cls)
        nn.Module.__init__(whole)
        whole.bits, whole.group, whole.arithmetic, whole.variant, whole.in_features = first._alike[:5]
        whole.out_features = sum(p.out_features for p in layers)
        whole._shape = (whole.out_features, *first._shape[1:])
        for name in _PARTS:
            setattr(whole, name, _shared(layers, name))
        for each in (whole, *layers):
            each._connect()
        return whole

    @property
    def hooked(self) -> bool:
        """Whether a call does more than the product: inputs rounded in another way (`round_layer`), or watched."""
        return bool(self._forward_pre_hooks or self._forward_hooks)

    @property
    def _alike(self) -> tuple[Any, ...]:
        """What layers must share to be joined."""
        parts = self._zeros is None, self._bias is None
        return (self.bits, self.group, self.arithmetic, self.variant, self.in_features, *self._shape[1:], *parts)

    def __getstate__(self) -> dict[str, Any]:
        left_out = ("_matrix", "_address", "_product", "_index", "_how")
        return {name: value for name, value in self.__dict__.items() if name not in left_out}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._connect()

    @property
    def stored_bytes(self) -> int:
        """Bytes in memory: codes, scales, zero points and bias, padding included."""
        held = [getattr(self, name) for name in _PARTS]
        return sum(tensor.numel() * tensor.element_size() for tensor in held if tensor is not None)

    def forward(self, x: Tensor) -> Tensor:
        """`x` (…, cols) to (…, rows), in the dtype of `x`.

        A NaN or an infinity goes where floating-point sums take it in ``exact``; in the others it makes every output of
        its token NaN.
        """
        shape = x.shape
        if x.dtype is not torch.float32 or not x.is_contiguous():
            if not x.dtype.is_floating_point:
                raise DovetailError(f"activations of {x.dtype}", where="packed linear", hint="floats")
            return self.forward(x.float().contiguous()).to(x.dtype)
        if shape[-1] != self.in_features or not x.is_cpu or x.requires_grad:
            refuse(x, self.in_features)
        y = torch.empty((*shape[:-1], self.out_features))
        tokens = x.numel() // self.in_features
        failed = self._product(
            self._address, x.data_ptr(), tokens, y.data_ptr(), self._index, self._how, torch.get_num_threads()
        )
        if failed:
            refuse_failure(failed, tokens)
        return y

    def extra_repr(self) -> str:
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, bias={self._bias is not None}, "
            f"bits={self.bits}, group={self.group}, arithmetic={self.arithmetic}"
        )


def _shared(layers: Sequence[PackedLinear], name: str) -> Tensor | None:
    """The parts of that name in one tensor, of which each layer's becomes a view; None where they have none."""
    parts = [getattr(layer, name) for layer in layers]
    if parts[0] is None:
        return None
    whole = torch.cat(parts)
    for layer, view in zip(layers, torch.split(whole, [len(part) for part in parts]), strict=True):
        setattr(layer, name, view)
    return whole


def _tiled(scale: Tensor, block: int, group: int, columns: int) -> Tensor:
    """Scales (rows, groups) as the kernels read them: (tiles, blocks or 1, 16), 0 in rows that only fill a tile."""
    if scale.shape[1] > 1:
        blocks = -(-columns // block)
        scale = scale[:, torch.arange(blocks) * block // group]
    rows, blocks = scale.shape
    scale = nn.functional.pad(scale, (0, 0, 0, -rows % _ROWS))
    return scale.reshape(-1, _ROWS, blocks).transpose(1, 2).contiguous()


def _check(steps: Tensor, scale: Tensor, bits: int, group: int, bias: Tensor | None, arithmetic: str) -> None:
    if arithmetic not in ARITHMETICS:
        hint = did_you_mean(arithmetic, list(ARITHMETICS))
        raise DovetailError(f"unknown arithmetic '{arithmetic}'", where="packed linear", hint=hint)
    if steps.dtype is not torch.int8 or steps.ndim != 2 or not steps.numel():
        what = f"weights are {steps.dtype} of shape {tuple(steps.shape)}"
        raise DovetailError(what, where="packed linear", hint="int8 of shape (rows, cols)")
    if not 2 <= bits <= 8:
        raise DovetailError(f"{bits} bits", where="packed linear", hint="2 to 8")
    if int(steps.min()) < -(2 ** (bits - 1)) or int(steps.max()) >= 2 ** (bits - 1):
        why = f"they span {int(steps.min())} to {int(steps.max())}"
        raise DovetailError(f"integers do not fit in {bits} bits", where="packed linear", why=why)
    rows, cols = steps.shape
    groups = -(-cols // group) if 0 < group < cols else 1
    if scale.shape != (rows, groups) or not scale.is_floating_point():
        why = f"({rows}, {groups}) are needed for {cols} columns in groups of {group or cols}"
        raise DovetailError(f"scales are {scale.dtype} of {tuple(scale.shape)}", where="packed linear", why=why)
    if block_of(cols, group) > _MOST:
        why = f"a block of {_MOST} at most keeps integer sums within 32 bits"
        raise DovetailError(f"groups of {group} columns", where="packed linear", why=why)
    if bias is not None and bias.shape != (rows,):
        raise DovetailError(f"a bias of {tuple(bias.shape)}", where="packed linear", hint=f"({rows},)")


def refuse_failure(failed: int, tokens: int) -> None:
    """Say what a call into the library failed of."""
    what = "no memory" if failed == 1 else "no thread could be started"
    raise DovetailError(what, where="packed linear", why=f"for a product of {tokens} tokens")


def refuse(x: Tensor, columns: int) -> None:
    """Raise `DovetailError` where the kernels cannot take `x`: other columns, another device, or a gradient wanted."""
    if x.shape[-1] != columns:
        why = f"the weights have {columns}"
        raise DovetailError(f"activations of {x.shape[-1]} columns", where="packed linear", why=why)
    if not x.is_cpu:
        raise DovetailError(f"activations on {x.device}", where="packed linear", hint="the CPU: kernels='dense'")
    if torch.is_grad_enabled():
        hint = "torch.no_grad(), or load with kernels='dense' to train"
        raise DovetailError("packed weights have no gradient", where="packed linear", hint=hint)
