"""The kernel of attention against float64: every instruction set, trees, windows, ragged lengths, packed groups."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dovetail.model.kv_groups import KVGroups
from dovetail.runtime.cache import attention
from dovetail.runtime.cache.attention import FIELDS, Seen, attended, takes
from dovetail.runtime.cache.packing import packed, unpacked
from dovetail.runtime.decoding.cache import KVCache, View
from dovetail.runtime.kernels.library import Library, find

HERE = find().variants if isinstance(find(), Library) else ()
pytestmark = pytest.mark.skipif(not HERE, reason="no kernels on this computer")


@dataclass(frozen=True)
class Case:
    """Sizes of a call."""

    lengths: tuple[int, ...]
    heads: int
    group: int
    channels: int
    tokens: int
    window: int | None = None
    tree: bool = False


CASES = (
    Case((100, 7), 3, 3, 64, 1), Case((100, 0), 3, 3, 64, 5), Case((1, 2, 300), 1, 4, 8, 16),
    Case((130,), 2, 1, 24, 3, 50), Case((65, 64), 2, 7, 80, 33, 20, True), Case((65, 129), 2, 2, 128, 17, None, True),
    Case((3,), 1, 5, 6, 2), Case((64, 63), 2, 2, 32, 64, None, True), Case((200,), 1, 1, 16, 4, 3),
    Case((4200, 9000, 90), 2, 3, 32, 1), Case((6300,), 1, 2, 16, 5, 3000, True),
)  # fmt: skip

GROUPS = (None, KVGroups(8, 16, 16), KVGroups(4, 16, 16), KVGroups(4, 5, 64), KVGroups(8, 100))


class Made:
    """Random tensors of a case, a dense cache that holds the old ones, and the answer in float64."""

    def __init__(self, case: Case) -> None:
        self.case, source = case, torch.Generator().manual_seed(0)
        batch, tokens, heads = len(case.lengths), case.tokens, case.heads

        def random(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=source)

        self.cache = KVCache(1, batch)
        self.cache.lengths = list(case.lengths)
        self.cache.reserve(tokens)
        room = (batch, heads, self.cache.capacity, case.channels)
        self.cache.keys[0], self.cache.values[0] = random(*room), random(*room)
        self.old = [(k[:, :n], v[:, :n]) for k, v, n in zip(self.cache.keys[0].clone(), self.cache.values[0].clone(),
                                                            case.lengths, strict=True)]  # fmt: skip
        self.queries = random(batch, tokens, heads * case.group, case.channels).transpose(1, 2)
        self.keys, self.values = (
            random(batch, heads, tokens, case.channels),
            random(batch, heads, tokens, case.channels),
        )
        some = torch.rand(batch, tokens, tokens, generator=source) > 0.5
        self.visible = some.tril() | torch.eye(tokens, dtype=torch.bool) if case.tree else None
        self.positions = self.cache.following(tokens)

    def paid(self, row: int) -> Tensor:
        """Attention (heads, tokens, old and new) of a sequence, in float64."""
        case, (old, _) = self.case, self.old[row]
        keys = torch.cat((old, self.keys[row]), 1).double().repeat_interleave(case.group, 0)
        scores = self.queries[row].double() @ keys.transpose(1, 2) / case.channels**0.5
        length = case.lengths[row]
        new = torch.ones(case.tokens, case.tokens, dtype=torch.bool).tril()
        shown = torch.cat((torch.ones(case.tokens, length, dtype=torch.bool),
                           new if self.visible is None else self.visible[row]), 1)  # fmt: skip
        if case.window is not None:
            places = torch.cat((torch.arange(length), self.positions[row]))
            shown &= places > self.positions[row].unsqueeze(1) - case.window
        return scores.masked_fill(~shown, -torch.inf).softmax(-1)

    def expected(self) -> Tensor:
        found = []
        for row, (_, old) in enumerate(self.old):
            values = torch.cat((old, self.values[row]), 1).double().repeat_interleave(self.case.group, 0)
            found.append((self.paid(row) @ values).transpose(0, 1).flatten(1))
        return torch.stack(found)


@pytest.mark.parametrize("variant", HERE)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_attention_over_a_dense_cache(case: Case, variant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOVETAIL_KERNELS", variant)
    made = Made(case)
    assert takes(made.queries)
    view = View(case.tokens, made.visible, made.positions)
    if made.cache.longest == 0:
        pytest.skip("masks draw the first triangle")
    found = made.cache.attend(0, made.queries, made.keys, made.values, view, case.window)
    torch.testing.assert_close(found.double(), made.expected(), rtol=0, atol=3e-6)
    for row, length in enumerate(case.lengths):
        assert torch.equal(made.cache.keys[0][row, :, length : length + case.tokens], made.keys[row])  # type: ignore[index]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_masks_and_the_kernel_agree(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = Made(case), Made(case)
    view = View(case.tokens, one.visible, one.positions)
    found = one.cache.attend(0, one.queries, one.keys, one.values, view, case.window)
    monkeypatch.setattr(attention, "MOST", 0)
    masked = other.cache.attend(0, other.queries, other.keys, other.values, view, case.window)
    torch.testing.assert_close(found, masked, rtol=0, atol=3e-6)


@pytest.mark.parametrize("variant", HERE)
@pytest.mark.parametrize("groups", GROUPS, ids=str)
@pytest.mark.parametrize("case", [c for c in CASES if c.window is None], ids=str)
def test_heads_of_different_lengths_packed_or_not_and_what_they_are_paid(
    case: Case, groups: KVGroups | None, variant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Head h of a sequence holds h tokens fewer; the answer is that of the unpacked numbers, in float64."""
    monkeypatch.setenv("DOVETAIL_KERNELS", variant)
    made, size = Made(case), groups.size if groups else 1 << 40
    table = np.zeros((len(case.lengths), case.heads, len(FIELDS)), np.int64)
    alive, expected = [], torch.zeros(len(case.lengths), case.tokens, case.heads * case.group, case.channels).double()
    weights = torch.full((len(case.lengths), case.heads, case.tokens, max(case.lengths) + case.tokens), torch.nan)
    paid_for = {}
    for row, (old, old_values) in enumerate(made.old):
        for head in range(case.heads):
            count = max(0, case.lengths[row] - head)
            whole = count // size * size
            keys, values = old[head, :count], old_values[head, :count]
            codes = torch.empty(0)
            if groups is not None:
                shape = (-1, size, case.channels)
                codes = packed(keys[:whole].reshape(shape), values[:whole].reshape(shape), groups)
                plain = [x.reshape(-1, case.channels) for x in unpacked(codes, case.channels, groups)]
                keys, values = torch.cat((plain[0], keys[whole:])), torch.cat((plain[1], values[whole:]))
            room = torch.zeros(2, count - whole + case.tokens, case.channels)
            room[0, : count - whole], room[1, : count - whole] = keys[whole:], values[whole:]
            alive += [room, codes]
            table[row, head] = room[0].data_ptr(), room[1].data_ptr(), count - whole, codes.data_ptr(), whole // size
            every, sums = (torch.cat((o, n[row, head])).double() for o, n in ((keys, made.keys), (values, made.values)))
            new = torch.ones(case.tokens, case.tokens, dtype=torch.bool).tril()
            shown = torch.nn.functional.pad(new if made.visible is None else made.visible[row], (count, 0), value=True)
            own = slice(head * case.group, (head + 1) * case.group)
            scores = made.queries[row, own].double() @ every.T / case.channels**0.5
            paid = scores.masked_fill(~shown, -torch.inf).softmax(-1)
            expected[row, :, own] = (paid @ sums).transpose(0, 1)
            paid_for[row, head] = paid.sum(0)
    visible = None if made.visible is None else made.visible.to(torch.uint8)
    arguments: Any = (table, made.queries, made.keys, made.values, Seen(visible), groups)
    torch.testing.assert_close(attended(*arguments).double(), expected.flatten(2), rtol=0, atol=5e-6)
    torch.testing.assert_close(attended(*arguments, weights).double(), expected.flatten(2), rtol=0, atol=5e-6)
    for (row, head), paid in paid_for.items():
        torch.testing.assert_close(weights[row, head, :, : paid.shape[1]].double(), paid, rtol=0, atol=5e-6)


def test_threads_change_nothing() -> None:
    case, before = CASES[4], torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            made = Made(case)
            view = View(case.tokens, made.visible, made.positions)
            found.append(made.cache.attend(0, made.queries, made.keys, made.values, view, case.window))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_what_the_kernel_does_not_take() -> None:
    some = torch.zeros(1, 2, 1, 16)
    assert takes(some)
    assert not takes(some.bfloat16())
    assert not takes(torch.zeros(1, 2, 65, 16))
    assert not takes(torch.zeros(1, 2, 1, 1024))
    assert not takes(torch.zeros(1, 2, 1, 15))
