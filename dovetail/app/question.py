"""The question that `estimate`, `explain` and `build` share, and the command line that asks it again."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from dovetail.design import Estimate
    from dovetail.workload import Workload

ModelName = Annotated[str, typer.Argument(help="A zoo name, a Hugging Face folder or a config.json.")]
On = Annotated[
    str, typer.Option("--on", metavar="MACHINE", help="A zoo name, a YAML file, 'host', or 'N x NAME' for several.")
]
Batch = Annotated[int, typer.Option("--batch", metavar="N", help="Requests that run together.")]
Prompt = Annotated[int, typer.Option("--prompt", metavar="N", help="Tokens of each prompt.")]
Output = Annotated[int, typer.Option("--output", metavar="N", help="Tokens generated for each request.")]
RecipeName = Annotated[
    str, typer.Option("--recipe", metavar="RECIPE", help="How the model is changed: a name or a YAML file.")
]
Tp = Annotated[int, typer.Option("--tp", metavar="N", help="Chips that share every layer; 0: those of a node.")]


@dataclass(frozen=True, slots=True)
class Question:
    """A model on a machine under a workload, as the user names them."""

    model: str
    on: str
    batch: int = 1
    prompt: int = 1024
    output: int = 128
    recipe: str = "none"
    tp: int = 0

    @property
    def workload(self) -> Workload:
        from dovetail.workload import Workload

        return Workload(prompt=self.prompt, output=self.output, batch=self.batch)

    def answer(self) -> Estimate:
        """The prediction. Raises `DovetailError` for what cannot be asked, or (exit code 3) has no numbers."""
        from dovetail.design import Plan, estimate

        return estimate(self.model, self.on, self.workload, self.recipe, Plan(tp=self.tp))

    def refusal(self, why: str) -> dict[str, Any]:
        """The JSON of an answer that has no numbers: the keys of `Estimate.to_json`, null where it has quantities."""
        from dovetail.design.estimate import KEYS
        from dovetail.design.resolve import as_machine, as_model, as_recipe

        machine = as_machine(self.on)
        known = {
            "model": as_model(self.model).name, "machine": machine.name, "chips": machine.count,
            "on": machine.label,
            "recipe": as_recipe(self.recipe).name,
            "workload": {k: float(v) for k, v in self.workload.columns().items()},
            "feasible": False, "why": [why],
        }  # fmt: skip
        return dict.fromkeys(KEYS) | known

    def command(self, *verb: str) -> list[str]:
        """The words of a command line that asks this of another verb; defaults are left out."""
        given = [
            (f"--{field.name}", str(getattr(self, field.name)))
            for field in fields(self)
            if field.name not in ("model", "on") and getattr(self, field.name) != field.default
        ]
        return ["dovetail", *verb, self.model, "--on", self.on, *(word for pair in given for word in pair)]
