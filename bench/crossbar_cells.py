"""Cells that vary and are stuck: what they cost a network on arrays, and what wins it back.

    python bench/crossbar_cells.py [--seeds N] [--results FILE]

The networks of `crossbar_training.py` (784-84-10, 10,000 digits of MNIST), cells programmed once on twenty chips for
each network, converters that lose nothing. Spread is normal and relative to a cell's conductance; half of the stuck
cells are low, half high. Four ways to win accuracy back, alone and together: training with other cells at every step
(`Noise`; how much noise is chosen on validation digits and chips of their own), re-calibration (a digital scale and
bias for each output, least squares on 1,000 training digits, no labels), tuning (the same scales and biases, then one
epoch of Adam on all training digits, on the chip), writing around what is known of each cell (`repaired`). Chips that
judge are none of those that chose.

Asked: at least 70 % of the loss of accuracy of 1 % stuck cells and 10 % variation.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from crossbar_training import FITS, METHODS, Runs, begun, spread

from dovetail.crossbar.codes import Codes
from dovetail.crossbar.device import Device
from dovetail.crossbar.layer import Setup, write
from dovetail.crossbar.repair import repaired
from dovetail.crossbar.training.fit import Fit, accuracy
from dovetail.crossbar.training.noise import Noise

CHIPS = 20
CASES = {
    "spread 10 %": (0.1, 0.0), "spread 30 %": (0.3, 0.0), "spread 50 %": (0.5, 0.0),
    "1 % stuck, spread 10 %": (0.1, 0.01),
}  # fmt: skip
STRONGER = (1.0, 1.5)  # noise in training over that of the chips
NETS = (("none", 20), ("none", 60), ("one digit", 20))  # with epochs: of both trainings, without and with other cells
CALIBRATED = 1000  # digits
TOLD = ("plain", "aware")
WAYS = {"written": "", "calibrated": "c", "repaired": "r", "tuned": "ct"}


def device(case: str) -> Device:
    """The cells of a case."""
    sigma, stuck = CASES[case]
    return Device(program_sigma=sigma, stuck_low=stuck / 2, stuck_high=stuck / 2)


@contextmanager
def on_chip(model: Any, codes: dict[str, Codes], made: Device, seed: int, way: str, some: Any) -> Iterator[None]:
    """The network with what the cells of one chip conduct, until the context ends."""
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    wanted = wanted_outputs(model, codes, some[0][:CALIBRATED]) if "c" in way else {}
    for index, (name, each) in enumerate(codes.items()):
        layer = write(each, Setup(device=made, seed=1000 * seed + index))
        layer = repaired(layer) if "r" in way else layer
        conducts = layer.digits if layer.conductance is None else layer.conductance
        whole = np.einsum("ps,psoi->oi", layer.worth.astype(float), conducts.astype(float)) * each.steps[:, :1]
        own = model.get_submodule(name)
        with torch.no_grad():
            own.weight.copy_(torch.from_numpy(whole).reshape(own.weight.shape))
            if wanted:
                calibrate(own, outputs_of(model, name, some[0][:CALIBRATED]), wanted[name])
    if "t" in way:
        tune(model, list(codes), some, seed)
    yield
    model.load_state_dict(kept)


def wanted_outputs(model: Any, codes: dict[str, Codes], some: Any) -> dict[str, Any]:
    """What every layer gives where cells are ideal."""
    return {name: outputs_of(model, name, some) for name in codes}


def outputs_of(model: Any, name: str, some: Any) -> Any:
    """What a layer gives for some images."""
    held: list[Any] = []
    hook = model.get_submodule(name).register_forward_hook(lambda module, given, out: held.append(out.detach()))
    with torch.no_grad():
        model(some)
    hook.remove()
    return held[0]


def calibrate(layer: Any, got: Any, wanted: Any) -> None:
    """Scale and bias of each output by least squares; digital, so that cells stay as they are."""
    centred = got - got.mean(0)
    scale = (centred * (wanted - wanted.mean(0))).sum(0) / centred.square().sum(0).clamp(min=1e-12)
    layer.weight.mul_(scale[:, None])
    layer.bias.copy_(wanted.mean(0) + scale * (layer.bias - got.mean(0)))


def tune(model: Any, names: list[str], some: Any, seed: int) -> None:
    """Scales and biases of all outputs by one epoch of Adam on labelled digits; cells stay as they are."""
    state = {name: value.detach() for name, value in model.named_parameters()}
    scales = {name: torch.ones(len(state[f"{name}.weight"]), 1, requires_grad=True) for name in names}
    biases = {name: state[f"{name}.bias"].clone().requires_grad_(True) for name in names}

    def now() -> dict[str, Any]:
        return {f"{n}.weight": state[f"{n}.weight"] * scales[n] for n in names} | {
            f"{n}.bias": biases[n] for n in names
        }

    optimiser = torch.optim.Adam([*scales.values(), *biases.values()], 0.01)
    for part in torch.randperm(len(some[0]), generator=torch.Generator().manual_seed(seed)).split(128):
        found = torch.func.functional_call(model, now(), (some[0][part],))
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(found, some[1][part]).backward()
        optimiser.step()
    model.load_state_dict({name: value.detach() for name, value in now().items()}, strict=False)


def on_chips(runs: Runs, net: Any, codes: Any, case: str, way: str, digits: Any, chips: range) -> list[float]:
    """Accuracy on each chip."""
    found = []
    for chip in chips:
        with on_chip(net, codes, device(case), chip, way, runs.data.train):
            found.append(accuracy(net, digits))
    return found


@dataclass(frozen=True)
class Training:
    """A method and its epochs."""

    runs: Runs
    name: str
    epochs: int

    def key(self, *rest: Any) -> list[Any]:
        """Of what is kept."""
        return ["mlp", self.name, *rest, *([f"{self.epochs} epochs"] if self.epochs != FITS["mlp"].epochs else [])]

    def network(self, noise: tuple[float, float], seed: int) -> tuple[Any, Any, dict[str, Any]]:
        """A network trained with other cells at every step, of this spread and so many stuck."""
        sigma, stuck = noise
        strength = self.runs.chosen("mlp", self.name)
        if noise == (0.0, 0.0) and self.epochs == FITS["mlp"].epochs:
            return self.runs.trained("mlp", self.name, strength, seed)
        parts = (*METHODS[self.name].parts(strength), Noise(sigma, stuck / 2, stuck / 2))
        return self.runs.network(self.key(["noise", sigma, stuck], seed), "mlp", parts, seed, Fit(self.epochs))

    def chosen(self, case: str) -> float:
        """How much stronger noise in training is best on validation digits."""

        def one(stronger: float) -> dict[str, Any]:
            net, codes, _ = self.network(noise(case, stronger), 100)
            return {"on chips": on_chips(self.runs, net, codes, case, "", self.runs.data.validation, range(500, 505))}

        tried = {s: self.runs.get(self.key("noise", case, s), lambda s=s: one(s))["on chips"] for s in STRONGER}  # type: ignore[misc]
        return max(STRONGER, key=lambda s: float(np.mean(tried[s])))

    def judged(self, case: str, seed: int) -> dict[str, Any]:
        """Mean accuracy on chips of both networks, by what is done."""
        kept = self.runs.get(self.key("cells", case, seed), lambda: self._judged(case, seed, ("ideal", *WAYS)[:-1]))
        last = self.runs.get(self.key("cells tuned", case, seed), lambda: self._judged(case, seed, ("tuned",)))
        return {told: kept[told] | last[told] for told in TOLD}

    def _judged(self, case: str, seed: int, ways: Iterable[str]) -> dict[str, Any]:
        nets = {"plain": self.network((0.0, 0.0), seed), "aware": self.network(noise(case, self.chosen(case)), seed)}
        chips, test = range(100 * seed, 100 * seed + CHIPS), self.runs.data.test

        def one(told: str, words: str) -> float:
            net, codes, kept = nets[told]
            if words == "ideal":
                return float(kept["test"])
            return float(np.mean(on_chips(self.runs, net, codes, case, WAYS[words], test, chips)))

        return {told: {words: one(told, words) for words in ways} for told in TOLD}


def noise(case: str, stronger: float) -> tuple[float, float]:
    """Spread and share of stuck cells in training."""
    sigma, stuck = CASES[case]
    return stronger * sigma, stronger * stuck


def table(training: Training, seeds: range) -> None:
    """One line for each case: accuracies, and shares of the loss that are won back."""
    print(f"\n{training.name}, {training.epochs} epochs, {len(seeds)} networks, {CHIPS} chips each, "
          f"{training.runs.data.name}: accuracy %, and of the loss won back")  # fmt: skip
    for case in CASES:
        rows = [training.judged(case, seed) for seed in seeds]
        mean = {(t, w): 100 * float(np.mean([r[t][w] for r in rows])) for t in TOLD for w in ("ideal", *WAYS)}
        lost, wide = spread(100 * (r["plain"]["ideal"] - r["plain"]["written"]) for r in rows)
        ideal, base = mean["plain", "ideal"], mean["plain", "written"]
        print(f"{case:24} ideal {ideal:.2f}, written {base:.2f}: {lost:.2f} ±{wide:.2f} point lost; trained with "
              f"{training.chosen(case):g}x noise: ideal {mean['aware', 'ideal']:.2f}", flush=True)  # fmt: skip
        for told in TOLD:
            shown = [f"{way} {mean[told, way]:.2f} ({(mean[told, way] - base) / lost:.0%})" for way in WAYS
                     if (told, way) != ("plain", "written")]  # fmt: skip
            print(f"{'':24}   {told}: {', '.join(shown)}", flush=True)


def main() -> None:
    """Run what is not done yet, print all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    args, runs = begun(parser)
    for name, epochs in NETS:
        table(Training(runs, name, epochs), range(args.seeds))


if __name__ == "__main__":
    main()
