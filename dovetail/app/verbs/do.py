"""``compress``, ``run``, ``build``, ``compile``, ``measure``: do it for real, with the prediction beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from dovetail.app.help import add
from dovetail.app.output import Answer, Json, Out, Quiet, command, emit, folded, progress
from dovetail.app.question import Batch, ModelName, On, Output, Pp, Prompt, Question, RecipeName, Tp
from dovetail.app.table import table
from dovetail.core.errors import DovetailError

Text = Annotated[
    Path | None,
    typer.Option("--text", metavar="FILE", help="Text to measure quality on, or a folder; else held-out library text."),
]
HeadBits = Annotated[
    int | None, typer.Option("--head-bits", metavar="N", help="8: round the output head to 8 bits too.")
]
Heads = Annotated[
    Path | None, typer.Option("--heads", metavar="DIR", help="Trained heads; else those beside the weights.")
]
Draft = Annotated[str | None, typer.Option("--draft", metavar="MODEL", help="A smaller model of the same vocabulary.")]
Kernels = Annotated[
    str,
    typer.Option("--kernels", metavar="HOW", help="Packed weights: auto, dense (unpacked), exact or int8 activations."),
]
CalibrateOn = Annotated[
    Path | None,
    typer.Option("--calibrate-on", metavar="FILE", help="Text that methods look at; else standard-library text."),
]
Samples = Annotated[int, typer.Option(metavar="N", help="Sequences of the calibration text.", min=1)]
Tokens = Annotated[int, typer.Option(metavar="N", help="Tokens of each.", min=2)]
BatchTokens = Annotated[int, typer.Option(metavar="N", help="Tokens in one pass: fewer take less memory.", min=1)]
Tasks = Annotated[
    list[str] | None, typer.Option("--task", metavar="NAME", help="A task of lm-eval, or its YAML; repeatable.")
]
Format = Annotated[
    str,
    typer.Option("--format", metavar="NAME", help="compressed-tensors, gguf (for llama.cpp) or safetensors (dense)."),
]
For = Annotated[
    str | None, typer.Option("--for", metavar="MACHINE", help="The machine that --target is about, named as --on.")
]
Target = Annotated[
    str | None,
    typer.Option(metavar="EXPR", help="Bits by layer for 'tpot<0.6x', also energy, memory, perplexity."),
]
Folder = Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder to write, whole or not at all.")]


def add_to(app: typer.Typer) -> None:
    """Add these verbs to the command line."""
    add(
        app,
        "Do",
        compress,
        [
            "dovetail compress ./my-model w4a16-rtn --out ./my-model-w4",
            "dovetail compress ./my-model w4a16 --calibrate-on text.txt --out ./my-model-w4",
            "dovetail compress ./my-model-w4 none --format gguf --out ./my-model-gguf",
            "dovetail compress ./my-model --for h100-sxm --target 'tpot<0.6x' --out ./my-model-h100",
        ],
    )
    add(app, "Do", run, ["dovetail run embedded --prompt-file prompt.txt --max-new 64"])
    add(app, "Do", build, ["dovetail build embedded --on h100-sxm --recipe w8a16 --out ./winner"])
    add(
        app,
        "Do",
        compile,
        [
            "dovetail compile embedded --target ecp5-85 --simulate 16 --out ./chip",
            "dovetail compile ./my-model --target u280 --budget 'dsp<=512,bw=10GB/s' --recipe w4a8 --out ./chip",
            "dovetail compile net.pt2 --inputs digits.npz --target ecp5-85 --simulate 16 --out ./chip",
        ],
    )
    add(app, "Do", measure, ["dovetail measure ./winner --out ./measured"])
    add(app, "Do", recall, ["dovetail recall", "dovetail recall w4a16-rtn --length 8192 --question after"])


def compress(
    model: ModelName,
    out: Folder,
    recipe: Annotated[
        str | None, typer.Argument(help="A recipe's name or YAML file; with --target the method whose bits are picked.")
    ] = None,
    text: Text = None,
    machine: For = None,
    target: Target = None,
    batch: Batch = 1,
    prompt: Prompt = 1024,
    output: Output = 128,
    format: Format = "compressed-tensors",
    calibrate_on: CalibrateOn = None,
    samples: Samples = 128,
    tokens: Tokens = 512,
    seed: Annotated[int, typer.Option(metavar="N", help="Which windows of the calibration text.")] = 0,
    batch_tokens: BatchTokens = 4096,
    task: Tasks = None,
    limit: Annotated[int | None, typer.Option(metavar="N", help="Examples of each task. Default: all.", min=1)] = None,
    quality: Annotated[bool, typer.Option(help="Perplexity, KL, agreement; off: --no-quality.")] = True,
    speed: Annotated[bool, typer.Option(help="Speed on this computer; off: --no-speed.")] = True,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Apply a recipe to real weights; before and after.

    Writes a Hugging Face folder that transformers and vLLM load, with the report and its manifest beside the weights;
    or a GGUF file. A folder that is compressed already is written in another format by the recipe 'none'. Methods that
    look at a text keep finished layers: the same command goes on after a stop. With --for and --target the bits of
    every layer are picked: the least loss of quality that meets the target there.
    """
    from dovetail.app.compress_screen import compress_screen
    from dovetail.design.compress import Check
    from dovetail.design.compress import compress as apply
    from dovetail.recipe.layerwise.calibration import Calibration

    how: dict[str, Any] = {
        "format": format,
        "calibration": Calibration(calibrate_on, samples, tokens, seed, batch_tokens),
        "check": Check(text=text, quality=quality, tasks=tuple(task or ()), limit=limit, speed=speed),
        "report": lambda line: progress(line, quiet=quiet),
    }
    if machine is not None or target is not None:
        from dovetail.app.allocate_screen import answer as picked

        work = Question(model, machine or "", batch, prompt, output).workload
        answer = picked(model, machine, target, out, recipe, work, quiet, **how)
    elif recipe is None:
        raise DovetailError("no recipe", where="compress", hint="w4a16, or --for MACHINE --target 'tpot<0.6x'")
    else:
        found = apply(model, recipe, out, **how)
        answer = Answer("compress", found, lambda: compress_screen(found, quiet))
    emit(answer, as_json=json, quiet=quiet, out=out, inputs=_read(model))


