"""The designs that ship with dovetail: source, contract and reference, one of each side by side."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import yaml

from dovetail.core.errors import DovetailError, did_you_mean
from dovetail.hls.contract_file import from_plain
from dovetail.hls.design import Design, Oracle

SHELF = Path(__file__).parents[1] / "designs"


@cache
def names() -> tuple[str, ...]:
    """Names of the designs on the shelf, ``"llm/softmax_stable"`` and so on, sorted."""
    return tuple(sorted(str(path.relative_to(SHELF).with_suffix("")) for path in SHELF.glob("*/*.yaml")))


@cache
def shipped(name: str) -> Design:
    """The design of that name. Raises `DovetailError` with the near names."""
    if name not in names():
        raise DovetailError(f"unknown design '{name}'", hint=did_you_mean(name, list(names())))
    base = SHELF / name
    contract = from_plain(yaml.safe_load(base.with_suffix(".yaml").read_text()), str(base.with_suffix(".yaml")))
    reference = base.with_suffix(".ref.cpp")
    oracle = Oracle("cpp", reference.read_text(), contract.top, reference)
    source = base.with_suffix(".cpp")
    return Design(source.read_text(), contract, oracle, source, name=name)
