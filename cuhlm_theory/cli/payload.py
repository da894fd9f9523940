"""`cuhlm payload`: bits of a truncated distribution under each codec."""

from typing import Any

import click

from cuhlm_theory import payload, presets
from cuhlm_theory.cli import options, output
from cuhlm_theory.parameters import Codec

_CODECS = {
    "printed": "value and index of each entry",
    "dense": "all values in token order",
    "enumerative": "values in token order, number of the index set",
    "index_only": "the draft token's index",
}


def _render(result: output.Result) -> None:
    rows = [
        (name.replace("_", "-"), result[f"{name}_bit"], _byte(result[f"{name}_bit"]), what)
        for name, what in _CODECS.items()
    ]
    output.table(
        f"{result['k']} of {result['vocab_size']} entries, {result['prob_bits']} bit a probability, "
        f"{result['index_bits']} bit an index",
        ["codec", "bits", "bytes", "what is sent"],
        rows,
        note=f"Least: {result['best_codec']}. The printed codec saves {result['compression']:.4%} of k = V.",
    )


def _byte(bits: int) -> int | float:
    return bits / 8 if bits % 8 else bits // 8


@click.command("payload", epilog="\b\nExample: cuhlm payload --k 30 --vocab-size 32000")
@options.scenario
@click.option(
    "--k",
    type=options.WHOLE,
    default=int(presets.SETTINGS["offline_k"].value),
    show_default=True,
    help="Entries kept.",
)
@options.of(Codec, only=["vocab_size", "prob_bits", "index_bits"], calibrated=False)
@click.option(
    "--num-tokens", type=options.WHOLE, default=0, show_default=True, help="Skipped tokens to re-synchronise."
)
@output.reports(_render)
def command(*, k: int, num_tokens: int, **values: Any) -> output.Result:
    """Bits of a truncated distribution under each codec."""
    codec = options.ladder(values).build(Codec)
    vocab_size, prob_bits, index_bits = codec.vocab_size, codec.prob_bits, codec.index_bits
    bits = {
        "printed": int(payload.printed_bit(k, vocab_size, prob_bits, index_bits)),
        "dense": int(payload.dense_bit(vocab_size, prob_bits)),
        "enumerative": int(payload.enumerative_bit(k, vocab_size, prob_bits)),
    }
    return {
        "k": k,
        "vocab_size": vocab_size,
        "prob_bits": prob_bits,
        "index_bits": options.index_bits(codec),
        **{f"{name}_bit": value for name, value in bits.items()},
        "index_only_bit": int(payload.index_only_bit(vocab_size, index_bits)),
        "resync_bit": int(payload.resync_bit(num_tokens, vocab_size, index_bits)),
        "best_codec": min(bits, key=lambda name: bits[name]),
        "best_bit": min(bits.values()),
        "compression": float(payload.compression(k, vocab_size, prob_bits, index_bits)),
    }
