"""Trace files: what is written is read, and what is not a trace is refused by name."""

import dataclasses
import hashlib
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from calibration import trace

HEADER = trace.TraceHeader(
    slm="small",
    llm="large",
    slm_sha256="0",
    llm_sha256="1",
    vocab_size=50,
    temperature=0.7,
    max_temperature=2.0,
    seed=1,
    dtype="float32",
    device="cpu",
    max_new_tokens=8,
    prompt_names=("a", "b"),
    k_grid=(1, 2, 50),
    coarse_k_grid=(1, 50),
    threshold_grid=(0.0, 0.5, 1.0),
    budgets=(0.1,),
    printed_line=(0.8, -0.1),
    versions={"numpy": "2"},
    date="2026-01-01T00:00:00Z",
    command="cuhlm calibrate",
)


def _columns(num_tokens=6, seed=0):
    rng = np.random.default_rng(seed)
    columns = {}
    for name in trace.COLUMNS:
        width = trace._width(name, HEADER)
        shape = (num_tokens,) if width is None else (num_tokens, width)
        if trace.number_type(name) is np.int32:
            columns[name] = rng.integers(name.startswith("k_"), 2, shape, dtype=np.int32)
        else:
            columns[name] = rng.random(shape, dtype=np.float32)
    return columns


@pytest.fixture
def path(tmp_path):
    trace.write(tmp_path / "trace.parquet", HEADER, _columns())
    return tmp_path / "trace.parquet"


def test_a_trace_of_before_the_writer_was_told_is_text_of_the_small_model(path, tmp_path):
    table = pq.read_table(path)
    header = json.loads(table.schema.metadata[b"cuhlm"])
    del header["writer"], header["threshold"]
    old = table.drop_columns(["kept", *trace.OPTIONAL]).replace_schema_metadata(
        {b"cuhlm": json.dumps(header)}
    )
    pq.write_table(old, tmp_path / "old.parquet")
    recorded = trace.read(tmp_path / "old.parquet")
    assert recorded.header == HEADER
    np.testing.assert_array_equal(recorded.columns["kept"], 1.0 - recorded.columns["rejection"])
    assert recorded.columns.keys() == trace.COLUMNS.keys() - trace.OPTIONAL
    assert len(recorded.tokens()) == len(recorded)


def test_a_trace_without_the_columns_that_none_had_at_first_is_written_as_it_is(path, tmp_path):
    columns = {name: column for name, column in _columns().items() if name not in trace.OPTIONAL}
    trace.write(tmp_path / "old.parquet", HEADER, columns)
    again = trace.read(tmp_path / "old.parquet")
    assert again.columns.keys() == columns.keys()


def test_what_was_written_is_read(path):
    recorded = trace.read(path)
    assert recorded.header == HEADER
    assert len(recorded) == 6
    for name, column in _columns().items():
        assert recorded.columns[name].dtype == column.dtype
        np.testing.assert_array_equal(recorded.columns[name], column)


def test_any_parquet_reader_can_read_it(path):
    table = pq.read_table(path)
    assert table.column_names == list(trace.COLUMNS)
    assert str(table.schema.field("tv_profile").type).startswith("fixed_size_list")


def test_the_theory_gets_float64_and_the_grids(path):
    tokens = trace.read(path).tokens()
    assert tokens.uncertainty.dtype == np.float64
    assert tokens.prompt.dtype == np.int64
    assert (tokens.k_grid.tolist(), tokens.threshold_grid.tolist()) == ([1, 2, 50], [0.0, 0.5, 1.0])
    np.testing.assert_array_equal(tokens.tv_profile, _columns()["tv_profile"])


def test_of_a_file_that_is_known_only_what_is_asked_for_is_read(path):
    whole = trace.read(path)
    late = trace.read(path, sha256=whole.sha256)
    assert list(late.columns) == list(whole.columns)
    assert "tv" in late.columns
    assert "nothing" not in late.columns
    assert late.columns._known == {}
    assert late.tokens().known() == whole.tokens().known()
    assert late.columns._known.keys() == {"uncertainty", "rejection", "prompt"}
    for name, column in whole.columns.items():
        np.testing.assert_array_equal(late.columns[name], column)
    with pytest.raises(KeyError, match="nothing"):
        late.columns["nothing"]


def test_a_file_that_is_not_the_known_one_is_read_at_once(path):
    assert isinstance(trace.read(path, sha256="0" * 64).columns, dict)


