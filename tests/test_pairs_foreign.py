"""Pairs and templates as users bring them: sizes that differ, tokens of one side, templates that refuse."""

import json

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from calibration import pairs  # noqa: E402
from calibration.pairs import Pair, TooLongError, common_tokens, load_pair  # noqa: E402
from calibration.prompts import Prompt  # noqa: E402
from tests import tiny  # noqa: E402

TOKENS = tiny.tokenizer()
ASK = Prompt("p/1", "why is the sky blue")


def pair_of(tokenizer, **more):
    told = {"slm": tiny.llama(seed=1), "llm": tiny.llama(seed=2), "vocab_size": len(tokenizer)}
    told |= {"slm_id": "a", "llm_id": "b", "slm_sha256": "1", "llm_sha256": "2"}
    return Pair(tokenizer=tokenizer, **told | more)


# ------------------------------------------------------------------------------------------------- vocabulary


@pytest.mark.parametrize(("slm_size", "llm_size"), [(0, 16), (16, 0), (7, 30), (0, 0)])
def test_padding_of_embedding_and_head_is_no_token(tmp_path, slm_size, llm_size):
    slm = tiny.save(tmp_path / "slm", tiny.llama(seed=1, size=tiny.SIZE + slm_size))
    llm = tiny.save(tmp_path / "llm", tiny.llama(seed=2, size=tiny.SIZE + llm_size))
    assert load_pair(slm=slm, llm=llm).vocab_size == tiny.SIZE


def test_a_prompt_with_a_token_that_a_model_lacks_is_refused(tmp_path):
    longer = tiny.tokenizer(extra=["<|tool|>"])
    slm = tiny.save(tmp_path / "slm", tiny.llama(seed=1), longer)
    llm = tiny.save(tmp_path / "llm", tiny.llama(seed=2, size=len(longer)), longer)
    pair = load_pair(slm=slm, llm=llm)
    assert pair.vocab_size == tiny.SIZE
    with pytest.raises(ValueError, match=rf"tokens below {tiny.SIZE}, .* got {tiny.SIZE}, '<|tool|>'"):
        pair.context(Prompt("p/1", "use <|tool|> now"), 4)
    assert pair.context(ASK, 4)


@pytest.mark.parametrize(
    "other",
    [{"extra": ["<|tool|>", "<|think|>"]}, {"eos": "<|endoftext|>"}],
    ids=["a few last tokens", "another end"],
)
def test_what_two_vocabularies_share_is_offered_by_name(tmp_path, other):
    theirs = tiny.tokenizer(**other)
    slm = tiny.save(tmp_path / "slm", tiny.llama(seed=1))
    llm = tiny.save(tmp_path / "llm", tiny.llama(seed=2, size=len(theirs)), theirs)
    with pytest.raises(
        ValueError, match=rf"--vocabulary common takes the first {tiny.SIZE}, which they share"
    ):
        load_pair(slm=slm, llm=llm)
    pair = load_pair(slm=slm, llm=llm, vocabulary="common")
    assert pair.vocab_size == tiny.SIZE
    assert max(pair.context(ASK, 4)) < tiny.SIZE


def test_vocabularies_without_a_common_part_are_not_offered(tmp_path):
    from tests.test_pairs import bpe_tokenizer, llama, save

    slm = save(tmp_path / "slm", llama(1), bpe_tokenizer())
    llm = save(tmp_path / "llm", llama(2), bpe_tokenizer(vocab=("a", "b", "d", "c")))
    with pytest.raises(ValueError, match="must share a tokenizer") as caught:
        load_pair(slm=slm, llm=llm)
    assert "--vocabulary" not in str(caught.value)
    assert common_tokens(TOKENS, TOKENS) == tiny.SIZE
    assert common_tokens(bpe_tokenizer(), bpe_tokenizer(vocab=("a", "b", "d", "c"))) == 3


def test_an_end_that_one_model_lacks_is_refused(tmp_path):
    ending = tiny.tokenizer(extra=["<|eot|>"])
    ending.eos_token = "<|eot|>"
    slm = tiny.save(tmp_path / "slm", tiny.llama(seed=1))
    large = tiny.llama(seed=2, size=len(ending))
    large.generation_config.eos_token_id = tiny.SIZE
    llm = tiny.save(tmp_path / "llm", large, ending)
    with pytest.raises(ValueError, match="must both know a token that ends a text"):
        load_pair(slm=slm, llm=llm, vocabulary="common")


def test_weights_that_are_missing_are_not_made_up(tmp_path):
    from safetensors.torch import load_file, save_file

    folder = tiny.save(tmp_path / "slm", tiny.llama(seed=1))
    weights = load_file(tmp_path / "slm" / "model.safetensors")
    del weights["lm_head.weight"]
    save_file(weights, tmp_path / "slm" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"slm .* must be a whole language model; it lacks lm_head.weight"):
        load_pair(slm=folder, llm=folder)


@pytest.mark.parametrize("make", [tiny.mamba, tiny.rwkv, tiny.lfm2, tiny.gemma3])
def test_a_loaded_model_of_any_family_answers_as_before(tmp_path, make):
    folder = tiny.save(tmp_path / "slm", make(seed=1))
    pair = load_pair(slm=folder, llm=folder)
    ids = torch.tensor([[5, 9, 13, 40]])
    with torch.inference_mode():
        wanted = make(seed=1)(ids, use_cache=False).logits
        torch.testing.assert_close(pair.llm(ids, use_cache=False).logits, wanted, atol=1e-4, rtol=1e-4)


