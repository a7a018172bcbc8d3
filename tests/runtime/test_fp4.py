"""4-bit floats against compressed-tensors, element by element, and against their definition."""

import itertools

import numpy as np
import pytest
import torch
from compressed_tensors.compressors.mxfp4.base import MXFP4PackedCompressor
from compressed_tensors.compressors.nvfp4.base import NVFP4PackedCompressor
from compressed_tensors.compressors.nvfp4.helpers import unpack_fp4_from_uint8
from compressed_tensors.quantization import QuantizationScheme
from compressed_tensors.quantization.quant_scheme import MXFP4, NVFP4
from compressed_tensors.quantization.utils import calculate_qparams, generate_gparam

from dovetail.runtime import fp4

KINDS = {"nvfp4": (NVFP4, NVFP4PackedCompressor), "mxfp4": (MXFP4, MXFP4PackedCompressor)}


def weights(seed: int) -> torch.Tensor:
    """Rows of very different sizes; groups of zeros, of one value at each tie, and next to underflow."""
    source = torch.Generator().manual_seed(seed)
    found = torch.randn(64, 128, generator=source) * torch.exp(3 * torch.randn(64, 1, generator=source))
    found[3] = 0
    found[5, :32] = 1e-30
    found[6] = torch.tensor([0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0, -6.0]).repeat(16)
    found[7, ::2] *= -0.0
    found[8] = 1.75
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", KINDS)
def test_scales_and_bytes_are_those_of_compressed_tensors(kind: str, dtype: torch.dtype) -> None:
    preset, compressor = KINDS[kind]
    args, group = preset["weights"], fp4.GROUPS[kind]
    for seed in range(4):
        matrix = weights(seed).to(dtype).float()
        low, high = (getattr(matrix.unflatten(-1, (-1, group)), f)(-1) for f in ("amin", "amax"))
        whole = generate_gparam(matrix.min(), matrix.max()) if kind == "nvfp4" else None
        scale, _ = calculate_qparams(low, high, args, global_scale=whole)
        given = {"weight": matrix, "weight_scale": scale, **({} if whole is None else {"weight_global_scale": whole})}
        theirs = compressor.compress(given, QuantizationScheme(targets=["Linear"], weights=args))

        ours_whole = fp4.whole_scale(matrix.abs().max()) if kind == "nvfp4" else None
        ours = fp4.group_scale(fp4.peaks(matrix.to(dtype), group), ours_whole)
        steps = fp4.step(ours, ours_whole)
        codes = fp4.in_groups(matrix.to(dtype), steps)
        assert (ours_whole is None) == (whole is None)
        assert whole is None or torch.equal(whole, ours_whole)
        assert theirs["weight_scale"].dtype == ours.dtype
        assert torch.equal(theirs["weight_scale"].view(torch.uint8), ours.view(torch.uint8))
        assert torch.equal(theirs["weight_packed"], fp4.pack(codes))
        back = compressor.decompress(theirs, QuantizationScheme(targets=["Linear"], weights=args))["weight"]
        assert torch.equal(back, fp4.dequantise(codes, steps).to(back.dtype))


def test_every_byte_stands_for_what_the_library_says() -> None:
    packed = torch.arange(256, dtype=torch.uint8).reshape(16, 16)
    codes = fp4.unpack(packed)
    assert torch.equal(fp4.pack(codes), packed)
    assert torch.equal(fp4.values(codes), unpack_fp4_from_uint8(packed, 16, 32, torch.float32))


def test_rounding_is_to_the_nearest_value() -> None:
    """Against a search over all sixteen values, between ties."""
    x = torch.linspace(-7.03, 7.01, 1999)
    table = torch.tensor([v * s for v, s in itertools.product((0, 0.5, 1, 1.5, 2, 3, 4, 6), (1, -1))])
    nearest = table[(x[:, None] - table).abs().argmin(1)]
    assert torch.equal(fp4.values(fp4.codes(x)), nearest)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_representable_stays(kind: str) -> None:
    source = torch.Generator().manual_seed(0)
    codes = torch.randint(16, (8, 64), generator=source, dtype=torch.uint8)
    codes[:, :: fp4.GROUPS[kind]] = 7  # 6: the largest of every group
    whole = torch.ones(1) if kind == "nvfp4" else None
    steps = 2.0 ** torch.randint(-3, 4, (8, 64 // fp4.GROUPS[kind]), generator=source)
    x = fp4.dequantise(codes, steps)
    assert torch.equal(fp4.rounded(x, kind, whole), x)
    assert fp4.rounded(x.bfloat16(), kind, whole).dtype == torch.bfloat16


def test_errors_are_within_half_a_step() -> None:
    x = weights(1)
    x = x[x.abs().amax(1) > 1e-20]
    for kind, relative in (("mxfp4", 0.25 + 1e-6), ("nvfp4", 1 / 6 + 0.07)):
        # the widest gap is 4 to 6: half of it is 1/6 of the largest. An mxfp4 peak of up to 7/4 of 4 is cut to 6/4
        whole = fp4.whole_scale(x.abs().max()) if kind == "nvfp4" else None
        big = x[x.abs().amax(1) > 1e-3 * float(x.abs().max())]  # smaller scales are subnormal e4m3
        peak = np.repeat(fp4.peaks(big, fp4.GROUPS[kind]).numpy(), fp4.GROUPS[kind], axis=1)
        error = (fp4.rounded(big, kind, whole) - big).abs().numpy()
        assert (error <= relative * peak).all()
