"""Packets: their length against the formulas, what comes back, and what is refused."""

import math
import zlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cuhlm_theory import kept_law, payload, truncation
from cuhlm_theory.codec import (
    Form,
    LatticeLaw,
    Reader,
    Shorter,
    TokenList,
    Writer,
    decode,
    distribution_form,
    encode,
    most_subset_bit,
    opened,
    overhead_byte,
    round_truncated,
    sealed,
)
from cuhlm_theory.errors import PacketError
from cuhlm_theory.parameters import Codec
from cuhlm_theory.schemes import SCHEMES, lattice_bit
from cuhlm_theory.schemes.payload import (
    Candidates,
    ConformalLattice,
    DenseLattice,
    Index,
    IndexAlone,
    IndexAndProbability,
    KeptSet,
    Lattice,
    Nothing,
    round_to_lattice,
)
from cuhlm_theory.schemes.skip import Below, Never

some = settings(max_examples=60)
VOCABS = st.integers(2, 12) | st.sampled_from([31, 256, 257, 32_000, 49_152, 151_936])
PROB_BITS = st.sampled_from([1, 2, 8, 16])


@st.composite
def laws(draw, vocabs=VOCABS):
    """Flat and peaked laws, with ties and zeros, down to a single token."""
    vocab = draw(vocabs)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    weight = rng.gamma(draw(st.sampled_from([0.01, 0.3, 3.0])), size=vocab)
    kind = draw(st.sampled_from(["drawn", "ties", "zeros", "one"]))
    if kind == "ties":
        weight = np.ceil(2.0 * weight)
    elif kind != "drawn":
        weight[rng.random(vocab) < {"zeros": 0.6, "one": 1.0}[kind]] = 0.0
    weight[rng.integers(vocab)] += 1e-3
    return weight / weight.sum()


def sizes(law):
    """Sizes to keep, the ends among them."""
    return st.sampled_from([1, 2, len(law)]) | st.integers(1, min(len(law), 2000))


def same(one, other):
    """Whether two laws are the same whole numbers."""
    numbers = (one.vocab_size, one.levels, one.tag) == (other.vocab_size, other.levels, other.tag)
    return numbers and np.array_equal(one.index, other.index) and np.array_equal(one.count, other.count)


def came_back(form, *messages):
    """What a packet gives back; it is as long as its payload, padded, and the frame."""
    packet = encode(form, *messages)
    bit = sum(form.bit(message) for message in messages)
    assert len(packet) == math.ceil(bit / 8) + overhead_byte(bit)
    found = decode(form, packet)
    assert len(found) == len(messages)
    return found


# numbers and sets


@given(st.lists(st.integers(0, 2**20), max_size=20), st.integers(21, 64))
def test_whole_numbers_come_back(values, width):
    writer = Writer()
    writer.numbers(values, width)
    assert writer.bit == len(values) * width
    reader = Reader(writer.packed, writer.bit)
    assert reader.numbers(len(values), width).tolist() == values
    assert reader.left == 0


def test_numbers_without_bits_are_zeros():
    writer = Writer()
    writer.numbers([0, 0], 0)
    assert writer.bit == 0
    assert Reader(b"", 0).numbers(2, 0).tolist() == [0, 0]