def test_pickled_weights_are_not_read(tmp_path):
    folder = tiny.save(tmp_path / "slm", tiny.llama(seed=1))
    torch.save(tiny.llama(seed=1).state_dict(), tmp_path / "slm" / "pytorch_model.bin")
    (tmp_path / "slm" / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"slm .* cannot be loaded: .*safetensors"):
        load_pair(slm=folder, llm=folder)


def test_a_refusal_says_nothing_else(tmp_path, capfd):
    folder = tiny.save(tmp_path / "slm", tiny.llama(seed=1))
    capfd.readouterr()
    (tmp_path / "slm" / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0notjson!")
    with pytest.raises(ValueError, match="cannot be loaded"):
        load_pair(slm=folder, llm=folder)
    assert capfd.readouterr() == ("", "")


def test_an_unreachable_hub_is_one_quick_line(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(OSError, match=r"^slm 'no-such/model' is not on this machine, and the hub") as caught:
        load_pair(slm="no-such/model", llm="no-such/model")
    assert "\n" not in str(caught.value)


# ------------------------------------------------------------------------------------------------- templates

PARTS = (
    "{% for m in messages %}<|im_start|>{% for c in m['content'] | selectattr('type', 'equalto', 'text') %}"
    "{{ c['text'] }}{% endfor %}<|im_end|>{% endfor %}"
)
EMPTY = "{% for m in messages %}<|im_start|>{{ m['role'] }}<|im_end|>{% endfor %}"
RAISES = (
    "{% for m in messages %}{% if m['content'] is string %}{{ raise_exception('User role must be\n it') }}"
    "{% endif %}{% endfor %}x"
)
NO_SYSTEM = (
    "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}<|im_start|>{{ m['content'] | trim }}<|im_end|>{% endfor %}"
)
DROPS_SYSTEM = (
    "{% for m in messages if m['role'] == 'user' %}<|im_start|>{{ m['content'] }}<|im_end|>{% endfor %}"
)
AS_JSON = "{% for m in messages %}<|im_start|>{{ m['content'] | tojson }}<|im_end|>{% endfor %}"


@pytest.mark.parametrize("template", [tiny.CHATML, PARTS, NO_SYSTEM, DROPS_SYSTEM, AS_JSON, None])
@pytest.mark.parametrize("system", ["", "be brief"])
def test_prompt_and_system_are_in_the_context(template, system):
    pair = pair_of(tiny.tokenizer(template=template))
    for text in ("why is the sky blue", "  the quick\nbrown fox  "):
        written = pair.tokenizer.decode(pair.context(Prompt("p", text, system), 4))
        for part in (text.strip(), system):
            assert part in written or json.dumps(part)[1:-1] in written


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (EMPTY, "does not write the prompt"),
        (RAISES, "refuses the prompt: User role must be"),
        ("{{ messages[7]['content'] + 1 }}", "refuses the prompt: "),
        ("{{ 1 // 0 }}", "refuses the prompt: "),
        ("{% for %}", "refuses the prompt: "),
        ("{{ messages[0]['content'][:3] }}", "does not write the prompt"),
    ],
)
def test_a_template_that_loses_or_refuses_the_prompt_is_one_line(template, message):
    with pytest.raises(ValueError, match=r"^the chat template of llm ") as caught:
        pair_of(tiny.tokenizer(template=template)).context(ASK, 4)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_options_reach_the_template_and_unknown_ones_are_refused(tmp_path):
    thinking = tiny.CHATML + "{% if enable_thinking is defined and enable_thinking %}<think>{% endif %}"
    folder = tiny.save(tmp_path / "slm", tiny.llama(seed=1), tiny.tokenizer(template=thinking))
    for wanted in (True, False):
        pair = load_pair(slm=folder, llm=folder, template_options={"enable_thinking": wanted})
        assert ("<think>" in pair.tokenizer.decode(pair.context(ASK, 4))) == wanted
    with pytest.raises(ValueError, match="must be a variable of the chat template of llm; got 'thinking'"):
        load_pair(slm=folder, llm=folder, template_options={"thinking": True})


def test_prompts_that_do_not_fit_are_left_out_where_that_is_asked_for():
    pair = pair_of(TOKENS)
    long = Prompt("p/2", "x " * 300)
    with pytest.raises(TooLongError, match="prompt p/2 must have at most"):
        pair.context(long, 4)
    assert pair.fitting([ASK, long, ASK], 4) == [ASK, ASK]


def test_options_on_the_command_line_are_words_or_json(monkeypatch, assert_refused):
    from calibration.cli import CHOICE, pair_of

    seen = {}
    monkeypatch.setattr(pairs, "load_pair", lambda name, **told: seen.update(told))
    values = dict.fromkeys(CHOICE) | {"template_option": ("a=false", "b=high", "c=[1]", "d=x=y")}
    pair_of(values)
    assert seen["template_options"] == {"a": False, "b": "high", "c": [1], "d": "x=y"}
    assert_refused(
        "decode", "--scheme", "llm", "--prompt", "x", "--template-option", "a",
        words=["--template-option must be KEY=VALUE; got 'a'"],
    )  # fmt: skip
