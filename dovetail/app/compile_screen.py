"""How an accelerator looks in a terminal: what it is, how fast, whether it is right, what it takes, what comes next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dovetail.app.output import folded
from dovetail.app.table import table
from dovetail.core.units import show

Found = Mapping[str, Any]


def compile_screen(found: Found, quiet: bool) -> None:
    """The answer of ``dovetail compile``."""
    array = found["array"]
    size = f"{array['rows']} x {array['columns']} x {array['lanes']}"
    print(f"{found['path']}: {found['model']} in {found['recipe']} on {found['target']}, {size} products a cycle")
    table(["", "predicted", "simulated", "difference"], list(_cycles(found)))
    print(folded(f"bits        {_bits(found)}"))
    if quality := found["perplexity"]:
        ratio = quality["integer"] / quality["float"]
        print(f"perplexity  {quality['integer']:.3f} in integers, {quality['float']:.3f} in fp32, {ratio:.4f}x")
    if quiet:
        return
    speed, ttft = found["tokens_per_s"], found["ttft"]
    half = f"{found['context'] // 2} tokens"
    print(f"speed       {show(speed['value'], 'tok/s')} at {show(found['clock']['value'], 'Hz')} (assumed), "
          f"the first after {show(ttft['value'], 's')} for {half}")  # fmt: skip
    print(folded(f"bottleneck  {found['bottleneck']}"))
    table(["resource", "taken", "of", "share"], list(_resources(found)))
    print(folded(f"counted     {found['resources_source']}"))
    if found["resources_why"]:
        print(folded(f"            Yosys skipped: {found['resources_why']}"))
    if found["text"] is not None:
        print(folded(f"text        {found['text']!r}"))
    print(f"next        make -C {found['path']} sim")


def _cycles(found: Found) -> list[list[str]]:
    both = found["cycles_per_token"]
    made = both["simulated"]
    error = "–" if made is None else f"{both['predicted'] / made - 1:+.2%}"
    return [["cycles a token", f"{both['predicted']:,.0f}", "–" if made is None else f"{made:,.0f}", error]]


def _bits(found: Found) -> str:
    if found["bits_different"] is None:
        return "not simulated: --simulate N decodes N tokens and compares every tensor"
    run = found["simulation"]
    count = len(run["tokens"]) - run["prompt"]
    words = f"{found['bits_different']:,} different of {run['bits']:,}, in {run['tensors']:,} tensors of {count} tokens"
    return words + (f"; the first: {run['first_difference']}" if run["first_difference"] else "")


def _resources(found: Found) -> list[list[str]]:
    return [
        [found["resources_units"][kind], f"{count:,}", f"{limit:,}", f"{count / limit:.1%}"]
        for (kind, count), limit in zip(found["resources"].items(), found["limits"].values())
    ]
