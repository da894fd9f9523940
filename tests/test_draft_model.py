"""Distilling a slice: the loss against enumeration, the schedule, and tiny runs that stop and go on."""

import dataclasses
import itertools

import numpy as np
import pytest

from calibration import draft_model, pairs
from calibration.draft_model import Recipe, Shard, Stage

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

TEMPLATE = (
    "{% for message in messages %}<s>{{ message['role'] }} {{ message['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %} <s>assistant {% endif %}"
)


@pytest.fixture(scope="module")
def tokenizer():
    """Byte-level tokenizer with chat markup."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    special = ["</s>", "<s>", "user", "assistant"]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = Tokenizer(models.BPE({token: i for i, token in enumerate([*special, *letters])}, []))
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = decoders.ByteLevel()
    words.add_special_tokens(special)
    made = transformers.PreTrainedTokenizerFast(tokenizer_object=words, eos_token="</s>", bos_token="<s>")
    made.chat_template = TEMPLATE
    return made


@pytest.fixture(scope="module")
def large(tokenizer):
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=30,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=0,
        initializer_range=0.3,
    )
    return transformers.LlamaForCausalLM(config).eval().requires_grad_(False)


def _stage(**given):
    kind = {
        "num_rounds": 1,
        "num_rows": 6,
        "row_tokens": 80,
        "num_passes": 2,
        "batch_rows": 4,
        "kl_weight": 1.0,
    }
    return Stage(**{"writer": "large", **kind, **given})


RECIPE = Recipe(
    stages=(_stage(), _stage(writer="small", num_rounds=2, everyday=True)),
    decay_rounds=1,
    num_held_out=4,
    num_top=16,
    num_other=64,
    warmup_steps=2,
    learning_rate=3e-3,
)


@pytest.fixture(scope="module")
def functions():
    return [f"def f{i}(a):\n" for i in range(20)]


@pytest.fixture
def run(large, tokenizer, functions, tmp_path, monkeypatch):
    monkeypatch.setattr(draft_model, "library_functions", lambda: functions)

    def distil(recipe=RECIPE, folder="work"):
        lines = []
        small, found = draft_model.distil(large, tokenizer, recipe, tmp_path / folder, lines.append)
        return small, found, lines

    return distil


# ------------------------------------------------------------------------------------------------ the loss


def test_distances_are_kl_and_tv_when_every_entry_is_kept():
    generator = torch.Generator().manual_seed(0)
    draft = torch.randn(30, 8, generator=generator) * 2
    target = (torch.randn(30, 8, generator=generator) * 2).log_softmax(-1)
    order = torch.stack([torch.randperm(8, generator=generator) for _ in range(30)])
    kl, tv = draft_model.distances(draft, 0.0, order, target.gather(1, order))
    x, y = draft.softmax(-1), target.exp()
    torch.testing.assert_close(tv, 0.5 * (x - y).abs().sum(-1), atol=5e-6, rtol=0)
    torch.testing.assert_close(kl, (y * (y / x).log()).sum(-1), atol=5e-5, rtol=0)


def test_what_is_not_kept_counts_as_one_entry():
    x = torch.tensor([[0.5, 0.2, 0.2, 0.1]])
    y = torch.tensor([[0.4, 0.4, 0.1, 0.1]])
    kl, tv = draft_model.distances(x.log(), 0.0, torch.tensor([[0, 1]]), y[:, :2].log())
    assert tv.item() == pytest.approx(0.5 * (0.1 + 0.2 + 0.1), abs=1e-6)
    expected = 0.4 * np.log(0.4 / 0.5) + 0.4 * np.log(0.4 / 0.2) + 0.2 * np.log(0.2 / 0.3)
    assert kl.item() == pytest.approx(expected, abs=1e-5)


def test_a_weighted_entry_stands_for_as_many():
    logits = torch.tensor([[1.0, 0.5, 0.5, 0.5]])
    columns, target = torch.tensor([[0]]), torch.tensor([[0.6]]).log()
    one_for_three = draft_model.distances(
        logits[:, :2], torch.tensor([0.0, 3.0]).clamp_min(1.0).log(), columns, target
    )
    all_of_them = draft_model.distances(logits, 0.0, columns, target)
    torch.testing.assert_close(one_for_three, all_of_them)


def test_the_normaliser_over_drawn_entries_is_unbiased(large, tokenizer, functions):
    prompts = draft_model.Prompts(tokenizer, functions)
    shard = draft_model.write_rows(
        large, prompts, RECIPE, np.random.default_rng(0), stage=_stage(), note="test"
    )
    small = pairs.slice_model(large)
    width = len(prompts.prefix)
    exact = draft_model.evaluate(small, shard, RECIPE, width)
    every = dataclasses.replace(RECIPE, num_other=20_000)  # the draws cover the vocabulary
    for recipe, tolerance in ((every, 0.02), (RECIPE, 0.05)):
        generator = torch.Generator().manual_seed(1)
        got = draft_model.train_step(small, shard, recipe, width, 1.0, generator)
        assert got == pytest.approx(exact, abs=tolerance)  # bfloat16 logits


# --------------------------------------------------------------------------------------------- the writing


def test_a_row_is_a_conversation_and_every_sampled_position_has_the_writers_law(large, tokenizer, functions):
    prompts = draft_model.Prompts(tokenizer, functions)
    stage = _stage(num_rows=8, row_tokens=40)
    shard = draft_model.write_rows(large, prompts, RECIPE, np.random.default_rng(3), stage=stage, note="test")
    width = len(prompts.prefix)
    assert shard.tokens.shape == (8, width + 40)
    assert np.all(shard.tokens[:, :width] == prompts.prefix)
    with torch.no_grad():
        logits = large(torch.from_numpy(shard.tokens.astype(np.int64))).logits[:, width - 1 : -1]
    top = logits.topk(RECIPE.num_top)
    assert np.mean(top.indices.numpy() == shard.top_ids) > 0.99  # ties may swap
    np.testing.assert_allclose(shard.top_logits, top.values.numpy(), atol=5e-3, rtol=1e-3)
    np.testing.assert_allclose(shard.log_norm, (logits / 0.7).logsumexp(-1).numpy(), atol=1e-4)
    num_code = round(RECIPE.code_share * 8)
    for row in range(num_code):
        assert tokenizer.decode(shard.tokens[row, width:]).startswith("Complete this Python function.")
    assert not shard.sampled[:num_code, :20].any()
    assert shard.sampled[num_code:, 0].all()  # the others begin with a question of the model's own


def test_scoring_gives_the_law_that_writing_gave(large, tokenizer, functions):
    prompts = draft_model.Prompts(tokenizer, functions)
    width = len(prompts.prefix)
    shard = draft_model.write_rows(
        large, prompts, RECIPE, np.random.default_rng(0), stage=_stage(), note="test"
    )
    fields = {f.name: getattr(shard, f.name).copy() for f in dataclasses.fields(Shard)}
    scored = Shard(**fields | {"log_norm": np.zeros_like(shard.log_norm)})
    draft_model.score_rows(large, scored, RECIPE, width, note="test")
    np.testing.assert_allclose(scored.log_norm, shard.log_norm, atol=1e-4)


def test_packed_attention_changes_nothing(large, tokenizer, functions):
    import copy

    prompts = draft_model.Prompts(tokenizer, functions)
    packed = copy.deepcopy(large)
    draft_model._pack_attention(packed)
    rows = [
        draft_model.write_rows(model, prompts, RECIPE, np.random.default_rng(0), stage=_stage(), note="test")
        for model in (large, packed)
    ]
    np.testing.assert_array_equal(rows[0].tokens, rows[1].tokens)
    np.testing.assert_allclose(rows[0].log_norm, rows[1].log_norm, atol=1e-4)


def test_a_small_writer_only_answers(large, tokenizer, functions):
    prompts = draft_model.Prompts(tokenizer, functions)
    stage = _stage(writer="small", num_rows=10, row_tokens=100, everyday=True)
    shard = draft_model.write_rows(large, prompts, RECIPE, np.random.default_rng(0), stage=stage, note="test")
    known = {tuple(script) for script in (*prompts.everyday, *prompts.functions)}
    for row in shard.tokens[:, len(prompts.prefix) :].tolist():
        turns = draft_model._turns(row, prompts.end, prompts.to_question)
        assert tuple(turns[0]) in known


def test_questions_are_found_again_in_a_row():
    end, to_question = 0, [9, 9]
    row = [5, 6, 7, end, 8, 1, 2, end, *to_question, 4, 3, end, 8, 1]
    assert draft_model._turns(row, end, to_question) == [[5, 6, 7], [4, 3]]


def test_functions_of_the_standard_library_are_signature_and_docstring():
    found = draft_model.library_functions()
    assert len(found) > 500
    assert len(set(found)) == len(found)
    assert all(source.startswith("def ") and ('"' in source or "'" in source) for source in found[:200])


def test_no_question_of_the_training_is_one_of_the_shipped_prompts():
    from calibration.prompts import built_in_prompts

    shipped = {prompt.text.strip().lower() for prompt in built_in_prompts()}
    questions = draft_model.everyday_questions()
    assert len(set(questions)) == len(questions) > 1000
    assert not shipped & {question.lower() for question in questions}


# ------------------------------------------------------------------------------------------------- the run


def test_the_step_size_warms_up_stays_and_falls_to_zero():
    recipe = Recipe()
    num_steps = recipe.first_step(recipe.num_rounds + 1)
    rates = np.array([draft_model.learning_rate(recipe, step) for step in range(num_steps + 1)])
    assert rates[0] == pytest.approx(recipe.learning_rate / recipe.warmup_steps)
    assert rates.max() == recipe.learning_rate
    assert rates[-1] == 0.0
    cool = recipe.first_step(recipe.num_rounds + 1 - recipe.decay_rounds)
    assert np.all(rates[recipe.warmup_steps : cool + 1] == recipe.learning_rate)
    assert all(a > b for a, b in itertools.pairwise(rates[cool:]))


def test_training_lowers_the_rejection(run):
    longer = dataclasses.replace(RECIPE, stages=(_stage(num_rounds=6), _stage(writer="small", num_rounds=2)))
    _, found, lines = run(longer)
    first = float(lines[0].split("held-out text TV ")[1].split(",")[0])
    assert found["text"] < first
    assert len(lines) == longer.num_rounds


def test_a_run_that_stops_goes_on_to_the_same_weights(run, monkeypatch):
    whole, found, _ = run(folder="whole")
    trained = draft_model._train_round

    def stops(run, optimiser, shards, index):
        if index == 2:
            raise KeyboardInterrupt
        return trained(run, optimiser, shards, index)

    with monkeypatch.context() as patch:
        patch.setattr(draft_model, "_train_round", stops)
        with pytest.raises(KeyboardInterrupt):
            run(folder="stopped")
    resumed, again, lines = run(folder="stopped")
    assert lines[0] == "resuming after round 1"
    assert again == found
    for name, weight in pairs.own_weights(whole).items():
        assert torch.equal(weight, pairs.own_weights(resumed)[name])


def test_another_recipe_does_not_resume(run):
    run()
    with pytest.raises(
        ValueError, match=r"learning_rate must be 0\.003, as in the run to be resumed; got 0\.1"
    ):
        run(dataclasses.replace(RECIPE, learning_rate=0.1))


def test_the_weights_say_how_they_were_made(run, tmp_path):
    from safetensors import safe_open

    small, found, _ = run()
    draft_model.save(small, RECIPE, found, tmp_path / "slm.safetensors")
    with safe_open(tmp_path / "slm.safetensors", "pt") as stored:
        metadata = stored.metadata()
    assert metadata["command"] == "cuhlm distil --seed 0 --out DIR"
    assert '"writer": "small"' in metadata["recipe"]
    assert '"own text"' in metadata["held_out_tv"]


def test_the_command_writes_the_weights(cuhlm_json, monkeypatch, tmp_path):
    seen = {}

    def distil(large, tokenizer, recipe, work, note):
        seen.update(large=large, seed=recipe.seed, work=work)
        return "small", {"own": 0.25}

    monkeypatch.setattr(draft_model.pairs, "load_built_in_llm", lambda: (torch.nn.Identity(), "tokenizer"))
    monkeypatch.setattr(draft_model, "distil", distil)
    monkeypatch.setattr(draft_model, "save", lambda small, recipe, found, path: seen.update(path=path))
    found = cuhlm_json("distil", "--seed", "5", "--out", tmp_path)
    assert found == {"file": str(tmp_path / "slm.safetensors"), "held_out_tv": {"own": 0.25}, "seed": 5}
    assert (seen["seed"], seen["work"], str(seen["path"])) == (5, tmp_path / "work", found["file"])
