"""``serve``: a model behind an OpenAI-compatible address on this computer."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from dovetail.app.help import add
from dovetail.app.output import Json, Out, Quiet, folded, progress
from dovetail.app.question import ModelName, RecipeName
from dovetail.app.verbs.do import Kernels
from dovetail.core.errors import DovetailError


def add_to(app: typer.Typer) -> None:
    """Add this verb to the command line."""
    add(
        app,
        "Do",
        serve,
        ["dovetail serve embedded", "dovetail serve ./my-model --recipe w8a16 --speculate lookup --port 9000"],
    )


def serve(
    model: ModelName,
    recipe: RecipeName = "none",
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="N", help="0: any that is free.", min=0, max=65535)] = 8000,
    api_key: Annotated[
        str | None, typer.Option("--api-key", metavar="KEY", help="Else $DOVETAIL_API_KEY, else one is made and shown.")
    ] = None,
    no_api_key: Annotated[bool, typer.Option("--no-api-key", help="Whoever reaches the address may ask.")] = False,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="What clients call the model; else as it is called here.")
    ] = None,
    places: Annotated[int, typer.Option(metavar="N", help="Texts decoded together.", min=1)] = 64,
    chunk: Annotated[int, typer.Option(metavar="N", help="Tokens of prompts read between steps.", min=1)] = 256,
    queue: Annotated[int, typer.Option(metavar="N", help="Texts that may wait; more are refused.", min=0)] = 256,
    max_prompt: Annotated[
        int | None, typer.Option("--max-prompt", metavar="N", help="Tokens of a prompt; else the context.", min=1)
    ] = None,
    max_new: Annotated[
        int | None, typer.Option("--max-new", metavar="N", help="Tokens to make of one; else the context.", min=1)
    ] = None,
    cache_memory: Annotated[
        str | None,
        typer.Option("--cache-memory", metavar="SIZE", help="For keys and values; else half of what is free."),
    ] = None,
    max_body: Annotated[str, typer.Option("--max-body", metavar="SIZE", help="Of a request.")] = "4 MiB",
    stall: Annotated[
        float, typer.Option(metavar="S", help="A client that leaves its text unread so long is given up.", min=0.1)
    ] = 30.0,
    drain: Annotated[
        float, typer.Option(metavar="S", help="What is in flight may go on so long at the end.", min=0.0)
    ] = 30.0,
    idle: Annotated[
        float, typer.Option(metavar="S", help="Stop after so long without a request; 0: never.", min=0.0)
    ] = 0.0,
    kernels: Kernels = "auto",
    head_bits: Annotated[
        int | None, typer.Option("--head-bits", metavar="N", help="8: round the output head to 8 bits too.")
    ] = None,
    speculate: Annotated[
        str, typer.Option(metavar="HOW", help="As of 'run': medusa+lookup and others; the same texts.")
    ] = "none",
    heads: Annotated[
        Path | None, typer.Option("--heads", metavar="DIR", help="Trained heads; else those beside the weights.")
    ] = None,
    draft: Annotated[
        str | None, typer.Option("--draft", metavar="MODEL", help="A smaller model of the same vocabulary.")
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
    out: Out = None,
) -> None:
    """Serve a model with an OpenAI-compatible API."""
    from dovetail.app.serving.launch import KEY, Address, Batching, new_key
    from dovetail.app.serving.launch import serve as run
    from dovetail.app.serving.limits import UNLIMITED, Limits
    from dovetail.core.units import parse
    from dovetail.design.ready import Ways

    if no_api_key and api_key:
        raise DovetailError("a key that nobody is asked for", where="--api-key", hint="--api-key or --no-api-key")
    if api_key and out is not None:
        hint = f"the key in ${KEY}"
        raise DovetailError("a key that would be kept with the command line", where="--api-key", hint=hint)
    given = api_key or os.environ.get(KEY)
    key = None if no_api_key else given or new_key()
    limits = Limits(
        int(parse(max_body, "byte", where="--max-body")), max_prompt or UNLIMITED,
        max_new or UNLIMITED, queue, stall, drain,
    )  # fmt: skip
    cache = None if cache_memory is None else int(parse(cache_memory, "byte", where="--cache-memory"))
    if cache is not None and cache < 1:
        raise DovetailError("no memory for keys and values", where="--cache-memory", hint="--cache-memory '2 GiB'")
    shown = key if key != given else None
    progress(f"loading {model} …", quiet=quiet)
    run(
        model, recipe, Ways(kernels=kernels, head_bits=head_bits, speculate=speculate, heads=heads, draft=draft),
        Address(host, port, key, idle), limits, Batching(places, chunk, cache), name or model,
        lambda about: _said(about, shown, json=json, needed=key is not None, out=out),
    )  # fmt: skip
    progress("stopped", quiet=quiet)


def _said(about: dict[str, Any], key: str | None, *, json: bool, needed: bool, out: Path | None) -> None:
    """Say once what is served, and where: in JSON on one line, since nothing follows it for long. Keys are not kept."""
    if out is not None:
        from dovetail.app.report.verb import keep

        keep("serve", about, out)
    if json:
        from json import dumps

        print(dumps(about | {"api_key": key}), flush=True)
        return
    how = f"recipe {about['recipe']}, {about['kernels']} products, speculation {about['speculate']}"
    print(f"model       {about['model']}: {how}")
    if about["acceptance"] == "relaxed":
        print("acceptance  relaxed: drawn texts are not those without guesses; temperature 0 gives the greedy text")
    for note in about["notes"]:
        print(folded(f"note        {note}"))
    print(f"address     {about['url']}")
    shown = f"{key} (made for this run, shown this once)" if key else "as given" if needed else "none is needed"
    print(f"api key     {shown}")
    print("stop        Ctrl-C, or SIGTERM: what is in flight is finished", flush=True)
