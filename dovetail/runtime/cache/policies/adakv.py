"""Ada-KV (Feng et al., arXiv 2407.11550): heads of a layer share its budget by where the votes are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dovetail.core.errors import DovetailError
from dovetail.runtime.cache.policies.snapkv import SnapKV

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class AdaKV(SnapKV):
    """SnapKV's votes, compared over all heads of a layer: concentrated heads need fewer tokens.

    Parameters
    ----------
    safeguard : float
        Part of an equal share that every head keeps.
    """

    safeguard: float = 0.2

    def __post_init__(self) -> None:
        SnapKV.__post_init__(self)
        if not 0.0 <= self.safeguard <= 1.0:
            raise DovetailError(f"a safeguard of {self.safeguard:g}", where="safeguard", hint="0.2: from 0 to 1")

    def spread(self, scores: Sequence[Tensor], kept: int) -> list[int]:
        import torch

        safe, raised = int(self.safeguard * kept), []
        for row in scores:
            best = row.topk(min(max(safe, self.window), len(row))).indices
            raised.append(row.index_fill(0, best, float("inf")))
        heads = torch.cat([torch.full((len(row),), head) for head, row in enumerate(scores)])
        every = torch.cat(raised)
        chosen = heads[every.topk(min(kept * len(scores), len(every))).indices.to(heads.device)]
        counts: list[int] = chosen.bincount(minlength=len(scores)).tolist()
        return counts
