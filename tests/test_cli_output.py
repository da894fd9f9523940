"""How results leave: formats, narrow terminals, and scenarios that are written and read back."""

import csv
import io
import json
import re
import tomllib

import click
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cuhlm_theory.cli import main, output
from cuhlm_theory.schemes import SCHEMES

NARROW_SPACE = "\u202f"
PUBLISHED = ("optimize", "--calibration", "cu-hlm", "--uncertainty", "uniform")


# formats


def test_json_is_a_format_too(run_cuhlm):
    assert run_cuhlm("payload", "--json") == run_cuhlm("payload", "--format", "json")


def test_csv_has_every_digit(run_cuhlm):
    code, out, err = run_cuhlm("channel", "--snr-db", "0:20:10", "--format", "csv")
    assert (code, err) == (0, "")
    exact = json.loads(run_cuhlm("channel", "--snr-db", "0:20:10", "--json")[1])
    rows = list(csv.DictReader(line for line in io.StringIO(out) if line.strip() and line[0] != "#"))
    assert [float(row["rate [bit/s]"]) for row in rows] == exact["rate_bit_per_s"]
    assert [float(row["SNR [dB]"]) for row in rows] == [0.0, 10.0, 20.0]
    assert out.startswith("# 736000 bit over 1e+06 Hz, awgn\n")


def test_parquet_has_every_digit_and_its_type(capsysbinary):
    def stored(*arguments):
        main([*arguments, "--format", "parquet"])
        return pq.read_table(io.BytesIO(capsysbinary.readouterr().out))

    table = stored("channel", "--snr-db", "0:20:10")
    main(["channel", "--snr-db", "0:20:10", "--json"])
    exact = json.loads(capsysbinary.readouterr().out)
    assert table["rate [bit/s]"].to_pylist() == exact["rate_bit_per_s"]
    assert "table" not in table.column_names
    several = stored(*PUBLISHED, "--all")
    assert len(set(several["table"].to_pylist())) > 1
    assert pa.types.is_floating(several.schema.field("token/s").type)


