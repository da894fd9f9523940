"""Prompts files in every format, what is refused, and the built-in sets."""

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
            "line 1 must have the key prompt, instruction, question or turns; got 'text'",
        ),
        ("a.jsonl", b'{"turns": []}', "line 1 must have the key"),
        ("a.jsonl", b'{"prompt": 3}', "line 1 must be a text; got a int"),
        ("a.jsonl", b'\n{"prompt": " "}', "line 2 must not be empty"),
        ("a.json", b'["p", null]', "entry 2 must be a text; got a NoneType"),
    ],
)
def test_refuses_a_bad_file_in_one_line_that_says_where(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is checked as plain text
        read_prompts(tmp_path / name)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


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
