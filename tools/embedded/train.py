"""Train the embedded model; resumes from its own checkpoint after a kill.

    python -m tools.embedded.train --out /path/outside/the/repository --threads 2

`config.py` holds every number. The state (`state.pt`: weights, optimizers, tokens seen, seconds spent) is written every
few minutes and when the process is asked to end, beside and then renamed; `log.jsonl` gets one line per report. The run
is deterministic for one Python patch version and thread count.
"""

import argparse
import json
import os
import signal
import time
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn

from tools.embedded.config import Phase, Training
from tools.embedded.data import PackedStream, encoded_documents
from tools.embedded.model import Llama
from tools.embedded.muon import Muon


def rate_at(config: Training, seen: int) -> float:
    """Return the factor on both learning rates after `seen` tokens: warm-up, one, linear decay, long-context finish."""
    last = config.phases[-1].tokens
    left = config.total_tokens - seen
    if left <= last:
        return config.finish_factor * left / last
    warm = (seen / config.batch_tokens + 1) / config.warmup_steps
    return min(1.0, warm, (left - last) / config.decay_tokens)


def phase_at(config: Training, seen: int) -> Phase:
    """Return the phase that `seen` tokens fall into."""
    end = 0
    for phase in config.phases:
        end += phase.tokens
        if seen < end:
            return phase
    return config.phases[-1]


class Run:
    """One training run: model, optimizers, data and progress."""

    def __init__(self, config: Training, out: Path, tokenizer: Path) -> None:
        torch.manual_seed(config.seed)
        self.config, self.out = config, out
        self.model = Llama(config.shape)
        matrices, others = split_parameters(self.model)
        self.muon = Muon(matrices, config.muon_rate, config.muon_momentum, config.muon_weight_decay)
        self.adam = torch.optim.AdamW(others, config.adam_rate, config.adam_betas, weight_decay=0.0, fused=True)
        self.train = PackedStream(encoded_documents("train", tokenizer), config.seed)
        self.validation = PackedStream(encoded_documents("validation", tokenizer), config.seed)
        self.seen, self.seconds, self.asked_to_end = 0, 0.0, False
        self.resume()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: setattr(self, "asked_to_end", True))

    def resume(self) -> None:
        """Load the last state, if there is one."""
        path = self.out / "state.pt"
        if path.exists():
            state = torch.load(path, weights_only=True)
            self.model.load_state_dict(state["model"])
            self.muon.load_state_dict(state["muon"])
            self.adam.load_state_dict(state["adam"])
            self.seen, self.seconds = state["seen"], state["seconds"]

    def save(self) -> None:
        """Write the state beside the old one, then rename."""
        state = {"model": self.model.state_dict(), "muon": self.muon.state_dict(), "adam": self.adam.state_dict()}
        torch.save({**state, "seen": self.seen, "seconds": self.seconds}, self.out / "state.pt.part")
        os.replace(self.out / "state.pt.part", self.out / "state.pt")

    def step(self, loss_of: nn.Module) -> Tensor:
        """Draw one batch, in micro-batches that stay in cache, and update once; return the loss in nats per token."""
        context = phase_at(self.config, self.seen).context
        tokens = max(context, self.config.batch_tokens)
        inputs, targets = self.train.batch(self.seen, tokens, context)
        rows = max(1, self.config.micro_tokens // context)
        total = torch.zeros(())
        for some, wanted in zip(inputs.split(rows), targets.split(rows), strict=True):
            loss = loss_of(some, wanted) * (len(some) / len(inputs))
            loss.backward()
            total += loss.detach()
        nn.utils.clip_grad_norm_(self.adam.param_groups[0]["params"], self.config.adam_clip)
        self._update()
        self.seen += tokens
        return total

    def _update(self) -> None:
        factor = rate_at(self.config, self.seen)
        for optimizer, rate in ((self.muon, self.config.muon_rate), (self.adam, self.config.adam_rate)):
            optimizer.param_groups[0]["lr"] = rate * factor
            optimizer.step()
            optimizer.zero_grad(set_to_none=False)

    @torch.no_grad()
    def validate(self, batches: int = 4) -> float:
        """Return nats per token on the first batches of the validation split, at the context of this phase."""
        context = phase_at(self.config, self.seen).context
        drawn = (self.validation.batch(i * 8192, 8192, context) for i in range(batches))
        return sum(self.model(inputs, targets).item() for inputs, targets in drawn) / batches

    def report(self, line: dict[str, float]) -> None:
        """Append one line to the log and print it."""
        text = json.dumps({key: round(value, 4) for key, value in line.items()})
        print(text, flush=True)
        with (self.out / "log.jsonl").open("a") as log:
            log.write(text + "\n")


def split_parameters(model: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """Return the hidden matrices, for Muon, and the rest (embedding, norms), for AdamW."""
    matrices = [weight for name, weight in model.named_parameters() if weight.ndim == 2 and "embed" not in name]
    chosen = set(map(id, matrices))
    return matrices, [weight for weight in model.parameters() if id(weight) not in chosen]


def train(run: Run, compiled: bool, save_every_s: float, report_every: int = 8) -> None:
    """Step until the last phase ends; save every `save_every_s` seconds and at the end."""
    loss_of = torch.compile(run.model, dynamic=False) if compiled else run.model
    saved, losses, number = time.monotonic(), [], 0
    while run.seen < run.config.total_tokens and not run.asked_to_end:
        start, before = time.monotonic(), run.seen
        losses.append(run.step(loss_of))
        run.seconds += time.monotonic() - start
        number += 1
        if number % report_every == 0:
            mean = torch.stack(losses).mean().item()
            losses.clear()
            rate = (run.seen - before) / (time.monotonic() - start)
            run.report(
                {
                    "tokens": run.seen,
                    "seconds": run.seconds,
                    "loss": mean,
                    "tokens_per_s": rate,
                    "factor": rate_at(run.config, run.seen),
                }
            )
        if time.monotonic() - saved > save_every_s:
            run.save()
            run.report({"tokens": run.seen, "validation": run.validate()})
            saved = time.monotonic()
    run.save()
    run.report({"tokens": run.seen, "validation": run.validate()})


def main() -> None:
    """Parse the options, leave a pid file beside the state, train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of state, log and pid")
    parser.add_argument("--tokenizer", type=Path, default=Path("dovetail/model/embedded"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--eager", action="store_true", help="do without torch.compile")
    parser.add_argument("--save-every", type=float, default=180.0, help="seconds between checkpoints")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "train.pid").write_text(f"{os.getpid()}\n")
    torch.set_num_threads(options.threads)
    run = Run(Training(), options.out, options.tokenizer)
    (options.out / "config.json").write_text(json.dumps(asdict(run.config), indent=1))
    train(run, compiled=not options.eager, save_every_s=options.save_every)


if __name__ == "__main__":
    main()
