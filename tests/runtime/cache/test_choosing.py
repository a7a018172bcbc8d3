"""Tokens chosen by whole groups: against every subset that there is; what stays packed is rounded once."""

from itertools import combinations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dovetail.runtime.cache.choosing import best, best_whole
from dovetail.runtime.decoding.runner import runner_of
from dovetail.runtime.load import Loaded

from .test_held import plan_of

STAY = float("inf")


def subsets(tokens: int, count: int, groups: int, size: int) -> list[tuple[int, ...]]:
    """All of `count` places in which each of the first groups is whole, or not at all."""
    rows = [set(range(group * size, (group + 1) * size)) for group in range(groups)]
    return [one for one in combinations(range(tokens), count) if all(len(row & set(one)) in (0, size) for row in rows)]


@given(size=st.integers(1, 3), groups=st.integers(0, 3), data=st.data())
def test_the_best_of_all_subsets(size: int, groups: int, data: st.DataObject) -> None:
    tokens = groups * size + data.draw(st.integers(0 if groups else 1, 4))
    worth = st.one_of(st.integers(-9, 9).map(float), st.just(STAY))
    scores = data.draw(st.lists(worth, min_size=tokens, max_size=tokens))
    staying = [place for place, score in enumerate(scores) if score == STAY]
    count = data.draw(st.integers(max(1, len(staying)), tokens))
    found = best_whole(torch.tensor(scores), count, groups, size).tolist()
    assert found == sorted(set(found))
    assert len(found) == count
    able = [one for one in subsets(tokens, count, groups, size) if set(staying) <= set(one)]
    if not able:
        assert found == best(torch.tensor(scores), count).tolist()
        return
    assert tuple(found) in able

    def total(places: tuple[int, ...]) -> float:
        return sum(scores[place] for place in places if scores[place] != STAY)

    assert total(tuple(found)) == max(map(total, able))


@pytest.mark.parametrize(
    "recipe", ["h2o:keep=24,slack=8+kv-int4:group=8", "observed-attention:keep=30,recent=6,slack=16+kv-int4:group=8"]
)
def test_packed_tokens_are_rounded_once(grouped: Loaded, prompts: list[list[int]], recipe: str) -> None:
    """Through many selections, within half a step of their group: of the lowest layer, which the text alone decides."""
    runner, plan = runner_of(grouped), plan_of(recipe)
    source = torch.Generator().manual_seed(2)
    text = [*prompts[0], *torch.randint(96, (60,), generator=source).tolist()]
    with torch.inference_mode():
        positions = torch.arange(len(text)).unsqueeze(0)
        _, keys, values = runner.projected(0, runner.embedding[torch.tensor([text])], positions, len(text))  # type: ignore[attr-defined]
        cache, _ = plan.prefilled(runner, torch.tensor(prompts[0]))
        for token in text[len(prompts[0]) :]:
            runner.forward(torch.tensor([[token]]), cache)
            cache.keep([1])
            cache.settle()
        one, old = cache.at(0, 0), 0
        for head, groups in enumerate(one.grouped.tolist()):
            places, found = one.noted(head)[1].long(), one.head(head)
            for group in range(groups):
                rows = places[group * 8 : group * 8 + 8]
                old += int((rows < len(prompts[0])).all())
                for true, held, along in ((keys[0, head], found[0], 0), (values[0, head], found[1], 1)):
                    wanted, got = true[rows], held[group * 8 : group * 8 + 8]
                    step = (wanted.amax(along) - wanted.amin(along)) / 15 + wanted.abs().amax(along) * 2**-8
                    assert ((got - wanted).abs() <= 0.51 * step.unsqueeze(along)).all()
        assert old > 0  # some groups are of the prompt, and have seen all selections