@some
@given(st.data(), VOCABS)
def test_a_set_comes_back_and_takes_no_more_than_its_bound(data, vocab):
    k = data.draw(st.sampled_from([0, 1, vocab // 2, vocab - 1, vocab]) | st.integers(0, vocab))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    block = np.arange(k) + data.draw(st.integers(0, vocab - k))
    for members in (block, np.sort(rng.permutation(vocab)[:k])):
        writer = Writer()
        writer.subset(members, vocab)
        assert writer.bit <= most_subset_bit(k, vocab)
        reader = Reader(writer.packed, writer.bit)
        assert np.array_equal(reader.subset(k, vocab), members)
        assert reader.left == 0


def log2_sets(k, vocab):
    return (math.lgamma(vocab + 1) - math.lgamma(k + 1) - math.lgamma(vocab - k + 1)) / math.log(2)


def test_the_bound_is_close_to_the_logarithm_of_the_number_of_sets():
    for vocab in (2, 3, 17, 1000, 32_000, 151_936):
        k = np.arange(vocab + 1) if vocab <= 1000 else np.unique(np.geomspace(1, vocab, 400).astype(int))
        n = np.minimum(k, vocab - k)
        allowed = np.array([log2_sets(int(one), vocab) for one in k])
        allowed += (2.0 - math.log2(math.e)) * n + math.log2(vocab + 1)
        assert np.all(most_subset_bit(k, vocab) <= allowed + 1e-6)


def test_the_longest_set_is_as_long_as_the_bound():
    for k, vocab in ((1, 2), (1, 32), (3, 50), (47, 50), (100, 32_035), (500, 1000), (501, 1000)):
        writer = Writer()
        writer.subset(np.arange(k) if 2 * k > vocab else np.arange(vocab - k, vocab), vocab)
        assert writer.bit == most_subset_bit(k, vocab) == most_subset_bit(vocab - k, vocab)


@pytest.mark.parametrize("k", [16, 30, 256, 1000, 20_000])
def test_drawn_sets_take_little_more_than_the_logarithm(k):
    rng, vocab, spent = np.random.default_rng(k), 151_936, []
    for _ in range(10):
        writer = Writer()
        writer.subset(np.sort(rng.choice(vocab, k, replace=False)), vocab)
        spent.append(writer.bit)
    over = np.mean(spent) - log2_sets(k, vocab)
    spread = np.std(spent) / math.sqrt(len(spent))
    stirling = 0.5 * math.log2(2 * math.pi * k)  # what a set saves over as many independent gaps
    assert 0.02 * k + stirling - 4 * spread < over < 0.145 * k + stirling + 1 + 4 * spread


# laws on a lattice


@some
@given(laws(), PROB_BITS, st.data())
def test_the_law_in_few_bits_is_near_and_all_of_it_is_the_quantised_one(law, bits, data):
    k = data.draw(sizes(law))
    sent = round_truncated(law, k, bits)
    assert sent.index.size <= k
    assert sent.law().sum() == pytest.approx(1.0)
    assert np.array_equal(round_truncated(law, len(law), bits).law(), truncation.quantise(law, bits))
    bound = truncation.truncation_tv(law, k) + truncation.quantisation_tv_bound(k + 1, bits)
    assert 0.5 * np.abs(law - sent.law()).sum() <= bound + 1e-12


@some
@given(laws(), PROB_BITS, st.data())
def test_a_law_that_was_quantised_is_only_truncated(law, bits, data):
    """So the server has what the theory says where the device drafts from the quantised law."""
    k = data.draw(sizes(law))
    quantised = truncation.quantise(law, bits)
    expected = truncation.reconstruct(quantised, k)
    np.testing.assert_allclose(round_truncated(quantised, k, bits).law(), expected, rtol=0.0, atol=1e-15)


@given(laws(st.integers(2, 30)), st.integers(1, 4), st.data())
def test_joining_the_tail_is_never_farther_than_sending_zeros(law, bits, data):
    k = data.draw(st.integers(1, len(law)))
    sent = round_truncated(law, k, bits)
    kept = truncation.drop_tail(law, k) > 0.0
    zeros = sent.kept()
    if sent.rest:
        zeros[~kept] = sent.rest / sent.levels / np.count_nonzero(~kept)
    assert np.abs(law - sent.law()).sum() <= np.abs(law - zeros).sum() + 1e-12


@some
@given(laws(), st.sampled_from([1, 7, 100, 255]))
def test_every_rounding_becomes_whole_numbers_and_back_bit_for_bit(law, levels):
    lattice = round_to_lattice(law, levels)
    whole = LatticeLaw.of(lattice, levels)
    assert whole.rest == 0
    assert np.array_equal(whole.law(), lattice)
    kept = kept_law.round_down(law * 0.7, 8)
    assert np.array_equal(LatticeLaw.of(kept, 255).kept(), kept)
    if levels == 255:
        assert np.array_equal(lattice, truncation.quantise(law, 8))


def test_the_finest_lattice_is_told_from_no_lattice():
    law = truncation.quantise([0.1, 0.2, 0.7], 48)
    assert LatticeLaw.of(law, 2**48 - 1).count.sum() == 2**48 - 1
    with pytest.raises(ValueError, match=r"^law must hold multiples of 1/255, as rounding leaves; got 0.1$"):
        LatticeLaw.of([0.1, 0.2, 0.7], 255)


def test_what_a_law_says_of_one_token_is_left():
    law = LatticeLaw.of([0.25, 0.0, 0.75], 4)
    assert law.only(2).kept().tolist() == [0.0, 0.0, 0.75]
    assert repr(law.only(2)) == "LatticeLaw of 1 of 3 tokens, 3 of 4 levels"
    with pytest.raises(ValueError, match=r"^token must have a probability in the law; got 1$"):
        law.only(1)


# lengths and laws that come back, rule by rule


@some
@given(laws(), PROB_BITS, st.data())
def test_printed_and_dense_laws_take_the_bits_of_the_formula(law, bits, data):
    k, vocab = data.draw(sizes(law)), len(law)
    sent = round_truncated(law, k, bits)
    width = data.draw(st.none() | st.integers((vocab - 1).bit_length(), 40))
    codec = Codec(vocab_size=vocab, prob_bits=bits, index_bits=width)
    named = max(sent.index.size, 1)
    for form, expected in (
        (distribution_form(codec), payload.distribution_bit(codec, named)),
        (distribution_form(codec, k), payload.distribution_bit(codec, k)),
        (distribution_form(replace(codec, kind="dense")), payload.dense_bit(vocab, bits)),
    ):
        assert form.bit(sent) == expected
        (found,) = came_back(form, sent)
        assert same(found, sent)
        assert np.array_equal(found.law(), sent.law())


@some
@given(laws(), PROB_BITS, st.data())
def test_laws_by_gaps_are_within_the_bound_and_the_shortest_says_by_its_length_what_it_is(law, bits, data):
    k, vocab = data.draw(sizes(law)), len(law)
    sent = round_truncated(law, k, bits)
    codec = Codec(vocab_size=vocab, prob_bits=bits, kind="enumerative")
    named = max(sent.index.size, 1)
    size_bit = (min(vocab, 2**bits - 1) - 1).bit_length()
    most = {
        None: named * bits + most_subset_bit(named, vocab) + size_bit,
        k: k * bits + most_subset_bit(k, vocab),
    }
    for agreed, bound in most.items():
        enumerative = distribution_form(codec, agreed)
        best = distribution_form(replace(codec, kind="best"), agreed)
        assert enumerative.bit(sent) <= bound
        assert best.bit(sent) == min(enumerative.bit(sent), payload.dense_bit(vocab, bits))
        for form in (enumerative, best):
            assert same(came_back(form, sent)[0], sent)


@some
@given(laws(), st.data())
def test_printed_laws_without_index_bits_are_dense_where_that_is_shorter(law, data):
    codec = Codec(vocab_size=len(law), index_bits=0)
    sent = round_truncated(law, data.draw(sizes(law)), 8)
    form = distribution_form(codec)
    assert form.bit(sent) == payload.distribution_bit(codec, max(sent.index.size, 1))
    assert same(came_back(form, sent)[0], sent)
    assert distribution_form(codec, len(law)) == distribution_form(replace(codec, kind="dense"))


@some
@given(laws(), st.sampled_from([1, 8, 16]), st.booleans(), st.data())
def test_kept_laws_take_the_bits_of_the_formula_in_a_run_as_well(law, bits, says_which, data):
    vocab = len(law)
    codec, rule = Codec(vocab_size=vocab, prob_bits=bits), KeptSet(says_which=says_which)
    named = data.draw(st.integers(0, min(vocab, 4)))
    m = kept_law.round_down(np.where(np.argsort(np.argsort(-law)) < named, law, 0.0), bits)
    kept = LatticeLaw.of(m, 2**bits - 1)
    if says_which and kept.index.size:
        kept = replace(kept, tag=data.draw(st.integers(0, kept.index.size - 1)))
    skip = Below(threshold=data.draw(st.floats(0.76, 1.0)))
    form = rule.form(codec, skip)
    assert form.bit(kept) == rule.bit(kept.index.size, codec, skip)
    nothing = LatticeLaw.of(np.zeros(vocab), 2**bits - 1)
    for found, sent in zip(came_back(form, kept, nothing, kept), (kept, nothing, kept), strict=True):
        assert same(found, sent)
    assert np.array_equal(came_back(form, kept)[0].kept(), m)


@some
@given(laws(), st.sampled_from([1, 15, 100, 1023]), st.integers(1, 40))
def test_lattice_points_are_within_the_bound_and_are_the_law_that_is_drafted_from(law, levels, num):
    vocab, codec = len(law), Codec(vocab_size=len(law))
    rules = (
        Lattice(num_candidates=num, lattice_levels=levels),
        ConformalLattice(lattice_levels=levels),
        DenseLattice(lattice_levels=levels),
    )
    for rule in rules:
        drafted, size, _ = rule.draft_law(law, rule.start)
        sent = LatticeLaw.of(drafted, levels, tag=7 if isinstance(rule, DenseLattice) else 0)
        form = rule.form(codec, Never())
        assert sent.index.size <= size
        named = max(sent.index.size, 1) if isinstance(rule, ConformalLattice) else size
        extra = rule.bit(named, codec, Never()) - lattice_bit(named, levels, vocab)  # a size, or a number
        within = most_subset_bit(named, vocab) + most_subset_bit(named - 1, max(levels + named - 1, 2))
        assert form.bit(sent) <= within + extra
        for found in came_back(form, sent, sent):
            assert same(found, sent)
            assert np.array_equal(found.law(), drafted)


@some
@given(laws(), st.integers(1, 40), st.data())
def test_candidates_and_single_tokens_take_the_bits_of_the_formula(law, num, data):
    codec = Codec(vocab_size=len(law))
    rule = Candidates(num_candidates=num, with_indices=True)
    drafted, size, _ = rule.draft_law(law)
    candidates = LatticeLaw.of(truncation.quantise(drafted, rule.candidate_bits), 2**rule.candidate_bits - 1)
    form = rule.form(codec, Never())
    assert form == Candidates(num_candidates=num).form(codec, Never())  # which does not charge the indices
    assert form.bit(candidates) == rule.bit(size, codec, Never())
    quantised = LatticeLaw.of(truncation.quantise(law, codec.prob_bits), 255)
    token = int(data.draw(st.sampled_from(quantised.index.tolist())))
    scalar, alone = quantised.only(token), LatticeLaw.of(IndexAlone().law_of_draft(law, token), 1)
    for one, sent in (
        (rule, candidates),
        (IndexAndProbability(), scalar),
        (Index(), alone),
        (IndexAlone(), alone),
    ):
        form = one.form(codec, Never())
        assert form.bit(sent) == one.bit(size, codec, Never())
        for found in came_back(form, sent, sent, sent):
            assert same(found, sent)


@given(VOCABS, st.data())
def test_a_run_of_tokens_takes_the_bits_of_the_formula(vocab, data):
    tokens = np.array(data.draw(st.lists(st.integers(0, vocab - 1), min_size=1, max_size=20)))
    form = TokenList(int(payload.index_only_bit(vocab)))
    assert form.bit(tokens) == payload.resync_bit(len(tokens), vocab)
    assert np.array_equal(came_back(form, tokens)[0], tokens)


@pytest.mark.parametrize("name", SCHEMES)
def test_every_scheme_has_a_form_and_says_nothing_only_where_it_sends_nothing(name):
    rule, codec = SCHEMES[name].payload, Codec(vocab_size=32)
    form = rule.form(codec, Below(threshold=0.5))
    assert (form is None) == isinstance(rule, Nothing)


# what is refused

PACKETS = {
    "printed": (Form(vocab_size=5, levels=15, index_bits=3, prob_bits=4), [[0.2, 0.0, 0.8, 0.0, 0.0]]),
    "kept": (
        Form(vocab_size=5, levels=15, least=0, most=2, index_bits=3, prob_bits=4, tag_bits=None),
        [[0.2, 0.0, 0.6, 0.0, 0.0], [0.0] * 5],
    ),
    "lattice": (Form(vocab_size=5, levels=15, most=5), [[0.2, 0.0, 0.8, 0.0, 0.0], [0.2] * 5]),
    "best": (distribution_form(Codec(vocab_size=5, prob_bits=4, kind="best")), [[0.2] * 5]),
}


@pytest.mark.parametrize(("form", "laws_of"), PACKETS.values(), ids=PACKETS)
def test_a_packet_that_is_cut_longer_or_altered_in_any_bit_is_refused(form, laws_of):
    messages = [LatticeLaw.of(law, 15) for law in laws_of]
    packet = encode(form, *messages)
    assert all(same(one, other) for one, other in zip(decode(form, packet), messages, strict=True))
    for size in range(len(packet)):
        with pytest.raises(PacketError, match=r"^packet must "):
            decode(form, packet[:size])
        with pytest.raises(PacketError, match=r"^packet must "):
            decode(form, packet[size + 1 :])
    with pytest.raises(PacketError, match=r"^packet must have \d+ bytes for a payload of \d+ bits; got \d+$"):
        decode(form, packet + b"\0")
    for place in range(8 * len(packet)):
        altered = bytearray(packet)
        altered[place // 8] ^= 1 << place % 8
        with pytest.raises(PacketError, match=r"^packet must "):
            decode(form, bytes(altered))


def test_a_packet_of_another_form_is_refused():
    form, (law,) = PACKETS["printed"]
    packet = encode(form, LatticeLaw.of(law, 15))
    for other in (
        replace(form, vocab_size=6),
        replace(form, prob_bits=5),
        TokenList(7),
        Shorter(form, replace(form, size=5)),
    ):
        with pytest.raises(PacketError, match=r"^packet must end with the checksum \w{8}; got \w{8}$"):
            decode(other, packet)
    assert decode(replace(form, vocab_size=np.int64(5)), packet)  # the same number in another type


@settings(max_examples=400)
@given(st.sampled_from(sorted(PACKETS)), st.binary(max_size=9), st.integers(0, 7))
def test_bits_with_the_right_checksum_are_refused_or_are_what_they_say(name, body, short):
    """A forged packet is decoded only where it is the packet of what it decodes to."""
    form, bit = PACKETS[name][0], max(8 * len(body) - short, 0)
    content = bytes([bit]) + body[: -(-bit // 8)]
    forged = content + zlib.crc32(content, zlib.crc32(form.agreed.encode())).to_bytes(4, "big")
    try:
        messages = decode(form, forged)
    except PacketError:
        return
    assert encode(form, *messages) == forged


def test_a_length_that_never_ends_or_takes_a_byte_too_many_is_refused():
    for endless in (b"", b"\xff" * 5, b"\x80" * 500):
        with pytest.raises(PacketError, match=r"^packet must begin with the length of its payload; got"):
            opened(endless)
    content = b"\x88\x00\x55"
    padded = content + zlib.crc32(content, zlib.crc32(TokenList(8).agreed.encode())).to_bytes(4, "big")
    with pytest.raises(PacketError, match=r"^packet must be the one that its messages have"):
        decode(TokenList(8), padded)


def test_the_frame_is_a_length_of_seven_bits_a_byte_and_a_checksum():
    for bit, byte in ((0, 5), (127, 5), (128, 6), (2**14 - 1, 6), (2**14, 7), (2**35 - 1, 9)):
        assert overhead_byte(bit) == byte
    message = Writer()
    message.numbers(np.ones(200), 1)
    packet = sealed(message, "agreed")
    assert len(packet) == 25 + overhead_byte(200)
    assert packet[:2] == bytes([200 & 127 | 128, 1])
    assert opened(packet, "agreed").numbers(200, 1).all()
    with pytest.raises(ValueError, match=r"^payload_bit must lie in \[0, 34359738367\]; got 3.43597e\+10$"):
        overhead_byte(2**35)


def test_refuses_what_does_not_fit_the_form():
    form, law = PACKETS["printed"][0], LatticeLaw.of(PACKETS["printed"][1][0], 15)
    for other in (replace(form, vocab_size=6), replace(form, levels=14)):
        with pytest.raises(
            ValueError, match=r"^law must have \d tokens and 1\d levels; got LatticeLaw of 2 of 5"
        ):
            encode(other, law)
    for few in (replace(form, size=1), replace(form, most=1)):
        with pytest.raises(ValueError, match=r"^law must name at most 1 tokens in this form; got LatticeLaw"):
            encode(few, law)
    with pytest.raises(ValueError, match=r"^law must have all 15 levels in this form; got LatticeLaw"):
        encode(PACKETS["lattice"][0], law.only(0))
    with pytest.raises(ValueError, match=r"^values must lie in \[0, 2\^7 - 1\]; got 128$"):
        encode(TokenList(7), np.array([3, 128]))
    with pytest.raises(ValueError, match=r"^values must lie in \[0, 2\^0 - 1\]; got 1$"):
        encode(form, replace(law, tag=1))


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ({"vocab_size": 1}, r"vocab_size must be at least 2; got 1"),
        ({"levels": 2**49}, r"levels must lie in \[1, 281474976710656\]; got 5.6295e\+14"),
        ({"levels": 16}, r"levels must be below 2\^4; got 16"),
        ({"size": 6}, r"size must lie in \[1, 5\]; got 6"),
        ({"most": 6}, r"most must lie in \[1, 5\]; got 6"),
        (
            {"prob_bits": None},
            r"size or most must be given unless entries of fixed width are all; got neither",
        ),
        ({"tag_bits": 3}, r"size or most must be given unless entries of fixed width are all; got neither"),
    ],
)
def test_refuses_forms_that_cannot_be_read(numbers, text):
    with pytest.raises(ValueError, match=f"^{text}$"):
        replace(PACKETS["printed"][0], **numbers)


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ({"index": np.array([2, 1])}, r"index must ascend within \[0, 2\]; got \[2 1\]"),
        ({"index": np.array([1, 3])}, r"index must ascend within \[0, 2\]; got \[1 3\]"),
        ({"index": np.array([-1, 1])}, r"index must ascend within \[0, 2\]; got \[-1  1\]"),
        ({"index": np.array([1])}, r"count must have the shape of index, \(1,\); got \(2,\)"),
        ({"count": np.array([0, 1])}, r"count must be at least 1 each and 4 in all; got \[0 1\]"),
        ({"count": np.array([3, 2])}, r"count must be at least 1 each and 4 in all; got \[3 2\]"),
        ({"tag": -1}, r"tag must be at least 0; got -1"),
        ({"levels": 0}, r"levels must lie in \[1, 281474976710656\]; got 0"),
        ({"vocab_size": 1}, r"vocab_size must be at least 2; got 1"),
    ],
)
def test_refuses_what_is_no_law_on_a_lattice(numbers, text):
    law = LatticeLaw.of([0.0, 0.25, 0.75], 4)
    with pytest.raises(ValueError, match=f"^{text}$"):
        replace(law, **numbers)


def test_refuses_several_laws_at_once_and_a_rest_that_no_token_can_have():
    both = [[0.5, 0.5], [1.0, 0.0]]
    with pytest.raises(ValueError, match=r"^law must be one law, shape \[V\]; got shape \(2, 2\)$"):
        LatticeLaw.of(both, 2)
    with pytest.raises(ValueError, match=r"^dist must be one law, shape \[V\]; got shape \(2, 2\)$"):
        round_truncated(both, 1, 8)
    with pytest.raises(
        ValueError, match=r"^count must be 4 in all where every token has a probability; got less$"
    ):
        LatticeLaw.of([0.25, 0.25], 4).law()
