r"""Real bytes for what `cuhlm_theory.payload` counts: laws on a lattice, written and read.

>>> from cuhlm_theory.codec import decode, distribution_form, encode, round_truncated
>>> from cuhlm_theory.parameters import Codec
>>> form = distribution_form(Codec(vocab_size=4, prob_bits=8))
>>> packet = encode(form, round_truncated([0.1, 0.6, 0.25, 0.05], k=2, prob_bits=8))
>>> len(packet)  # 20 bit of payload, and 5 byte of frame
8
>>> decode(form, packet)[0].law().round(3)
array([0.075, 0.6  , 0.251, 0.075])

In four steps, a module each: `bits` packs whole numbers and sets of them; `laws` holds a law whose
probabilities are multiples of :math:`1/\ell`, which both ends compute from the same whole numbers; `forms`
says how it is written, `Payload.form` which form a payload rule takes; `frame` adds length and checksum, so
that a packet that was cut short or altered is refused.
"""

from cuhlm_theory.codec.bits import Reader, Writer, most_subset_bit
from cuhlm_theory.codec.forms import Form, Shorter, TokenList, decode, distribution_form, encode, listed_form
from cuhlm_theory.codec.frame import opened, overhead_byte, sealed
from cuhlm_theory.codec.laws import LatticeLaw, round_truncated

__all__ = [
    "Form",
    "LatticeLaw",
    "Reader",
    "Shorter",
    "TokenList",
    "Writer",
    "decode",
    "distribution_form",
    "encode",
    "listed_form",
    "most_subset_bit",
    "opened",
    "overhead_byte",
    "round_truncated",
    "sealed",
]
