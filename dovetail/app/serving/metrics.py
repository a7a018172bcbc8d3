"""What a server has done, in the text form that Prometheus reads."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from dovetail.runtime.memory import resident_bytes
from dovetail.runtime.serving.request import Facts, Made, State

_TTFT = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_GAP = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


@dataclass(slots=True)
class Histogram:
    """Counts of values below bounds, their number and sum."""

    bounds: Sequence[float]
    counts: list[int] = field(default_factory=list)
    total: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def add(self, value: float, times: int = 1) -> None:
        self.counts[bisect_left(self.bounds, value)] += times
        self.total += value * times

    def lines(self, name: str) -> Iterator[str]:
        """Cumulative buckets, as the format has them."""
        seen = 0
        for bound, count in zip((*map(str, self.bounds), "+Inf"), self.counts, strict=True):
            seen += count
            yield f'{name}_bucket{{le="{bound}"}} {seen}'
        yield f"{name}_sum {self.total:.6f}"
        yield f"{name}_count {seen}"


@dataclass(slots=True)
class Metrics:
    """Counters of one server."""

    prompt_tokens: int = 0
    generated_tokens: int = 0
    refused: int = 0  # for a full queue
    slow: int = 0  # clients given up because they did not read
    over: Counter[str] = field(default_factory=Counter)  # texts, by reason
    answers: Counter[int] = field(default_factory=Counter)  # HTTP answers, by status
    first: Histogram = field(default_factory=lambda: Histogram(_TTFT))
    gap: Histogram = field(default_factory=lambda: Histogram(_GAP))
    _last: dict[int, float] = field(default_factory=dict)  # by request: when tokens came last

    def made(self, made: Made, now: float, began: float) -> None:
        """Count what a step made of a request that began at a time."""
        if made.tokens:
            self.generated_tokens += len(made.tokens)
            if (last := self._last.get(made.id)) is None:
                self.first.add(now - began)
            else:
                self.gap.add((now - last) / len(made.tokens), len(made.tokens))
            self._last[made.id] = now
        if made.reason is not None:
            self.ended(made.id, made.reason)

    def ended(self, request: int, reason: str) -> None:
        """A text is over, or nobody wants it any more."""
        self.over[reason] += 1
        self._last.pop(request, None)

    def text(self, state: State, facts: Facts) -> str:
        """All of them."""
        rows = [
            ("requests_running", "gauge", "Texts being decoded.", [f" {state.running}"]),
            ("requests_waiting", "gauge", "Texts that are not decoded yet.", [f" {state.waiting}"]),
            ("cache_bytes", "gauge", "Keys and values of the texts being decoded.", [f" {state.cache_bytes}"]),
            ("prefix_bytes", "gauge", "Keys and values of what prompts begin with alike.", [f" {state.prefix_bytes}"]),
            ("cache_limit_bytes", "gauge", "What keys and values may take.", [f" {facts.cache_bytes}"]),
            ("resident_bytes", "gauge", "Memory of the HTTP process.", [f" {resident_bytes() or 0}"]),
            ("engine_steps_total", "counter", "Passes over the running texts.", [f" {state.steps}"]),
            ("prompt_tokens_total", "counter", "Tokens of prompts.", [f" {self.prompt_tokens}"]),
            ("reused_tokens_total", "counter", "Tokens of prompts that were not read again.", [f" {state.reused}"]),
            ("generated_tokens_total", "counter", "Tokens made.", [f" {self.generated_tokens}"]),
            ("refused_total", "counter", "Requests refused for a full queue.", [f" {self.refused}"]),
            ("slow_clients_total", "counter", "Clients given up because they did not read.", [f" {self.slow}"]),
            ("texts_total", "counter", "Texts that are over, by reason.", _labelled("reason", self.over)),
            ("answers_total", "counter", "HTTP answers, by status.", _labelled("status", self.answers)),
        ]  # fmt: skip
        lines: list[str] = []
        for name, kind, words, values in rows:
            lines += _about(name, kind, words) + [f"dovetail_{name}{value}" for value in values]
        for name, words, one in (
            ("time_to_first_token_seconds", "From a request to its first token.", self.first),
            ("time_per_output_token_seconds", "Between tokens of a text.", self.gap),
        ):
            lines += [*_about(name, "histogram", words), *one.lines(f"dovetail_{name}")]
        return "\n".join(lines) + "\n"


def _about(name: str, kind: str, words: str) -> list[str]:
    return [f"# HELP dovetail_{name} {words}", f"# TYPE dovetail_{name} {kind}"]


def _labelled(label: str, counts: Counter[str] | Counter[int]) -> list[str]:
    return [f'{{{label}="{name}"}} {count}' for name, count in sorted(counts.items())]