def _read(model: str) -> list[Path]:
    """The files of a model that a real run reads, for its manifest."""
    from dovetail.model import Model

    folder = Model.load(model).folder
    return [] if folder is None else [folder / "config.json", *sorted(folder.glob("*.safetensors"))]


def run(
    model: ModelName,
    prompt_file: Annotated[Path, typer.Option("--prompt-file", metavar="FILE", help="UTF-8 text to continue.")],
    recipe: RecipeName = "none",
    max_new: Annotated[int, typer.Option("--max-new", metavar="N", help="Most tokens to generate.", min=1)] = 128,
    temperature: Annotated[float, typer.Option(metavar="T", help="0 takes the likeliest token.", min=0.0)] = 0.0,
    top_k: Annotated[int, typer.Option("--top-k", metavar="N", help="Only among the likeliest N; 0: all.", min=0)] = 0,
    top_p: Annotated[float, typer.Option("--top-p", metavar="P", help="Only among the likeliest, of chance P.")] = 1.0,
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of the sampling.")] = 0,
    stop: Annotated[
        list[str] | None, typer.Option("--stop", metavar="TEXT", help="End before this text; repeatable.")
    ] = None,
    kernels: Kernels = "auto",
    head_bits: HeadBits = None,
    speculate: Annotated[
        str,
        typer.Option(
            metavar="HOW",
            help="none, lookup, medusa, eagle, draft, exit:N, medusa+lookup: the same text; medusa:relaxed: another.",
        ),
    ] = "none",
    heads: Heads = None,
    draft: Draft = None,
    json: Json = False,
    quiet: Quiet = False,
    out: Out = None,
) -> None:
    """Continue a text with a model on this machine."""
    from dovetail.design.run import run as generate

    def shown(text: str) -> None:
        print(text, end="", flush=True)

    found = generate(
        model, prompt_file, recipe=recipe, max_new=max_new, temperature=temperature, top_k=top_k, top_p=top_p,
        seed=seed, stop=stop or (), kernels=kernels, head_bits=head_bits, speculate=speculate, heads=heads, draft=draft,
        on_text=None if json else shown,
    )  # fmt: skip

    def screen() -> None:
        print()
        speed, cache = found["tokens_per_s"]["value"], found["cache_bytes"]["value"]
        steps = "" if found["tokens_per_step"] == 1 else f" ({found['tokens_per_step']:.2f} a step)"
        steps += ", relaxed acceptance: not the model's own text" if found["acceptance"] == "relaxed" else ""
        progress(
            f"\n{found['tokens']} tokens{steps}, {speed:,.1f} tok/s, {cache:,.0f} bytes of cache, "
            f"{found['kernels']} products",
            quiet=quiet,
        )
        for note in found["notes"]:
            progress(folded(f"note        {note}"), quiet=quiet)

    answer = Answer("run", found, screen)
    emit(answer, as_json=json, quiet=quiet, out=out, inputs=[prompt_file, *_read(model)])


