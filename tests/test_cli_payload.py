"""`cuhlm payload`: the golden numbers of the papers at the command line."""

import math

import pytest

NARROW_SPACE = "\u202f"  # between the digits of a table


@pytest.fixture
def result(cuhlm_json):
    return lambda *arguments: cuhlm_json("payload", *arguments)


def test_thirty_entries_of_the_published_vocabulary(result):
    got = result()
    assert got == result("--k", "30", "--vocab-size", "32000", "--prob-bits", "8")
    assert got == {
        "k": 30,
        "vocab_size": 32_000,
        "prob_bits": 8,
        "index_bits": 15,
        "printed_bit": 690,
        "dense_bit": 256_000,
        "enumerative_bit": 240 + (math.comb(32_000, 30) - 1).bit_length(),
        "index_only_bit": 15,
        "resync_bit": 0,
        "best_codec": "enumerative",
        "best_bit": 582,
        "compression": pytest.approx(1 - 30 / 32_000),
    }


def test_the_whole_published_distribution(result):
    got = result("--k", "32000")
    assert (got["printed_bit"], got["dense_bit"], got["best_bit"], got["best_codec"]) == (
        736_000,
        256_000,
        256_000,
        "dense",
    )
    assert got["compression"] == 0.0


def test_widths_and_skipped_tokens_are_options(result):
    got = result(
        "--k", "2", "--vocab-size", "49152", "--prob-bits", "16", "--index-bits", "20", "--num-tokens", "7"
    )
    assert (got["index_bits"], got["prob_bits"]) == (20, 16)
    assert (got["printed_bit"], got["dense_bit"], got["index_only_bit"]) == (72, 49_152 * 16, 20)
    assert got["enumerative_bit"] == 32 + math.ceil(math.log2(math.comb(49_152, 2)))
    assert got["resync_bit"] == 140
    assert result("--k", "1", "--index-bits", "15")["best_codec"] == "printed"  # a tie goes to the paper
    assert got["compression"] == pytest.approx(1 - 2 / 49_152)


def test_the_table_shows_bits_and_bytes(run_cuhlm):
    code, out, err = run_cuhlm("payload")
    assert (code, err) == (0, "")
    out = out.replace(NARROW_SPACE, " ")
    for word in ("690", "86.25", "256 000", "32 000", "582", "72.75", "index-only", "1.875", "99.9062%"):
        assert word in out
    out = run_cuhlm("payload", "--k", "32000")[1].replace(NARROW_SPACE, " ")
    assert "736 000" in out
    assert "92 000" in out


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--k", "32001"), "k must lie in [1, 32000]; got 32001"),
        (("--k", "0"), "k must lie in [1, 32000]; got 0"),
        (("--k", "1", "--vocab-size", "1"), "--vocab-size must be at least 2; got 1"),
        (("--vocab-size", "1" + "0" * 30), "--vocab-size must be at most 9007199254740992; got 1e+30"),
        (("--prob-bits", "0"), "--prob-bits must lie in [1, 64]; got 0"),
        (("--index-bits", "14"), "--index-bits must be 0 (no index is sent) or lie in [15, 64], since"),
        (("--num-tokens", "-1"), "--num-tokens must lie in [0, 2147483648]; got -1"),
        (("--k", "2.5"), "--k must be a whole number; got '2.5'"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(assert_refused, arguments, text):
    assert_refused("payload", *arguments, "--json", words=[text])
