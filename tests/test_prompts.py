"""Prompts files in every format, what is refused, and the built-in sets."""

import gzip
import json

import pytest

from calibration.prompts import Prompt, built_in_prompts, code_instruction, read_prompts


def test_a_text_file_holds_a_prompt_a_line_and_blank_lines_do_not_count(tmp_path):
    path = tmp_path / "some.txt"
    path.write_text("What is rain?\n\n  Name a river. \r\n", encoding="utf-8")
    assert read_prompts(path) == [
        Prompt("some.txt/1", "What is rain?"),
        Prompt("some.txt/3", "Name a river."),
    ]


ENTRIES = [
    ({"prompt": "p"}, "p"),
    ({"prompt": "p", "instruction": "i"}, "p"),
    ({"instruction": "i"}, "i"),
    ({"instruction": "i", "input": ""}, "i"),
    ({"instruction": "i", "input": "x"}, "i\n\nx"),
    ({"question": "q", "answer": "a"}, "q"),
    ({"turns": ["t", "u"]}, "t"),
    ({"turns": [{"role": "user", "content": "c"}]}, "c"),
    ("line\nline", "line\nline"),
]


def test_a_jsonl_file_takes_every_key(tmp_path):
    path = tmp_path / "some.jsonl"
    path.write_text("\n".join(json.dumps(entry) for entry, _ in ENTRIES) + "\n\n", encoding="utf-8")
    assert [prompt.text for prompt in read_prompts(path)] == [text for _, text in ENTRIES]


def test_a_json_file_takes_a_list_of_the_same(tmp_path):
    path = tmp_path / "some.json"
    path.write_text(json.dumps([entry for entry, _ in ENTRIES]), encoding="utf-8")
    assert [prompt.text for prompt in read_prompts(path)] == [text for _, text in ENTRIES]


def test_an_entry_may_name_itself(tmp_path):
    path = tmp_path / "some.jsonl"
    path.write_text('{"name": "code/1", "prompt": "p"}\n{"name": 3, "prompt": "q"}\n', encoding="utf-8")
    assert read_prompts(path) == [Prompt("code/1", "p"), Prompt("some.jsonl/2", "q")]