def test_a_known_file_with_a_column_that_cannot_be_says_so_when_it_is_asked_for(path):
    table = pq.read_table(path)
    at = table.schema.get_field_index("tv")
    pq.write_table(table.set_column(at, "tv", pa.array(np.full(len(table), 2.0, dtype=np.float32))), path)
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(ValueError, match=r"column 'tv' must lie in \[-0.0001, 1.0001\]"):
        trace.read(path)
    tokens = trace.read(path, sha256=found).tokens()
    with pytest.raises(ValueError, match=r"column 'tv' must lie in \[-0.0001, 1.0001\]"):
        _ = tokens.tv


def test_nothing_else_is_left_in_the_folder(path):
    assert [entry.name for entry in path.parent.iterdir()] == ["trace.parquet"]


def test_refuses_columns_that_are_not_a_trace(tmp_path):
    target = tmp_path / "trace.parquet"
    columns = _columns()
    with pytest.raises(ValueError, match="'tv' is missing or unknown"):
        trace.write(target, HEADER, {name: column for name, column in columns.items() if name != "tv"})
    with pytest.raises(ValueError, match="'more' is missing or unknown"):
        trace.write(target, HEADER, columns | {"more": columns["tv"]})
    with pytest.raises(ValueError, match=r"'tv_profile' must have shape \(6, 3\); got \(6, 2\)"):
        trace.write(target, HEADER, columns | {"tv_profile": columns["output_bias"]})
    with pytest.raises(ValueError, match=r"'candidate_prob' must have shape \(6, 16\); got \(6, 3\)"):
        trace.write(target, HEADER, columns | {"candidate_prob": columns["tv_profile"]})
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_one_line(tmp_path):
    with pytest.raises(OSError, match=r"^cannot write .*none.*: .*") as caught:
        trace.write(tmp_path / "none" / "trace.parquet", HEADER, _columns())
    assert "\n" not in str(caught.value)


def test_an_old_trace_survives_a_write_that_fails(path, monkeypatch):
    def full(table, where, **options):
        with open(where, "wb") as file:
            file.write(b"PAR1 half of it")
        raise OSError(28, "No space left on device")

    before = path.read_bytes()
    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(OSError, match="No space left on device"):
        trace.write(path, HEADER, _columns(seed=1))
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == ["trace.parquet"]


@pytest.mark.parametrize("keep", [0, 3, 100, -1, -100])
def test_refuses_a_truncated_file_and_names_it(path, keep):
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"trace .*trace.parquet.* must be a whole parquet file") as caught:
        trace.read(path)
    assert "\n" not in str(caught.value)


def test_refuses_a_missing_file(tmp_path):
    with pytest.raises(ValueError, match=r"trace must be a file that exists; got .*none.parquet"):
        trace.read(tmp_path / "none.parquet")


def test_refuses_another_parquet_file(tmp_path):
    pq.write_table(pa.table({"a": [1]}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match="must have a cuhlm header"):
        trace.read(tmp_path / "a.parquet")


@pytest.mark.parametrize("metadata", [b"{}", b"no", b'{"format": 9}', b'{"format": 1, "slm": "x"}', b"[]"])
def test_refuses_a_header_of_another_version(path, metadata):
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata({b"cuhlm": metadata}), path)
    with pytest.raises(ValueError, match="header of another version"):
        trace.read(path)


def test_refuses_a_trace_without_one_of_its_columns(path):
    pq.write_table(pq.read_table(path).drop_columns(["tv"]), path)
    with pytest.raises(ValueError, match="must have the column 'tv'"):
        trace.read(path)


def test_refuses_lists_that_do_not_fit_their_grid(path):
    columns = _columns()
    header = dataclasses.replace(HEADER, k_grid=(1, 50))
    narrow = {
        name: column[:, :2] if trace._GRIDS.get(name) == "k_grid" else column
        for name, column in columns.items()
    }
    trace.write(path, header, narrow)
    table = pq.read_table(path)
    whole = pq.read_metadata(path).metadata[b"cuhlm"].replace(b'"k_grid": [1, 50]', b'"k_grid": [1, 2, 50]')
    pq.write_table(table.replace_schema_metadata({b"cuhlm": whole}), path)
    with pytest.raises(ValueError, match="'tv_profile' must have 3 entries a row"):
        trace.read(path)