def build(
    model: Annotated[str, typer.Argument(help="A zoo name, a Hugging Face folder or a config.json; or a study.")],
    out: Folder,
    on: On = "",
    pick: Annotated[
        str, typer.Option(metavar="RULE", help="Of a study: what to build from its front, such as 'tpot < 30 ms'.")
    ] = "",
    recipe: RecipeName = "none",
    batch: Batch = 1,
    prompt: Prompt = 1024,
    output: Output = 128,
    tp: Tp = 0,
    pp: Pp = 1,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write a design: checkpoint, serving command, prediction."""
    found = _built(Question(model, on, batch, prompt, output, recipe, tp, pp), pick, out, quiet)

    def screen() -> None:
        print(f"built {found['path']}")
        if quiet:
            return
        for name, words in found["files"].items():
            print(folded(f"  {name:<14}{words}", 16))
        print(f"serve       {found['serve']}" if found["serve"] else folded(f"serve       {found['serve_why']}"))
        print(command(["dovetail", "measure", found["path"]]))

    emit(
        Answer("build", found, screen),
        as_json=json,
        quiet=quiet,
        out=out,
        inputs=[Path(model)] if pick else _read(model),
    )


def _built(asked: Question, pick: str, out: Path, quiet: bool) -> dict[str, Any]:
    """The design that was asked for, or the one that a rule picks of a study."""
    from dovetail.design import Plan
    from dovetail.design.build import build as make

    def report(line: str) -> None:
        progress(line, quiet=quiet)

    if pick:
        from dovetail.search.realise import build_from

        if own := asked.beyond(Question(asked.model, "")):
            why = "the design that is picked has its own"
            raise DovetailError(f"{', '.join(own)} beside --pick", where=own[0], why=why, hint="leave it out")
        return build_from(Path(asked.model), pick, out, report)
    if not asked.on:
        hint = "--on h100-sxm; or --pick 'tpot < 30 ms' for a study"
        raise DovetailError("a design needs a machine", where="--on", hint=hint)
    return make(asked.model, asked.on, asked.workload, asked.recipe, out, report, Plan(asked.tp, asked.pp))


def compile(
    model: Annotated[str, typer.Argument(help="A zoo name, a Hugging Face folder, or NET.pt2 of torch.export.save.")],
    target: Annotated[str, typer.Option(metavar="NAME", help="ecp5-85, u280 or asic.")],
    out: Folder,
    budget: Annotated[
        str, typer.Option(metavar="TERMS", help="Such as 'dsp<=256,bram<=100,bw=10GB/s'; else all there is.")
    ] = "",
    recipe: Annotated[str, typer.Option(metavar="NAME", help="w8a8, or w4a8: weights in 4 bits.")] = "w8a8",
    inputs: Annotated[
        Path | None, typer.Option("--inputs", metavar="FILE", help="For NET.pt2: .npy of inputs, .npz with labels too.")
    ] = None,
    simulate: Annotated[
        int, typer.Option(metavar="N", help="Tokens to decode (inputs to classify) in RTL simulation.", min=0)
    ] = 0,
    prompt_file: Annotated[
        Path | None, typer.Option("--prompt-file", metavar="FILE", help="UTF-8 text that the simulation continues.")
    ] = None,
    context: Annotated[
        int, typer.Option(metavar="N", help="Most tokens of a sequence (inputs in memory).", min=8)
    ] = 256,
    text: Text = None,
    calibrate_on: CalibrateOn = None,
    quality: Annotated[bool, typer.Option(help="Perplexity (accuracy) of the integers; off: --no-quality.")] = True,
    synthesis: Annotated[bool, typer.Option(help="Resources by Yosys; off: --no-synthesis.")] = True,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Turn a checkpoint into an accelerator in Verilog.

    Writes RTL, the image of memory, a test bench and a report; 'make -C DIR sim' decodes text there. The array is the
    one that is predicted to take the least time for a token within the budget. With --simulate every tensor of every
    layer is compared with the integer model, bit for bit. An MLP or a small CNN that torch.export.save wrote is
    calibrated on --inputs, and 'make -C DIR sim' classifies.
    """
    from dovetail.app.compile_screen import compile_screen
    from dovetail.core.errors import CHECK_FAILED
    from dovetail.design.compile import Asked
    from dovetail.design.compile import compile as make
    from dovetail.design.network import compile_network

    asked = Asked(budget, context, simulate, prompt_file, text, calibrate_on, quality, synthesis)
    how: dict[str, Any] = {"recipe": recipe, "asked": asked, "report": lambda line: progress(line, quiet=quiet)}
    if inputs is not None or Path(model).suffix == ".pt2":
        found, files = compile_network(model, target, out, inputs, **how), [Path(model), *([inputs] if inputs else [])]
    else:
        found, files = make(model, target, out, **how), _read(model)
    code = CHECK_FAILED if found["bits_different"] else 0
    answer = Answer("compile", found, lambda: compile_screen(found, quiet), code)
    emit(answer, as_json=json, quiet=quiet, out=out, inputs=files)


def measure(
    folder: Annotated[Path, typer.Argument(help="A folder that 'build' wrote.")],
    on: Annotated[
        str,
        typer.Option("--on", metavar="MACHINE", help="What predicts this computer: 'host', or a calibration's file."),
    ] = "host",
    seconds: Annotated[float, typer.Option(metavar="S", help="Time to spend on each figure.", min=0.05)] = 5.0,
    kernels: Kernels = "auto",
    json: Json = False,
    quiet: Quiet = False,
    out: Out = None,
) -> None:
    """Run a built design here; predicted beside measured."""
    from dovetail.design.measure import measure as compare

    if not folder.is_dir():
        raise DovetailError("no such folder", where=str(folder), hint="dovetail build MODEL --on host --out DIR")
    found = compare(folder, seconds, lambda line: progress(line, quiet=quiet), on, kernels)
    emit(Answer("measure", found, lambda: _measured(found)), as_json=json, quiet=quiet, out=out)


_PRODUCTS = {
    "dense": "dense: weights unpacked", "exact": "exact: weights packed, activations as the checkpoint says",
    "int8": "int8: weights packed, activations rounded to 8 bits",
}  # fmt: skip


def _measured(found: Mapping[str, Any]) -> None:
    from dovetail.core.units import show

    rows = []
    for r in found["rows"]:
        p, m = r["predicted"], r["measured"]
        error = "–" if r["error"] is None else f"{r['error']:+.1%}"
        rows.append([r["metric"], show(p["value"], p["unit"]), show(m["value"], m["unit"]) if m else "–", error])
    table(["metric", "predicted", "measured", "error"], rows)
    print(f"products    {_PRODUCTS[found['kernels'].partition(' ')[0]]}")


def recall(
    recipe: Annotated[str, typer.Argument(help="A recipe's name or YAML file; none for the model as it is.")] = "none",
    model: Annotated[
        str, typer.Option("--model", metavar="MODEL", help="The model 'recall', or a folder made from it.")
    ] = "recall",
    length: Annotated[int, typer.Option(metavar="N", help="Tokens of each prompt.")] = 4096,
    question: Annotated[
        str, typer.Option(metavar="WHERE", help="inside the prompt, or after its cache was cut.")
    ] = "inside",
    each: Annotated[int, typer.Option(metavar="N", help="Prompts of each of five depths.", min=1)] = 8,
    notes: Annotated[
        int | None, typer.Option(metavar="N", help="Notes in each prompt. Default: one to 64 tokens.", min=1)
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Which prompts.")] = 0,
    json: Json = False,
    quiet: Quiet = False,
    out: Out = None,
) -> None:
    """Ask a model for notes in long texts, under a recipe."""
    from dovetail.design.recall import recall as ask

    found = ask(
        model, recipe, length=length, each=each, notes=notes, question=question, seed=seed,
        report=lambda line: progress(line, quiet=quiet),
    )  # fmt: skip

    def screen() -> None:
        rows = [[f"{r['depth']:.0%}", str(r["asked"]), str(r["right"])] for r in found["rows"]]
        table(["depth", "asked", "right"], rows)
        share, cache = found["recall"], found["cache_bytes"]["value"]
        print(f"recall      {share['value']:.1%} ({share['low']:.1%} to {share['high']:.1%}) by {found['recipe']}")
        print(f"prompts     {found['tokens']:,} tokens, the question {found['question']}; {cache:,.0f} bytes of cache")

    emit(Answer("recall", found, screen), as_json=json, quiet=quiet, out=out, inputs=_read(model))