def test_a_byte_order_mark_is_not_part_of_the_first_prompt(tmp_path):
    path = tmp_path / "some.txt"
    path.write_bytes(b"\xef\xbb\xbfHello")
    assert read_prompts(path)[0].text == "Hello"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"\n \n", "prompts a.txt must hold at least 1 prompt; got 0"),
        ("a.jsonl", b"", "prompts a.jsonl must hold at least 1 prompt; got 0"),
        ("a.json", b"[]", "prompts a.json must hold at least 1 prompt; got 0"),
        ("a.txt", b"\xff\xfe", "prompts a.txt must be UTF-8 text; byte 0 is not"),
        ("a.json", b'{"prompt": "p"}', "prompts a.json must be a list; got a dict"),
        ("a.json", b'["p"', "prompts a.json: the file is not JSON"),
        ("a.jsonl", b'{"prompt": "p"}\n{"prompt"', "prompts a.jsonl: line 2 is not JSON"),
        (
            "a.jsonl",
            b'{"text": "p"}',
            "must have the key prompt, instruction, question, turns, messages or conversations; got 'text'",
        ),
        ("a.jsonl", b'{"turns": []}', "line 1 must have the key"),
        ("a.jsonl", b'{"prompt": 3}', "line 1 must be a text; got a int"),
        ("a.jsonl", b'\n{"prompt": " "}', "line 2 must not be empty"),
        ("a.json", b'["p", null]', "entry 2 must be a text; got a NoneType"),
        (
            "a.yaml",
            b"- p",
            "prompts a.yaml: .yaml is not read; give one of .txt, .jsonl, .ndjson, .json, .csv",
        ),
        ("a.xlsx", b"PK", ".xlsx is not read"),
        ("a.toml.gz", b"", ".toml is not read"),
        (
            "a.jsonl",
            b'{"prompt": "p", "prompt": "q"}',
            "line 1 is not JSON (the key 'prompt' is there twice)",
        ),
        ("a.jsonl", b'{"prompt": NaN}', "line 1 must be a text; got a float"),
        ("a.jsonl", b"[" * 100_000, "line 1 is not JSON that can be read (nested too deep)"),
        ("a.json", b'{"a":' * 100_000, "the file is not JSON that can be read (nested too deep)"),
        ("a.json", b"[" + b"9" * 5000 + b"]", "the file is not JSON"),
        ("a.jsonl", b'{"prompt": "a\\ud800b"}', "line 1 has half of a surrogate pair; got '\\ud800' at 1"),
        ("a.json", b'["\\udfff"]', "entry 1 has half of a surrogate pair"),
        ("a.jsonl", b'{"messages": [{"role": "assistant", "content": "x"}]}', "must have a turn of the user"),
        ("a.jsonl", b'{"messages": [{"role": "user"}]}', "line 1 must be a text; got a NoneType"),
        ("a.jsonl", b'{"turns": [7]}', "line 1 must be a text; got a int"),
        ("a.csv", b"a,b\n1,2\n", "row 1 must have the key prompt"),
        ("a.csv", b"prompt,b\n1\n", "row 1 must have as many cells as the first line"),
        ("a.csv", b"prompt\n1,2\n", "row 1 must have as many cells as the first line"),
        ("a.csv", b'prompt\n"open\n', "is not a line of a table"),
        ("a.csv", b"prompt\n" + b"x" * 200_000, "is not a line of a table (field larger than field limit"),
        ("a.parquet", b"PAR1", "prompts a.parquet must be a whole parquet file"),
        ("a.jsonl.gz", b"\x1f\x8b\x08", "prompts a.jsonl.gz must be a whole .gz file"),
        ("a.txt.gz", b"plain", "prompts a.txt.gz must be a whole .gz file"),
    ],
)
def test_refuses_a_bad_file_in_one_line_that_says_where(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is checked as plain text
        read_prompts(tmp_path / name)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


LINES = [
    ("a.txt", "one\u2028still one\ntwo\n"),
    ("a.TXT", "one\fstill one\r\ntwo"),
    ("prompts", "one\x85still\x1cone\ntwo"),
    ("a.txt", "one\rstill one\ntwo\n"),
    ("a.jsonl", '{"prompt": "one\u2028"}\n{"prompt": "two"}'),
    ("a.NDJSON", '{"prompt": "one"}\r\n\r\n{"prompt": "two"}\r\n'),
    ("a.json", '{"prompt": "one"}\n{"prompt": "two"}\n'),
    ("a.json", '["one", {"question": "two"}]'),
    ("a.csv", 'prompt,n\n"one, ""quoted""\nsecond line",1\ntwo,2\n'),
    ("a.TSV", "n\tprompt\n1\tone, and\n2\ttwo\n"),
]


@pytest.mark.parametrize(("name", "content"), LINES)
@pytest.mark.parametrize("packed", [False, True])
def test_a_line_ends_at_a_line_feed_and_every_format_holds_two_prompts(tmp_path, name, content, packed):
    path = tmp_path / (name + ".gz" * packed)
    raw = content.encode()
    path.write_bytes(gzip.compress(raw) if packed else raw)
    found = [prompt.text for prompt in read_prompts(path)]
    assert len(found) == 2
    assert found[0].startswith("one")
    assert found[1] == "two"


def test_a_table_of_parquet_is_read(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    talk = [[{"role": "system", "content": "s"}, {"role": "user", "content": "u"}], None]
    pq.write_table(pa.table({"messages": talk[:1] * 2, "source": ["x", "y"]}), tmp_path / "a.parquet")
    assert [(p.text, p.system) for p in read_prompts(tmp_path / "a.parquet")] == [("u", "s")] * 2
    pq.write_table(pa.table({"messages": talk}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match="row 2 must have the key"):
        read_prompts(tmp_path / "a.parquet")
    pq.write_table(pa.table({"prompt": [1, 2]}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match="row 1 must be a text; got a int"):
        read_prompts(tmp_path / "a.parquet")


TALKS = [
    ({"conversations": [{"from": "human", "value": "u"}, {"from": "gpt", "value": "a"}]}, "u", ""),
    ({"conversations": [{"from": "system", "value": "s"}, {"from": "human", "value": "u"}]}, "u", "s"),
    ({"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]}, "u", "s"),
    ({"messages": [{"role": "user", "content": [{"type": "text", "text": "u"}]}]}, "u", ""),
    ({"system": "s", "instruction": "i", "context": "c"}, "i\n\nc", "s"),
    ({"question": "q", "context": "c"}, "q\n\nc", ""),
]


@pytest.mark.parametrize(("entry", "text", "system"), TALKS)
def test_conversations_give_their_first_user_turn_and_what_the_system_says(tmp_path, entry, text, system):
    (tmp_path / "a.jsonl").write_text(json.dumps(entry), encoding="utf-8")
    assert read_prompts(tmp_path / "a.jsonl") == [Prompt("a.jsonl/1", text, system)]


def test_keys_that_are_not_read_are_named(tmp_path):
    told = []
    (tmp_path / "a.jsonl").write_text('{"instruction": "i", "context": "c", "response": "r", "id": 7}')
    read_prompts(tmp_path / "a.jsonl", tell=told.append)
    assert told == ["prompts a.jsonl: read instruction, context; not read: response, id"]
    (tmp_path / "a.jsonl").write_text('{"prompt": "i"}')
    read_prompts(tmp_path / "a.jsonl", tell=told.append)
    assert len(told) == 1


def test_refuses_a_missing_file_and_a_folder(tmp_path):
    for path in (tmp_path / "none.txt", tmp_path):
        with pytest.raises(ValueError, match="prompts must be a file that exists"):
            read_prompts(path)


def test_the_built_in_sets_alternate_and_hold_no_prompt_twice():
    prompts = built_in_prompts()
    assert len(prompts) == 264
    names = [prompt.name for prompt in prompts]
    assert names[:4] == ["instruction/0", "HumanEval/0", "instruction/1", "HumanEval/1"]
    assert sum(name.startswith("instruction/") for name in names) == 100
    assert len({prompt.text for prompt in prompts}) == 264
    assert all(prompt.text.strip() for prompt in prompts)


def test_a_function_to_complete_follows_its_instruction():
    assert code_instruction("def f():\n").endswith("\n\ndef f():\n")
