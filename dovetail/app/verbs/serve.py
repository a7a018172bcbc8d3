"""``serve``: a model behind an OpenAI-compatible address on this computer."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from dovetail.app.help import add
from dovetail.app.output import Json, Out, Quiet, folded, progress
from dovetail.app.question import ModelName, RecipeName
from dovetail.app.verbs.do import Draft, HeadBits, Heads, Kernels
from dovetail.core.errors import DovetailError


def add_to(app: typer.Typer) -> None:
    """Add this verb to the command line."""
    add(
        app,
        "Do",
        serve,
        ["dovetail serve embedded", "dovetail serve ./my-model --recipe w8a16 --speculate lookup --port 9000"],
    )


Host = Annotated[str, typer.Option(metavar="ADDRESS", help="Where to listen.")]
Port = Annotated[int, typer.Option(metavar="N", help="0: any that is free.", min=0, max=65535)]
AllowHost = Annotated[
    list[str] | None,
    typer.Option("--allow-host", metavar="NAME", help="On 127.0.0.1, another name that requests may use; repeatable."),
]
ApiKey = Annotated[
    str | None, typer.Option("--api-key", metavar="KEY", help="Else $DOVETAIL_API_KEY, else one is made and shown.")
]
NoApiKey = Annotated[bool, typer.Option("--no-api-key", help="Whoever reaches the address may ask.")]
Name = Annotated[
    str | None, typer.Option(metavar="NAME", help="What clients call the model; else as it is called here.")
]
Places = Annotated[int, typer.Option(metavar="N", help="Texts decoded together.", min=1)]
Chunk = Annotated[int, typer.Option(metavar="N", help="Tokens of prompts read between steps.", min=1)]
Waiting = Annotated[int, typer.Option(metavar="N", help="Texts that may wait; more are refused.", min=0)]
Connections = Annotated[int, typer.Option(metavar="N", help="Connections that may be open; more are refused.", min=1)]
MaxPrompt = Annotated[
    int | None, typer.Option("--max-prompt", metavar="N", help="Tokens of a prompt; else the context.", min=1)
]
MaxNew = Annotated[
    int | None, typer.Option("--max-new", metavar="N", help="Tokens to make of one; else the context.", min=1)
]
CacheMemory = Annotated[
    str | None, typer.Option("--cache-memory", metavar="SIZE", help="For keys and values; else half of what is free.")
]
MaxBody = Annotated[str, typer.Option("--max-body", metavar="SIZE", help="Of a request.")]
Stall = Annotated[
    float, typer.Option(metavar="S", help="A client that leaves its text unread so long is given up.", min=0.1)
]
Drain = Annotated[float, typer.Option(metavar="S", help="What is in flight may go on so long at the end.", min=0.0)]
Idle = Annotated[float, typer.Option(metavar="S", help="Stop after so long without a request; 0: never.", min=0.0)]
Speculate = Annotated[str, typer.Option(metavar="HOW", help="As of 'run': medusa+lookup and others; the same texts.")]


def serve(
    model: ModelName, recipe: RecipeName = "none", host: Host = "127.0.0.1", port: Port = 8000,
    allow_host: AllowHost = None, api_key: ApiKey = None, no_api_key: NoApiKey = False, name: Name = None,
    places: Places = 64, chunk: Chunk = 256, queue: Waiting = 256, connections: Connections = 512,
    max_prompt: MaxPrompt = None, max_new: MaxNew = None, cache_memory: CacheMemory = None, max_body: MaxBody = "4 MiB",
    stall: Stall = 30.0, drain: Drain = 30.0, idle: Idle = 0.0, kernels: Kernels = "auto", head_bits: HeadBits = None,
    speculate: Speculate = "none", heads: Heads = None, draft: Draft = None, json: Json = False, quiet: Quiet = False,
    out: Out = None,
) -> None:  # fmt: skip
    """Serve a model with an OpenAI-compatible API."""
    from dovetail.app.serving.launch import Address, Batching
    from dovetail.app.serving.launch import serve as run
    from dovetail.app.serving.limits import UNLIMITED, Limits
    from dovetail.design.ready import Ways

    key, shown = _key(api_key, none=no_api_key, kept=out is not None)
    limits = Limits(
        _bytes(max_body, "--max-body"), max_prompt or UNLIMITED, max_new or UNLIMITED, queue, stall, drain, connections
    )
    cache = None if cache_memory is None else _bytes(cache_memory, "--cache-memory")
    if cache is not None and cache < 1:
        raise DovetailError("no memory for keys and values", where="--cache-memory", hint="--cache-memory '2 GiB'")
    progress(f"loading {model} …", quiet=quiet)
    run(
        model, recipe, Ways(kernels=kernels, head_bits=head_bits, speculate=speculate, heads=heads, draft=draft),
        Address(host, port, key, idle, tuple(allow_host or ())), limits, Batching(places, chunk, cache), name or model,
        lambda about: _said(about, shown, json=json, needed=key is not None, out=out),
    )  # fmt: skip
    progress("stopped", quiet=quiet)


def _key(asked: str | None, *, none: bool, kept: bool) -> tuple[str | None, str | None]:
    """The key that requests have to show, and the one to tell, which is made here. Raises `DovetailError`."""
    from dovetail.app.serving.launch import KEY, new_key

    if none and asked:
        raise DovetailError("a key that nobody is asked for", where="--api-key", hint="--api-key or --no-api-key")
    if asked and kept:
        hint = f"the key in ${KEY}"
        raise DovetailError("a key that would be kept with the command line", where="--api-key", hint=hint)
    if none:
        return None, None
    given = asked or os.environ.get(KEY)
    made = None if given else new_key()
    return given or made, made


def _bytes(size: str, where: str) -> int:
    from dovetail.core.units import parse

    return int(parse(size, "byte", where=where))


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
