"""``compress``, ``run``, ``build``, ``measure``: do it for real, and put the prediction beside the measurement."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dovetail.app.output import Answer, Json, Out, Quiet, emit, progress, table
from dovetail.app.verbs.predict import Batch, ModelName, On, Output, Prompt, RecipeName
from dovetail.core.errors import DovetailError

Text = Annotated[
    Path | None, typer.Option("--text", help="Text for quality; by default held-out standard-library text.")
]
Folder = Annotated[Path, typer.Option("--out", help="Folder to write.")]


def add_to(app: typer.Typer) -> None:
    """Add these verbs to the command line."""
    app.command()(compress)
    app.command()(run)
    app.command()(build)
    app.command()(measure)


def compress(
    model: ModelName,
    recipe: Annotated[str, typer.Argument(help="A recipe's name or YAML file.")],
    out: Folder,
    text: Text = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Apply a recipe to real weights, save the checkpoint, and measure its quality before and after."""
    from dovetail.core.units import show
    from dovetail.design.compress import compress as apply

    found = apply(model, recipe, out, text=text, report=lambda line: progress(line, quiet=quiet))

    def screen() -> None:
        before, after = found["perplexity_before"], found["perplexity_after"]
        print(f"{found['path']}: {found['recipe']} of {found['model']}")
        print(
            f"  bytes       {show(found['bytes_before']['value'], 'byte')} -> {show(found['bytes_after']['value'], 'byte')}"
        )
        print(f"  perplexity  {before['value']:.3f} -> {after['value']:.3f}   ({found['text']})")
        print(f"next        dovetail run {found['path']} --prompt-file FILE")

    emit(Answer("compress", found, screen), as_json=json)


def run(
    model: ModelName,
    prompt_file: Annotated[Path, typer.Option("--prompt-file", help="UTF-8 text to continue.")],
    recipe: RecipeName = "none",
    max_new: Annotated[int, typer.Option("--max-new", help="Tokens to generate.")] = 128,
    temperature: Annotated[float, typer.Option(help="0 is greedy.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Seed of the sampling.")] = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Continue a text with a model on this machine."""
    from dovetail.design.run import run as generate

    found = generate(model, prompt_file, recipe=recipe, max_new=max_new, temperature=temperature, seed=seed)

    def screen() -> None:
        print(found["text"])
        if not quiet:
            speed = found["tokens_per_s"]["value"]
            print(f"\n[{found['tokens']} tokens, {speed:.1f} tok/s, cache {found['cache_bytes']['value']:,.0f} bytes]")

    emit(Answer("run", found, screen), as_json=json)


def build(
    model: ModelName,
    on: On,
    out: Folder,
    recipe: RecipeName = "none",
    batch: Batch = 1,
    prompt: Prompt = 1024,
    output: Output = 128,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write a design: the compressed checkpoint, how to serve it, and what is predicted of it."""
    from dovetail.design.build import build as make
    from dovetail.workload import Workload

    found = make(
        model,
        on,
        Workload(prompt=prompt, output=output, batch=batch),
        recipe,
        out,
        lambda line: progress(line, quiet=quiet),
    )

    def screen() -> None:
        print(f"built {found['path']}")
        for name, words in found["files"].items():
            print(f"  {name:<22}{words}")
        print(f"serve       {found['serve']}" if found["serve"] else f"serve       {found['serve_why']}")
        print(f"next        dovetail measure {found['path']}")

    emit(Answer("build", found, screen), as_json=json)


def measure(
    folder: Annotated[Path, typer.Argument(help="A folder that 'build' wrote.")],
    seconds: Annotated[float, typer.Option(help="Time to spend on each figure.")] = 5.0,
    json: Json = False,
    quiet: Quiet = False,
    out: Out = None,
) -> None:
    """Run a built design on this machine and put predicted beside measured."""
    from dovetail.core.units import show
    from dovetail.design.measure import measure as compare

    if not folder.is_dir():
        raise DovetailError("no such folder", where=str(folder), hint="dovetail build MODEL --on host --out DIR")
    found = compare(folder, seconds, lambda line: progress(line, quiet=quiet))

    def screen() -> None:
        rows = []
        for r in found["rows"]:
            p, m = r["predicted"], r["measured"]
            error = "–" if r["error"] is None else f"{r['error']:+.1%}"
            rows.append([r["metric"], show(p["value"], p["unit"]), show(m["value"], m["unit"]) if m else "–", error])
        table(["metric", "predicted", "measured", "error"], rows)

    emit(Answer("measure", found, screen), as_json=json, out=out)
