"""Constants of products with packed integer weights on a CPU: how fast our own kernels unpack and multiply.

A product of m rows of activations with n x k weights goes over the weights ``ceil(m / rows)`` times, and each time
unpacks them in registers:

    compute = ceil(m / rows) n k weight + 2 m n k / peak

The bytes that it streams from main memory are those of the packed weights, and the kernels ask for them early, so that
the product takes the longer of the two. What lies in a cache comes as fast as it is unpacked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dovetail.core.content import ByContent
from dovetail.core.formats import Number

KERNELS = ("int8", "int4", "int8-int8", "int4-int8")  # weights in 8 or 4 bits; -int8: activations rounded to 8 bits too


@dataclass(frozen=True, slots=True, eq=False)
class PackedProduct(ByContent):
    """One kernel.

    Parameters
    ----------
    weight_s : Number
        Seconds to unpack one weight, once for each pass.
    peak : Number
        FLOP/s (or integer operations) of the products with unpacked weights.
    """

    weight_s: Number
    peak: Number


@dataclass(frozen=True, slots=True, eq=False)
class Packed(ByContent):
    """The kernels of a computer.

    Parameters
    ----------
    launch_s : Number
        One operator's fixed time in a model that runs on them: products are called without torch, norms and gated
        feed-forward layers are one call each.
    rows : Number
        Rows of activations that one pass over the weights serves.
    bandwidth : Number
        Bytes/s at which packed weights stream from main memory.
    products : mapping of str to PackedProduct
        By `KERNELS`.
    rounds : bool
        Whether activations that a checkpoint leaves as they are get rounded to 8 bits in blocks: another result.
    """

    launch_s: Number
    rows: Number
    bandwidth: Number
    products: Mapping[str, PackedProduct]
    rounds: bool = False
