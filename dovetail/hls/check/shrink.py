"""A smaller counter-example: fewer calls, then values that are zero or small wherever they need not be otherwise."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dovetail.hls.design import Contract
from dovetail.hls.harness import Elements, Value

Test = Sequence[dict[str, Elements]]
Fails = Callable[[Sequence[Test]], list[bool]]  # many candidates in one run
ROUNDS, TRIES = 6, 12


def shrink(test: Test, contract: Contract, fails: Fails) -> Test:
    """The smallest test found that still fails; every round tries a batch of simpler ones in one run."""
    for _ in range(ROUNDS):
        tries = list(_simpler(test, contract))[:TRIES]
        if not tries:
            break
        bad = fails(tries)
        better = [one for one, failed in zip(tries, bad) if failed]
        if not better:
            break
        test = min(better, key=weight)
    return test


def weight(test: Test) -> tuple[int, int, float]:
    """How much there is to read: calls, values that are not zero, their size."""
    values = [v for call in test for port in call.values() for v in port if isinstance(v, int | float) and v]
    return len(test), len(values), float(sum(min(abs(v), 1e30) for v in values))


def _simpler(test: Test, contract: Contract) -> list[Test]:
    out: list[Test] = []
    if len(test) > 1:
        out += [test[:1], test[len(test) // 2 :], test[:-1]]
    for port in contract.ports:
        held = test[-1].get(port.name, Elements())
        calm = _calm(port.low, port.high)
        if port.order != "any" or port.values or not held or not port.read:
            continue
        for changed in _changes(held, calm):
            if changed != held:
                out.append([{**call, port.name: changed} if call is test[-1] else call for call in test])
    return sorted(out, key=weight)


def _calm(low: float | None, high: float | None) -> Value:
    value = min(max(0.0, low if low is not None else 0.0), high if high is not None else 0.0)
    return int(value) if value == int(value) else value


def _changes(held: Elements, calm: Value) -> list[Elements]:
    def made(values: Sequence[Value]) -> Elements:
        return Elements.of(values, held.leaves)

    n = len(held)
    out = [made([calm] * n)]
    half = n // 2
    if n > 1:
        out += [made([*held[:half], *[calm] * (n - half)]), made([*[calm] * half, *held[half:]])]
        quarter = max(n // 4, 1)
        out += [
            made([*held[:at], *[calm] * min(quarter, n - at), *held[at + quarter :]]) for at in range(0, n, quarter)
        ]
    live = [i for i, v in enumerate(held) if v != calm]
    if 1 < len(live) <= 8:
        out += [made([*held[:i], calm, *held[i + 1 :]]) for i in live]
    return out
