"""`cuhlm serve`: the large model's side of every scheme, for many devices."""

import asyncio
import json
from pathlib import Path
from typing import Any

import click

from cuhlm_theory._checks import as_count, as_nonnegative, as_positive
from cuhlm_theory.cli import options

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(
    "serve",
    epilog="\b\nExample: cuhlm serve --listen 127.0.0.1:50051\n"
    "         cuhlm decode --server 127.0.0.1:50051 --scheme kept-law --prompt 'Why is the sky blue?'",
)
@click.option(
    "--llm",
    default=None,
    help="Large model: hub id, folder or .gguf file [default: that of the built-in pair].",
)
@click.option(
    "--listen",
    default="127.0.0.1:50051",
    show_default=True,
    metavar="HOST:PORT",
    help="Where devices connect; anything but this machine needs TLS and a token. Port 0 takes a free one.",
)
@click.option("--tls-cert", type=_FILE, default=None, help="Certificate of this server, PEM.")
@click.option("--tls-key", type=_FILE, default=None, help="Its private key, PEM.")
@click.option(
    "--token-file", type=_FILE, default=None, help="File with the token of devices [default: CUHLM_TOKEN]."
)
@click.option("--device", default="cpu", show_default=True, help="cpu or cuda.")
@click.option("--dtype", default="float32", show_default=True, help="float32, bfloat16 or float16.")
@click.option(
    "--num-texts", type=options.WHOLE, default=32, show_default=True, help="Open texts; others are refused."
)
@click.option(
    "--num-caches",
    type=options.WHOLE,
    default=8,
    show_default=True,
    help="Texts whose cache is kept; the idlest gives way, and reads its prefix again.",
)
@click.option(
    "--longest",
    type=options.WHOLE,
    default=1024,
    show_default=True,
    help="Tokens of a text and its prompt.",
)
@click.option(
    "--idle-s", type=options.Number("s"), default=300.0, show_default=True, help="Longest silence [s]."
)
@click.option(
    "--linger-s",
    type=options.Number("s"),
    default=10.0,
    show_default=True,
    help="How long a device whose connection broke may come back to its text [s].",
)
@click.option(
    "--grace-s",
    type=options.Number("s"),
    default=10.0,
    show_default=True,
    help="How long texts may go on after SIGINT or SIGTERM [s].",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def command(*, llm: str | None, listen: str, device: str, dtype: str, as_json: bool, **given: Any) -> None:
    """Serve the large model's side of every scheme to many devices."""
    for name in ("num_texts", "num_caches", "longest"):
        as_count(name, given[name])
    as_positive("idle_s", given["idle_s"])
    for name in ("linger_s", "grace_s"):
        as_nonnegative(name, given[name])
    from calibration.pairs import context_length, load_llm
    from calibration.serving import protocol, server
    from calibration.serving.passes import Passes

    place = protocol.split("listen", listen)
    letting_in = _letting_in(given)
    server.check_open(place, **letting_in)
    model, tokenizer, called, sha256 = load_llm(llm, device=device, dtype=dtype)
    longest = min(given["longest"], context_length(model))
    bounds = {name: given[name] for name in ("num_texts", "num_caches", "idle_s", "linger_s", "grace_s")}
    limits = server.Limits(longest=longest, **bounds)
    described = server.describe(model, tokenizer, name=called, sha256=sha256, longest=longest)
    passes = Passes(model, vocab_size=described.vocab_size, num_caches=limits.num_caches, room=longest)

    def tell(address: str) -> None:
        told = {"listening": address, "llm": called, "tokenizer": described.tokenizer, "longest": longest}
        click.echo(json.dumps(told) if as_json else f"Listening on {address}: {called}. Ctrl-C ends it.")

    served = server.Server(passes, server.Sides(description=described, **letting_in), limits)
    cut = asyncio.run(server.serve(served, place, tell=tell))
    click.echo(f"cuhlm: ended; texts cut: {cut}", err=True)


def _letting_in(given: dict[str, Any]) -> dict[str, Any]:
    """Return credentials and token, as far as they are given."""
    import grpc

    from calibration.serving import protocol

    certificate, key = given["tls_cert"], given["tls_key"]
    if (certificate is None) != (key is None):
        raise ValueError(f"tls_cert and tls_key must be given together; got {certificate} and {key}")
    credentials = None
    if certificate is not None:
        credentials = grpc.ssl_server_credentials([(key.read_bytes(), certificate.read_bytes())])
    return {"credentials": credentials, "token": protocol.read_token(given["token_file"])}
