"""Train the recall model; resumes from its own checkpoint after a kill.

    python -m tools.recall.train --out /path/outside/the/repository

`config.py` holds every number. The state (`state.pt`: weights, optimizers, steps done) is written every minute and when
the process is asked to end, beside and then renamed; `log.jsonl` gets one line per report. A text depends on the seed
and the number of its step alone, so a run that was stopped goes on as if it had not been.
"""

import argparse
import json
import os
import signal
import time
from dataclasses import asdict
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tools.embedded.model import Llama
from tools.embedded.muon import Muon
from tools.recall.config import Phase, Shape, Training
from tools.recall.data import FIRST, batch
from tools.recall.start import look_back

LOOKS = ((1, 2, 3), (1, 2, 3))  # tokens that the first heads of each group look back at the start


class Recaller(nn.Module):
    """The training twin of the exported model, at positions that may leave some out.

    Shapes: B sequences, T tokens, V vocabulary.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.twin = Llama(shape)
        nn.init.normal_(self.twin.model.embed_tokens.weight, std=shape.hidden**-0.5)
        look_back(self.twin, shape, LOOKS)

    def forward(self, ids_BT: Tensor, positions_BT: Tensor) -> Tensor:
        """Return next-token logits `(B, T, V)`."""
        base = self.twin.model
        x_BTD, cos, sin = base.embed_tokens(ids_BT), base.cos[positions_BT], base.sin[positions_BT]
        for layer in base.layers:
            x_BTD = layer(x_BTD, cos.unsqueeze(1), sin.unsqueeze(1))
        return F.linear(base.norm(x_BTD), base.embed_tokens.weight)


def losses(logits_BTV: Tensor, targets_BT: Tensor, weights_BT: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weighted mean cross-entropy (nats), and the share of right words among those that weigh most."""
    found = F.cross_entropy(logits_BTV.flatten(0, 1), targets_BT.flatten(), reduction="none")
    weights, answers = weights_BT.flatten(), weights_BT.flatten() == FIRST
    right = (logits_BTV.flatten(0, 1).argmax(-1) == targets_BT.flatten())[answers].float().mean()
    return (found * weights).sum() / weights.sum(), right


def phase_at(config: Training, step: int) -> tuple[Phase, int]:
    """Return the phase that a step belongs to, and the steps that it has made before."""
    for phase in config.phases:
        if step < phase.steps:
            return phase, step
        step -= phase.steps
    raise ValueError("training is over")


def rate_at(config: Training, step: int) -> float:
    """Return the factor on both learning rates: warm-up, then a line through each phase."""
    phase, made = phase_at(config, step)
    first, last = phase.rate
    return min(1.0, (step + 1) / config.warmup_steps) * (first + (last - first) * made / phase.steps)


class Run:
    """One training run: model, optimizers and progress."""

    def __init__(self, config: Training, out: Path) -> None:
        torch.manual_seed(config.seed)
        self.config, self.out, self.model = config, out, Recaller(config.shape)
        base = self.model.twin.model
        matrices = [weight for weight in base.layers.parameters() if weight.ndim == 2]
        others = [weight for weight in base.parameters() if weight.ndim == 1] + [base.embed_tokens.weight]
        self.muon = Muon(matrices, config.muon_rate, config.muon_momentum, config.muon_weight_decay)
        self.adam = torch.optim.AdamW(others, config.adam_rate, config.adam_betas, weight_decay=0.0, fused=True)
        self.step, self.asked_to_end = 0, False
        self.resume()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: setattr(self, "asked_to_end", True))

    def resume(self) -> None:
        """Load the last state, if there is one."""
        path = self.out / "state.pt"
        if path.exists():
            state = torch.load(path, weights_only=True)
            for name in ("model", "muon", "adam"):
                getattr(self, name).load_state_dict(state[name])
            self.step = state["step"]

    def save(self) -> None:
        """Write the state beside the old one, then rename."""
        state = {name: getattr(self, name).state_dict() for name in ("model", "muon", "adam")}
        torch.save({**state, "step": self.step}, self.out / "state.pt.part")
        os.replace(self.out / "state.pt.part", self.out / "state.pt")

    def advance(self) -> tuple[float, float]:
        """Make one step; return loss and share of right words in answers."""
        config, (phase, _) = self.config, phase_at(self.config, self.step)
        ids, positions, weights = map(torch.from_numpy, batch(config.seed, self.step, phase, config.prose_weight))
        logits = self.model(ids[:, :-1], positions[:, :-1])
        loss, right = losses(logits, ids[:, 1:], weights[:, 1:].float())
        loss.backward()
        factor = rate_at(config, self.step)
        for optimizer, rate in ((self.muon, config.muon_rate), (self.adam, config.adam_rate)):
            optimizer.param_groups[0]["lr"] = rate * factor
            optimizer.step()
            optimizer.zero_grad(set_to_none=False)
        self.step += 1
        return loss.item(), right.item()

    def report(self, line: dict[str, float]) -> None:
        """Append one line to the log and print it."""
        text = json.dumps({key: round(value, 4) for key, value in line.items()})
        print(text, flush=True)
        with (self.out / "log.jsonl").open("a") as log:
            log.write(text + "\n")


def train(run: Run, save_every_s: float, report_every: int = 20) -> None:
    """Step until the last phase ends; save every `save_every_s` seconds and at the end."""
    saved = began = time.monotonic()
    while run.step < run.config.steps and not run.asked_to_end:
        loss, right = run.advance()
        if run.step % report_every == 0:
            phase, _ = phase_at(run.config, run.step - 1)
            seconds = time.monotonic() - began
            run.report({"step": run.step, "tokens": phase.tokens, "loss": loss, "right": right, "seconds": seconds})
        if time.monotonic() - saved > save_every_s:
            run.save()
            saved = time.monotonic()
    run.save()


def main() -> None:
    """Parse the options, train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of state and log")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--save-every", type=float, default=60.0, help="seconds between checkpoints")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(options.threads)
    run = Run(Training(), options.out)
    (options.out / "config.json").write_text(json.dumps(asdict(run.config), indent=1))
    train(run, save_every_s=options.save_every)


if __name__ == "__main__":
    main()
