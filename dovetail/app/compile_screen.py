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
    if found.get("accuracy"):
        print(folded(f"accuracy    {_accuracy(found['accuracy'])}"))
    if quiet:
        return
    print(f"speed       {_speed(found)}")
    print(folded(f"bottleneck  {found['bottleneck']}"))
    table(["resource", "taken", "of", "share"], list(_resources(found)))
    print(folded(f"counted     {found['resources_source']}"))
    if found["resources_why"]:
        print(folded(f"            Yosys skipped: {found['resources_why']}"))
    if found.get("classes"):
        print(folded(f"classes     {' '.join(map(str, found['classes']))}"))
    if found.get("text") is not None:
        print(folded(f"text        {found['text']!r}"))
    print(f"next        make -C {found['path']} sim")


def _speed(found: Found) -> str:
    clock = f"at {show(found['clock']['value'], 'Hz')} (assumed)"
    if "inputs_per_s" in found:
        return f"{found['inputs_per_s']['value']:,.0f} inputs/s {clock}, {show(found['latency']['value'], 's')} each"
    first = f"the first after {show(found['ttft']['value'], 's')} for {found['context'] // 2} tokens"
    return f"{show(found['tokens_per_s']['value'], 'tok/s')} {clock}, {first}"


def _accuracy(found: Found) -> str:
    """Of integers beside fp32."""
    same = f"{found['agree']:.2%} of {found['inputs']:,} inputs get the class of fp32, results within"
    words = f"{same} {found['largest_error']:.2%} of the largest"
    if found["float"] is None:
        return words
    return f"{found['integer']:.2%} right in integers, {found['float']:.2%} in fp32; {words}"


def _cycles(found: Found) -> list[list[str]]:
    both = found["cycles_per_token"]
    made = both["simulated"]
    error = "–" if made is None else f"{both['predicted'] / made - 1:+.2%}"
    of = "cycles an input" if "inputs_per_s" in found else "cycles a token"
    return [[of, f"{both['predicted']:,.0f}", "–" if made is None else f"{made:,.0f}", error]]


def _bits(found: Found) -> str:
    if found["bits_different"] is None:
        does = "classifies N inputs" if "inputs_per_s" in found else "decodes N tokens"
        return f"not simulated: --simulate N {does} and compares every tensor"
    run = found["simulation"]
    count = len(run["tokens"]) - run["prompt"]
    of = f"{count} {'inputs' if 'inputs_per_s' in found else 'tokens'}"
    words = f"{found['bits_different']:,} different of {run['bits']:,}, in {run['tensors']:,} tensors of {of}"
    return words + (f"; the first: {run['first_difference']}" if run["first_difference"] else "")


def _resources(found: Found) -> list[list[str]]:
    return [
        [found["resources_units"][kind], f"{count:,}", f"{limit:,}", f"{count / limit:.1%}"]
        for (kind, count), limit in zip(found["resources"].items(), found["limits"].values())
    ]
