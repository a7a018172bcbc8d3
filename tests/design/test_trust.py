"""How far predictions on links are known: as well as the links were measured, which no network was."""

import pytest

from dovetail.cost.operators import spread_of
from dovetail.design.trust import trust
from dovetail.hardware import load_machine
from dovetail.model import Model


@pytest.mark.parametrize(
    ("on", "ways", "wide"),
    [
        ("h100-sxm", 1, False), ("8 x h100-sxm", 8, False),  # NVLink is measured
        ("16 x h100-sxm", 16, True), ("2 x dgx-a100", 16, True),  # InfiniBand is not
        ("8 x h200-sxm", 8, True),  # nor the H200's NVLink, which takes the H100's constants
    ],
)  # fmt: skip
def test_a_time_with_unmeasured_links_in_it_has_a_wide_range(on: str, ways: int, wide: bool) -> None:
    machine, graph = load_machine(on), Model.load("meta-llama/Llama-3.1-8B").graph(batch=4, tokens=1, context=100)
    known = trust(graph, machine, ways)
    kernels = max(spread_of(model, machine) for model in known.models)
    assert known.factor("tpot") == 1 + (max(0.5, kernels) if wide else kernels)
