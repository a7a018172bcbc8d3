"""The question that `estimate`, `explain` and `build` share, and the command line that asks it again."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dovetail.core.errors import DovetailError

if TYPE_CHECKING:
    from dovetail.design import Estimate
    from dovetail.workload import Images, Workload

IMAGE_SIZE = "448x448"

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
Pp = Annotated[
    int, typer.Option("--pp", metavar="N", help="Stages of a pipeline, each with some of the layers, on --tp chips.")
]
Offload = Annotated[
    str,
    typer.Option("--offload", metavar="WHAT", help="weights or kv: what does not fit streams from the host's memory."),
]
ImageCount = Annotated[int, typer.Option("--images", metavar="N", help="Images in each prompt.", min=0)]
ImageSize = Annotated[str, typer.Option("--image-size", metavar="HxW", help="Pixels of each image, down x across.")]


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
    pp: int = 1
    images: int = 0
    image_size: str = IMAGE_SIZE
    offload: str = ""

    def beyond(self, other: Question) -> list[str]:
        """Options whose values are others than in `other`."""
        names = (each.name for each in fields(self) if getattr(self, each.name) != getattr(other, each.name))
        return [f"--{name.replace('_', '-')}" for name in names]

    @property
    def workload(self) -> Workload:
        from dovetail.workload import Workload

        return Workload(prompt=self.prompt, output=self.output, batch=self.batch, images=self._images())

    def _images(self) -> Images | None:
        from dovetail.workload import Images

        if not self.images:
            if self.image_size != IMAGE_SIZE:
                raise DovetailError("a size without images", where="--image-size", hint="--images N says how many")
            return None
        height, _, width = (part.strip() for part in re.sub("[X×]", "x", self.image_size).partition("x"))
        if not (height.isdecimal() and width.isdecimal()):
            what = f"'{self.image_size}' is not a size"
            raise DovetailError(what, where="--image-size", hint=f"height x width in pixels, such as {IMAGE_SIZE}")
        return Images(self.images, int(height), int(width))

    def answer(self) -> Estimate:
        """The prediction. Raises `DovetailError` for what cannot be asked, or (exit code 3) has no numbers."""
        from dovetail.design import Plan, estimate

        return estimate(self.model, self.on, self.workload, self.recipe, Plan(self.tp, self.pp, offload=self.offload))

    def refusal(self, why: str) -> dict[str, Any]:
        """The JSON of an answer that has no numbers: the keys of `Estimate.to_json`, null where it has quantities."""
        from dovetail.design.estimate import KEYS, asked
        from dovetail.design.images import with_image_tokens
        from dovetail.design.resolve import as_machine, as_model, as_recipe

        machine, model = as_machine(self.on), as_model(self.model)
        known = {
            "model": model.name, "machine": machine.name, "chips": machine.count, "on": machine.label,
            "recipe": as_recipe(self.recipe).name,
            "workload": asked(with_image_tokens(model, self.workload)),
            "feasible": False, "why": [why],
        }  # fmt: skip
        return dict.fromkeys(KEYS) | known

    def command(self, *verb: str) -> list[str]:
        """The words of a command line that asks this of another verb; defaults are left out."""
        given = [
            (f"--{field.name.replace('_', '-')}", str(getattr(self, field.name)))
            for field in fields(self)
            if field.name not in ("model", "on") and getattr(self, field.name) != field.default
        ]
        return ["dovetail", *verb, self.model, "--on", self.on, *(word for pair in given for word in pair)]


def placed(machine: str, tp: int, pp: int) -> str:
    """What ``--on`` calls the machine of a search's design: a chip alone stands for as many as its plan needs.

    A machine whose file is gone is called as it was.
    """
    from dovetail.design.resolve import as_machine

    chips = max(tp, 1) * max(pp, 1)
    with suppress(DovetailError):
        if chips > 1 and as_machine(machine).count == 1:
            return f"{chips} x {machine}"
    return machine


def named(machine: str) -> bool:
    """Whether ``--on`` knows a machine: it does not know one that a space makes from a template."""
    from dovetail.design.resolve import as_machine

    try:
        as_machine(machine)
    except DovetailError:
        return False
    return True