def test_parquet_is_not_shown_on_a_terminal(run_cuhlm, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    code, out, err = run_cuhlm("payload", "--format", "parquet")
    assert (code, out) == (2, "")
    assert err == "cuhlm: --format must not be parquet on a terminal; send it into a file: > FILE\n"


def test_markdown_is_a_table(run_cuhlm):
    code, out, err = run_cuhlm("payload", "--format", "markdown")
    assert (code, err) == (0, "")
    title, gap, head, rule, first, *_ = out.splitlines()
    assert (title[:2], title[-2:], gap) == ("**", "**", "")
    assert [cell.strip() for cell in head.strip("|").split("|")] == ["codec", "bits", "bytes", "what is sent"]
    assert set(rule) <= set("|-: ")
    assert first.replace(" ", "").startswith("|printed|690|")


def test_latex_is_a_tabular(run_cuhlm):
    code, out, err = run_cuhlm("payload", "--format", "latex")
    assert (code, err) == (0, "")
    assert out.startswith("% 30 of 32000 entries")
    assert r"\begin{tabular}" in out
    assert r"\toprule" in out


def test_what_a_document_reads_as_markup_is_escaped(capsys):
    context = click.Context(click.Command("any"))
    for style, cell in (("markdown", r"a\|b"), ("latex", r"a|b")):
        with context:
            context.meta[output._STYLE] = style
            output.table("", ["x_y", "n"], [["a|b", 1]])
        shown = capsys.readouterr().out
        assert cell in shown
        assert (r"x\_y" in shown) == (style == "latex")


@pytest.mark.parametrize("style", [style for style in output.FORMATS if style != "parquet"])
def test_every_table_of_the_main_job_has_every_format(run_cuhlm, style):
    code, out, err = run_cuhlm(*PUBLISHED, "--format", style)
    assert (code, err) == (0, "")
    assert "cu-hlm" in out


# narrow terminals


@pytest.mark.parametrize("columns", ["0", "1", "20", "40", "41"])
def test_no_number_is_cut_on_a_narrow_terminal(run_cuhlm, monkeypatch, columns):
    wide = json.loads(run_cuhlm(*PUBLISHED, "--json")[1])
    monkeypatch.setenv("COLUMNS", columns)
    code, out, err = run_cuhlm(*PUBLISHED)
    assert (code, err) == (0, "")
    assert "…" not in out
    assert max(map(len, out.splitlines())) <= max(int(columns), 40)
    for row in wide["schemes"]:
        assert re.search(rf"\b{re.escape(row['name'])}\b", out)
        rate = re.escape(f"{row['throughput_token_per_s']:.4g}")
        assert re.search(rf"(?<![\w.]){rate}(?!\w)", out)


def test_rows_too_wide_for_the_terminal_stand_below_each_other(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    heads = [f"column {index} [token/s]" for index in range(4)]
    output.table("Title", heads, [["first", 1234567, 2.5, None], ["second", 3, 4.5, 0.125]])
    out = capsys.readouterr().out.replace(NARROW_SPACE, " ")
    for head in heads:
        assert out.count(head) == 2
    for cell in ("first", "1 234 567", "2.5", "second", "0.125"):
        assert cell in out


# the glossary


def test_the_glossary_names_every_scheme(run_cuhlm, cuhlm_json):
    rows = cuhlm_json("schemes")["schemes"]
    assert [row["name"] for row in rows] == list(SCHEMES)
    assert all(row["title"] and row["payload"] and row["reference"] and row["status"] for row in rows)
    shown = run_cuhlm("schemes", "--format", "csv")[1]
    assert all(f"\n{name}," in shown for name in SCHEMES)


# scenarios


def test_a_saved_scenario_gives_the_same_result(run_cuhlm, cuhlm_json, tmp_path):
    file = tmp_path / "scenario.toml"
    given = (*PUBLISHED, "--snr-db", "7.3", "--bandwidth-hz", "1M", "--charge-resync", "--num-drafts", "3")
    first = cuhlm_json(*given, "--slm-latency-s", "12.5ms", "--save-scenario", file)
    text = file.read_text(encoding="utf-8")
    assert tomllib.loads(text) == {
        "calibration": "cu-hlm",
        "uncertainty": "uniform",
        "bandwidth-hz": 1e6,
        "snr-db": 7.3,
        "slm-latency-s": 0.0125,
        "charge-resync": True,
        "num-drafts": 3,
    }
    assert cuhlm_json("optimize", file) == first
    assert cuhlm_json("optimize", file, "--save-scenario", tmp_path / "again.toml") == first
    assert (tmp_path / "again.toml").read_text(encoding="utf-8") == text


def test_a_saved_scenario_explains_every_option(run_cuhlm, cuhlm_json, tmp_path):
    file = tmp_path / "scenario.toml"
    cuhlm_json(*PUBLISHED, "--save-scenario", file)
    text = file.read_text(encoding="utf-8")
    assert "# Bandwidth, W [Hz]. [default: 1e+06]\n# bandwidth-hz =\n" in text
    for line in ("# llm-latency-s =", "# explain = false", '# quantisation = "drafted"'):
        assert f"\n{line}\n" in text
    assert "save-scenario" not in text
    assert "json" not in text


def test_nothing_is_saved_where_there_is_no_result(assert_refused, tmp_path):
    file = tmp_path / "scenario.toml"
    assert_refused(*PUBLISHED, "--bandwidth-hz", "-1", "--save-scenario", file, words=["--bandwidth-hz"])
    assert not file.exists()


# sizes and zeros


@pytest.mark.parametrize(
    ("option", "value", "bound"),
    [
        ("--offline-k", "32001", "lie in [1, 32000]"),
        ("--offline-k", "0", "lie in [1, 32000]"),
        ("--num-candidates", "50k", "lie in [1, 32000]"),
        ("--num-candidates", "0", "lie in [1, 32000]"),
        ("--vocab-size", "0", "be at least 2"),
        ("--index-bits", "14", "be 0 (no index is sent) or lie in [15, 64]"),
    ],
)
def test_sizes_beyond_the_vocabulary_and_zeros_are_refused(assert_refused, option, value, bound):
    number = value.replace("k", "000")
    assert_refused(*PUBLISHED, option, value, words=[f"{option} must {bound}", f"got {number}"])


def test_no_index_bits_is_what_u_hlm_prints(cuhlm_json):
    found = cuhlm_json("payload", "--k", "32000", "--index-bits", "0")
    assert (found["printed_bit"], found["index_bits"], found["index_only_bit"]) == (256_000, 0, 15)


def test_a_system_by_its_rate(cuhlm_json):
    by_rate = cuhlm_json(*PUBLISHED, "--rate-bit-per-s", "180kbit/s", "--num-candidates", "30")
    by_snr = cuhlm_json(*PUBLISHED, "--bandwidth-hz", "180k", "--snr-db", "0")
    assert by_rate["inputs"]["rate_bit_per_s"] == 180e3
    assert by_rate["inputs"]["snr_db"] is None
    assert by_rate["operating_point"] == pytest.approx(by_snr["operating_point"])
    assert not {"bandwidth-hz", "snr-db", "fading"} & set(by_rate["inputs"]["assumed"])
