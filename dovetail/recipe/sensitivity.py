"""How much each group of matrices suffers from each number of bits, on a calibration text.

Groups are changed one at a time, everything else stays as it is. What comes before the changed layer is computed once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dovetail.core.content import digest
from dovetail.core.errors import INFEASIBLE, DovetailError
from dovetail.core.files import cache_folder, write_json
from dovetail.core.lazy import require
from dovetail.core.version import __version__
from dovetail.recipe.arithmetic.rounding import check_finite
from dovetail.recipe.arithmetic.sensitivity import divergence, second_order
from dovetail.recipe.layerwise.calibration import Calibration
from dovetail.recipe.layerwise.decoder import lists_of_layers
from dovetail.recipe.layerwise.inputs import Inputs, collect
from dovetail.recipe.method import OnLayers, Rounds
from dovetail.runtime.checkpoint import Checkpoint

if TYPE_CHECKING:
    from torch import Tensor, nn

How = Literal["measured", "second-order"]
Groups = Mapping[str, tuple[str, ...]]
SAMPLES = 40  # sequences that are of use
JUDGED = 8  # of them at most that losses are judged on
_LOGITS = 1 << 23  # of the reference that are kept, where that leaves enough places: 32 MB
_PLACES = 64  # of each sequence that are compared at least


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """Divergence of next-token distributions, in nats a token, of each group (rows) at each width (columns)."""

    groups: tuple[str, ...]
    widths: tuple[int, ...]
    nats: tuple[tuple[float, ...], ...]
    how: How


def sensitivity(
    folder: Path,
    groups: Groups,
    widths: Sequence[int],
    method: Rounds,
    *,
    how: How = "measured",
    calibration: Calibration | None = None,
    report: Callable[[str], None] = lambda line: None,
    cache: Path | None = None,
) -> Sensitivity:
    """The loss of each group of matrices at each width, kept by the content of all that decides it.

    Parameters
    ----------
    folder : Path
        A dense checkpoint; the whole model comes into memory.
    groups : mapping of str to tuple of str
        Names of matrices of one decoder layer that are changed together.
    widths : sequence of int
        Bits, 2 to 8.
    method : Rounds
        What rounds the matrices, with all its parameters but the bits.
    how : str
        ``measured`` runs the rest of the model for each group and width; ``second-order`` runs it forward and backward
        once (`second_order`).
    calibration : Calibration
        By default 40 sequences of 512 tokens: up to 8 that the loss is judged on, the others for a rounding that looks
        at inputs, which must not be judged by those that it has seen.

    Raises
    ------
    DovetailError
        A model without one list of decoder layers, a matrix in none of them, a text too short.
    """
    chosen = calibration or Calibration(samples=SAMPLES)
    asked = [dict(groups), list(widths), _parameters(method), how, chosen.key(), __version__]
    key = digest([Checkpoint.open(folder).content(), *asked])[:24]
    kept = (cache or cache_folder() / "sensitivity") / f"{key}.json"
    if (earlier := _read(kept, groups, widths, how)) is not None:
        return earlier
    probe = _Probe.of(folder, chosen, learns=isinstance(method, OnLayers))
    found = probe.run(groups, widths, method, how, report)
    rows = tuple(tuple(found[name, bits] for bits in widths) for name in groups)
    write_json(kept, {"nats": rows})
    return Sensitivity(tuple(groups), tuple(widths), rows, how)


def _read(path: Path, groups: Groups, widths: Sequence[int], how: How) -> Sensitivity | None:
    """What was kept; None where there is nothing, or a damaged file whose content is found again."""
    try:
        rows = tuple(tuple(map(float, row)) for row in json.loads(path.read_text(encoding="utf-8"))["nats"])
    except (OSError, ValueError, TypeError, KeyError):
        return None
    whole = len(rows) == len(groups) and all(len(row) == len(widths) for row in rows)
    return Sensitivity(tuple(groups), tuple(widths), rows, how) if whole else None


def _parameters(method: Rounds) -> list[Any]:
    """All that decides what a method makes of a matrix, but the bits."""
    own = fields(method)  # type: ignore[arg-type]
    return [type(method).__name__, {f.name: getattr(method, f.name) for f in own if f.name not in ("bits", "layers")}]


@dataclass(slots=True, eq=False)
class _Probe:
    """A model in memory and the text: what losses are judged on, and what rounding looks at where that is another."""

    model: Any
    stem: str
    batches: list[Tensor]
    seen: list[Tensor]
    places: Tensor  # positions whose logits are compared
    dtype: Any  # of the stored weights

    @classmethod
    def of(cls, folder: Path, calibration: Calibration, learns: bool) -> _Probe:
        torch = require("torch", "torch", to="measure sensitivity")
        from dovetail.runtime.load import load
        from dovetail.runtime.tensorfile import TORCH_NAMES

        loaded = load(folder)
        lists = lists_of_layers(loaded.model)
        if len(lists) != 1:
            why = f"{len(lists)} lists of decoder layers"
            raise DovetailError("sensitivity is not known", where=str(folder), why=why, exit_code=INFEASIBLE)
        whole = torch.cat(calibration.batches(folder, loaded.max_context))
        batches, seen = _parted(whole, calibration.sequences(loaded.max_context), learns)
        tokens = whole.shape[1]
        most = max(_PLACES, _LOGITS // (loaded.vocabulary * sum(len(ids) for ids in batches)))
        places = torch.linspace(0, tokens - 1, min(tokens, most)).round().long()
        dtype = next(info.dtype for info in Checkpoint.open(folder).infos().values())
        model, kept = loaded.model.requires_grad_(False), getattr(torch, TORCH_NAMES[dtype])
        return cls(model, lists[0], batches, seen, places, kept)

    @property
    def layers(self) -> Any:
        return self.model.get_submodule(self.stem)

    def run(
        self, groups: Groups, widths: Sequence[int], method: Rounds, how: How, report: Callable[[str], None]
    ) -> dict[tuple[str, int], float]:
        """Nats of every group and width, layer by layer."""
        torch = require("torch", "torch", to="measure sensitivity")
        found: dict[tuple[str, int], float] = {}
        of_layer = self._by_layer(groups)
        curvature = self._curvature([n for names in groups.values() for n in names]) if how == "second-order" else {}
        states, calls = self._begin(self.batches)
        seen = self._begin(self.seen)[0]
        with torch.inference_mode():
            reference = [self._logits(ids) for ids in self.batches] if how == "measured" else []
            for index, layer in enumerate(self.layers):
                mine = of_layer.get(index, {})
                linears = {n: self._linear(n) for names in mine.values() for n in names}
                judged = _inputs(layer, linears, states, calls[index])
                inputs = _inputs(layer, linears, seen, calls[index]) if seen else judged
                for name, tensors in mine.items():
                    for bits in widths:
                        values = self._rounded(method, {n: (linears[n].weight, inputs[n]) for n in tensors}, bits)
                        if how == "measured":
                            found[name, bits] = self._divergence(values, index, states, reference)
                        else:
                            found[name, bits] = sum(
                                second_order(v - linears[n].weight, judged[n].moment / judged[n].count, curvature[n])
                                for n, v in values.items()
                            )
                states, seen = ([_first(layer(h, **calls[index])) for h in each] for each in (states, seen))
                report(f"sensitivity: layer {index + 1} of {len(self.layers)}")
        return found

    def _rounded(self, method: Rounds, matrices: Mapping[str, tuple[Tensor, Inputs]], bits: int) -> dict[str, Tensor]:
        """What a method makes of some matrices, those that read the same inputs together."""
        found: dict[str, Tensor] = {}
        for inputs in {id(read): read for _, read in matrices.values()}.values():
            names = [name for name, (_, read) in matrices.items() if read is inputs]
            weights = method.rounded([matrices[name][0] for name in names], inputs, bits, self.dtype)
            found |= zip(names, weights, strict=True)
        return found

    def _by_layer(self, groups: Groups) -> dict[int, dict[str, tuple[str, ...]]]:
        found: dict[int, dict[str, tuple[str, ...]]] = {}
        for name, tensors in groups.items():
            places = {t.removeprefix(f"{self.stem}.").partition(".")[0] for t in tensors}
            if len(places) != 1 or not (place := places.pop()).isdecimal():
                raise DovetailError("is in no single decoder layer", where=name, exit_code=INFEASIBLE)
            for tensor in tensors:
                check_finite(tensor, self._linear(tensor).weight)
            found.setdefault(int(place), {})[name] = tensors
        return found

    def _linear(self, tensor: str) -> nn.Linear:
        torch = require("torch", "torch")
        found: Any = None
        with suppress(AttributeError):
            found = self.model.get_submodule(tensor.removesuffix(".weight"))
        if not isinstance(found, torch.nn.Linear):
            why = "transformers holds it in another tensor"
            raise DovetailError("is no linear layer", where=tensor, why=why, exit_code=INFEASIBLE)
        linear: nn.Linear = found
        return linear

    def _logits(self, ids: Tensor) -> Tensor:
        """Logits (places of all sequences, vocabulary)."""
        logits: Tensor = self.model(input_ids=ids, use_cache=False, logits_to_keep=self.places).logits
        return logits.flatten(0, 1).float()

    def _begin(self, batches: Sequence[Tensor]) -> tuple[list[Tensor], list[Mapping[str, Any]]]:
        """Hidden states before the first layer, batch by batch, and how each layer is called."""
        torch = require("torch", "torch")
        states: list[Tensor] = []
        calls: list[Mapping[str, Any]] = [{} for _ in self.layers]

        def hook(index: int) -> Callable[..., None]:
            def look(module: object, given: tuple[Tensor, ...], call: Mapping[str, Any]) -> None:
                if index == 0:
                    states.append(given[0])
                calls[index] = call

            return look

        handles = [m.register_forward_pre_hook(hook(i), with_kwargs=True) for i, m in enumerate(self.layers)]
        try:
            with torch.inference_mode():
                for ids in batches:
                    self._logits(ids)
        finally:
            for handle in handles:
                handle.remove()
        return states, calls

    def _divergence(
        self, values: Mapping[str, Tensor], index: int, states: Sequence[Tensor], reference: Sequence[Tensor]
    ) -> float:
        """Mean nats a token with some matrices replaced, from what comes to their layer on."""
        total = 0.0
        with self._replaced(values), self._from(index) as resume:
            for ids, before, expected in zip(self.batches, states, reference, strict=True):
                resume(before)
                total += float(divergence(expected, self._logits(ids)).double().mean())
        return total / len(self.batches)

    @contextmanager
    def _replaced(self, values: Mapping[str, Tensor]) -> Iterator[None]:
        old = {name: self._linear(name).weight.data for name in values}
        try:
            for name, value in values.items():
                self._linear(name).weight.data = value
            yield
        finally:
            for name, value in old.items():
                self._linear(name).weight.data = value

    @contextmanager
    def _from(self, index: int) -> Iterator[Callable[[Tensor], None]]:
        """The layers before `index` only hand on what the model is told to resume with."""
        torch = require("torch", "torch")
        from dovetail.recipe.layerwise.watch import Watch

        whole = self.layers
        held: list[Tensor] = []
        passing = [Watch(layer) for layer in whole[:index]]
        handle = whole[index].register_forward_pre_hook(lambda module, given: (held[-1], *given[1:]))
        self.model.set_submodule(self.stem, torch.nn.ModuleList([*passing, *whole[index:]]))
        try:
            yield held.append
        finally:
            handle.remove()
            self.model.set_submodule(self.stem, whole)

    def _curvature(self, names: Sequence[str]) -> dict[str, Tensor]:
        """Mean square over tokens of the gradient of each output, for tokens drawn from the model itself."""
        torch = require("torch", "torch")
        sums: dict[str, Any] = {}
        count = sum(ids.numel() for ids in self.batches)
        draw = torch.Generator().manual_seed(0)

        def add(name: str, gradient: Tensor) -> None:
            sums[name] = sums.get(name, 0) + gradient.square().sum((0, 1))

        def keep(name: str) -> Callable[..., None]:
            def look(module: object, given: object, made: Tensor) -> None:
                made.register_hook(partial(add, name))  # type: ignore[no-untyped-call]

            return look

        handles = [self._linear(name).register_forward_hook(keep(name)) for name in names]
        try:
            for ids in self.batches:
                self._loss(ids, draw).backward()  # type: ignore[no-untyped-call]
        finally:
            for handle in handles:
                handle.remove()
        return {name: total / count for name, total in sums.items()}

    def _loss(self, ids: Tensor, draw: Any) -> Tensor:
        """Minus the log likelihood of one drawn token at each place, summed: its gradient's moment is the Fisher's."""
        torch = require("torch", "torch")
        embedded = self.model.get_input_embeddings()(ids).detach().requires_grad_()
        logits = self.model(inputs_embeds=embedded, use_cache=False).logits.flatten(0, 1)
        drawn = torch.multinomial(logits.detach().softmax(-1), 1, generator=draw)[:, 0]
        found: Tensor = torch.nn.functional.cross_entropy(logits, drawn, reduction="sum")
        return found


def _parted(sequences: Tensor, at_once: int, learns: bool) -> tuple[list[Tensor], list[Tensor]]:
    """Batches of one shape to judge on and, where rounding `learns`, others to look at; none where there is but one."""
    count = len(sequences)
    judged = min(JUDGED, count // 2) if learns and count > 1 else min(JUDGED, count)
    size = next(n for n in range(min(at_once, judged), 0, -1) if judged % n == 0)
    batches = [sequences[i : i + size] for i in range(0, count - size + 1, size)]
    cut = judged // size
    return batches[:cut], batches[cut:] if learns else []


def _inputs(
    layer: Any, linears: Mapping[str, nn.Linear], states: Sequence[Tensor], call: Mapping[str, Any]
) -> Mapping[str, Inputs]:
    """What the layer's matrices multiply, over all batches."""
    return collect(linears, (partial(layer, h, **call) for h in states), len(states)) if linears else {}


def _first(out: Any) -> Any:
    return out[0] if isinstance(out, tuple) else out
