"""Distil the built-in small model out of the built-in large one.

The small model is a slice of the large one: its embedding, its head and eight of its thirty layers. Only the
eight layers and the last norm are trained; they are all that is shipped, as int8 with one scale a row.

A *round* is new text, then gradient steps. In the first rounds the large model writes the text, starting from
an empty user turn (so that it also writes the instructions) or from a function of the Python standard library
that is to be completed; its top logits fall out of the sampling. In the later rounds the small model answers
the same kind of prompts at the temperature it will be used at and the large model scores the answers in one
pass: what is minimised is then the rejection on the contexts that a draft model really meets.

Loss at a position, x and y the small and the large model at the sampling temperature: w KL(y, x) + TV(x, y).

The shipped weights were made by ``cuhlm distil --seed 0 --out DIR`` on the CPU: ten
rounds, 480 000 new tokens, 1.3 million in gradients, an hour and a half on two shared cores. The command
resumes where it stopped. Another machine rounds differently, so a rebuild is another sample of the recipe.
"""

from __future__ import annotations

import ast
import copy
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from calibration import pairs
from calibration.prompts import code_instruction
from cuhlm_theory._files import whole
from cuhlm_theory._progress import track

if TYPE_CHECKING:
    import torch


_TEMPLATES = (
    "What is {}?",
    "Explain {} in simple words.",
    "Explain {} to a child.",
    "Tell me three facts about {}.",
    "Write a short poem about {}.",
    "Write a short story about {}.",
    "List five things one should know about {}.",
    "Why is {} important?",
    "How did {} change over time?",
    "Give me some advice about {}.",
    "Describe {} in one paragraph.",
    "What are the advantages and disadvantages of {}?",
    "Write an email to a friend about {}.",
    "What do people often get wrong about {}?",
    "How can I learn more about {}?",
    "Suggest a title for an article about {}.",
    "Compare {} with something similar.",
    "Give a short history of {}.",
    "Write a dialogue between two friends about {}.",
    "How does {} work?",
)
_TOPICS = " ".join(
    """
    gardening, the moon, a good breakfast, public transport, chess, thunderstorms, old maps, coffee,
    swimming pools, electric cars, handwriting, mountain climbing, the human eye, volcanoes, cheese, wind
    turbines, jazz music, ancient Rome, dentists, camping, parliament, satellites, rice, whales, wooden
    houses, photography, marathon running, taxes, dinosaurs, glass, tea, learning to drive, the stock
    market, rivers, penguins, soap, clocks, wool, street markets, deserts, piano lessons, computer games,
    elephants, sleep, bridges, salt, friendship, umbrellas, insurance, tropical forests, batteries, silk,
    kites, opera, traffic lights, spiders, ice cream, school uniforms, lighthouses, the periodic table,
    potatoes, sailing, mirrors, robots, museums, email, dictionaries, snow, tigers, bicycles, painting a
    room, apples, radio waves, ghosts, human rights, spreadsheets, honesty, the Olympic Games, magnets,
    working from home, trees, allergies, pottery, tunnels
    """.split()  # noqa: SIM905 - a paragraph reads better than a list of 80
).split(", ")


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Rounds of one kind."""

    writer: str  # "large": it writes questions and answers; "small": it answers, the large model scores
    num_rounds: int
    num_rows: int  # new rows a round
    row_tokens: int  # tokens a row after the common prefix [token]
    num_passes: int  # rows in the gradient, in units of num_rows [-]
    batch_rows: int  # rows a gradient step
    kl_weight: float  # w of the loss [-]
    everyday: bool = False  # half of the questions from templates, functions only if an answer has room

    @property
    def steps_a_round(self) -> int:
        """Gradient steps of a round."""
        return -(-self.num_passes * self.num_rows // self.batch_rows)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything the weights depend on."""

    seed: int = 0
    temperature: float = 0.7  # of the drafts, of the loss and of the validation [-]
    stages: tuple[Stage, ...] = (
        Stage(
            writer="large",
            num_rounds=4,
            num_rows=192,
            row_tokens=256,
            num_passes=3,
            batch_rows=8,
            kl_weight=1.0,
        ),
        Stage(
            writer="small",
            num_rounds=1,
            num_rows=192,
            row_tokens=256,
            num_passes=3,
            batch_rows=8,
            kl_weight=0.3,
        ),
        Stage(
            writer="small",
            num_rounds=5,
            num_rows=320,
            row_tokens=144,
            num_passes=2,
            batch_rows=14,
            kl_weight=0.3,
            everyday=True,
        ),
    )
    decay_rounds: int = 3  # last rounds, in which the step size falls to zero
    num_held_out: int = 32  # rows kept for validation
    code_share: float = 0.3  # rows that begin with a Python function [-]
    num_top: int = 64  # logits of the large model kept a position
    num_other: int = 4096  # entries of the rest of the vocabulary drawn for the normaliser
    learning_rate: float = 1e-3
    warmup_steps: int = 50

    @property
    def num_rounds(self) -> int:
        """Rounds of all stages."""
        return sum(stage.num_rounds for stage in self.stages)

    def stage(self, index: int) -> Stage:
        """Return the stage of a round, from 1; the validation, 0, is like the first."""
        for stage in self.stages:
            if index <= stage.num_rounds:
                return stage
            index -= stage.num_rounds
        raise ValueError(f"index must be at most {self.num_rounds}; got {index + self.num_rounds}")

    def first_step(self, index: int) -> int:
        """Gradient steps before a round."""
        return sum(self.stage(i).steps_a_round for i in range(1, index))


@dataclass
class Shard:
    """Rows of text with the large model's law at every position."""

    tokens: np.ndarray  # [rows, prefix + row_tokens], int32
    sampled: np.ndarray  # [rows, row_tokens], bool: not forced
    top_ids: np.ndarray  # [rows, row_tokens, num_top], uint16
    top_logits: np.ndarray  # [rows, row_tokens, num_top], float16
    log_norm: np.ndarray  # [rows, row_tokens], float32: log sum exp(logits / T)

    def save(self, path: Path) -> None:
        """Write the shard, whole or not at all."""
        with whole(path) as part, part.open("wb") as file:
            np.savez(file, **{f.name: getattr(self, f.name) for f in fields(self)})

    @classmethod
    def load(cls, path: Path) -> Shard:
        """Read what `save` wrote."""
        with np.load(path) as stored:
            return cls(**{f.name: stored[f.name] for f in fields(cls)})

    def rows(self, index: Any) -> Shard:
        """Return some of the rows."""
        return Shard(**{f.name: getattr(self, f.name)[index] for f in fields(self)})

    def first(self, row_tokens: int) -> Shard:
        """Return the rows without what follows their first tokens."""
        cut = self.sampled.shape[1] - row_tokens
        if cut <= 0:
            return self
        short = {f.name: getattr(self, f.name)[:, :row_tokens] for f in fields(self)}
        return Shard(**short | {"tokens": self.tokens[:, :-cut]})


# ---------------------------------------------------------------------------------------------------- prompts


def library_functions(max_chars: int = 900) -> list[str]:
    """Return signature and docstring of documented functions of the standard library, in a fixed order."""
    found = []
    for path in sorted(Path(ast.__file__).parent.glob("**/*.py")):
        if "site-packages" in path.parts or "test" in path.parts or "idlelib" in path.parts:
            continue
        try:
            source = path.read_text(encoding="utf-8")
            tree = ast.parse(source)
        except (SyntaxError, UnicodeDecodeError, RecursionError):
            continue
        lines = source.splitlines()
        for node in tree.body:
            if not isinstance(node, ast.FunctionDef) or len(ast.get_docstring(node) or "") < 30:
                continue
            head = "\n".join(lines[node.lineno - 1 : node.body[0].end_lineno])
            if len(head) <= max_chars:
                found.append(head + "\n")
    return list(dict.fromkeys(found))


def everyday_questions() -> list[str]:
    """Return each template of `_TEMPLATES` about each topic of `_TOPICS`."""
    return [template.format(topic) for template in _TEMPLATES for topic in _TOPICS]


class Prompts:
    """Token scripts for the rows: chat markup, instructions and functions."""

    def __init__(self, tokenizer: Any, functions: list[str]) -> None:
        def encode(text: str) -> list[int]:
            return tokenizer(text, add_special_tokens=False)["input_ids"]

        marker = "\x00"
        chat = tokenizer.apply_chat_template(
            [{"role": "user", "content": marker}], tokenize=False, add_generation_prompt=True
        )
        before, after = chat.split(marker)
        end = tokenizer.eos_token
        self.prefix = encode(before)
        self.end = tokenizer.eos_token_id
        self.to_answer = encode(after.removeprefix(end))  # after the end of a user turn
        self.to_question = encode(after.removeprefix(end).replace("assistant", "user"))
        scripts = [encode(code_instruction(text)) for text in functions]
        self.functions = [script for i, script in enumerate(scripts) if i % 10]
        self.held_functions = scripts[::10]
        self.everyday = [encode(text) for text in everyday_questions()]
        self.held_instructions: list[list[int]] = []
        self.instructions: list[list[int]] = []

    def questions(self, shard: Shard) -> list[list[int]]:
        """User turns of a shard that the large model wrote, of a length that leaves room for an answer."""
        rows = shard.tokens[:, len(self.prefix) :].tolist()
        turns = [turn for row in rows for turn in _turns(row, self.end, self.to_question)]
        return [turn for turn in turns if 4 <= len(turn) <= 120]


def _turns(row: list[int], end: int, to_question: list[int]) -> list[list[int]]:
    """User turns of a row that starts in one."""
    turns, start, asking = [], 0, True
    for i, token in enumerate(row):
        if token != end:
            continue
        if asking:
            turns.append(row[start:i])
        else:
            start = i + 1 + len(to_question)
        asking = not asking
    return turns


# ---------------------------------------------------------------------------------------------------- writing


def _roomy_cache(num_layers: int, room: int) -> Any:
    """Key-value cache that writes in place instead of concatenating at each token."""
    from transformers.cache_utils import Cache, DynamicLayer

    class RoomyLayer(DynamicLayer):
        def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
            super().lazy_initialization(key_states, value_states)
            rows, heads, _, width = key_states.shape
            self.room = [key_states.new_empty(rows, heads, room, width) for _ in range(2)]
            self.used = 0

        def update(
            self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
        ) -> Any:
            if not self.is_initialized:
                self.lazy_initialization(key_states, value_states)
            end = self.used + key_states.shape[-2]
            self.room[0][:, :, self.used : end] = key_states
            self.room[1][:, :, self.used : end] = value_states
            self.used = end
            self.keys, self.values = (store[:, :, :end] for store in self.room)
            return self.keys, self.values

    return Cache(layers=[RoomyLayer() for _ in range(num_layers)])


def _pack_attention(model: Any) -> None:
    """Let attention of a single query run on key-value heads; the stock kernel runs on query heads."""
    import torch
    from transformers.integrations.sdpa_attention import sdpa_attention_forward
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    def packed(
        module: Any,
        query: Any,
        key: Any,
        value: Any,
        attention_mask: Any = None,
        scaling: Any = None,
        **options: Any,
    ) -> Any:
        if query.shape[2] != 1 or attention_mask is not None:
            return sdpa_attention_forward(
                module, query, key, value, attention_mask, scaling=scaling, **options
            )
        rows, heads, _, width = query.shape
        groups = key.shape[1]
        grouped = query.reshape(rows, groups, heads // groups, width) * scaling
        share = (grouped @ key.transpose(-1, -2)).softmax(-1, dtype=torch.float32).to(value.dtype)
        return (share @ value).reshape(rows, 1, heads, width), None

    ALL_ATTENTION_FUNCTIONS.register("packed", packed)
    ALL_MASK_ATTENTION_FUNCTIONS.register("packed", sdpa_mask)
    model.config._attn_implementation = "packed"


class _Scripts:
    """What the rows are to say: questions and markup are forced upon them, answers are the writer's."""

    def __init__(
        self, prompts: Prompts, recipe: Recipe, rng: np.random.Generator, stage: Stage, *, held_out: bool
    ) -> None:
        self.prompts, self.rng, self.stage, self.held_out = prompts, rng, stage, held_out
        self.num_code = round(recipe.code_share * stage.num_rows)
        self.functions = prompts.held_functions if held_out else prompts.functions
        if stage.everyday:
            self.functions = [script for script in self.functions if len(script) <= stage.row_tokens // 2]
        self.forced = [self.question(row) for row in range(stage.num_rows)]
        self.asking = [not script for script in self.forced]  # rows in a question of the writer's own

    def question(self, row: int) -> list[int]:
        """Draw the next question of a row, with what leads to its answer; empty where the writer asks."""
        prompts = self.prompts
        if row < self.num_code:
            pool = self.functions
        elif self.stage.writer != "small":
            return []
        elif self.held_out:
            pool = prompts.held_instructions
        else:
            pool = prompts.everyday if self.stage.everyday and row % 2 else prompts.instructions
        pool = pool or prompts.everyday  # a short run may have met no question yet
        return [*pool[self.rng.integers(len(pool))], prompts.end, *prompts.to_answer]

    def next(self, row: int, drawn: int) -> tuple[int, bool]:
        """Return the next token of a row and whether it is the one that was drawn."""
        if self.forced[row]:
            return self.forced[row].pop(0), False
        if drawn == self.prompts.end:
            if self.asking[row]:
                self.forced[row] = list(self.prompts.to_answer)
                self.asking[row] = False
            else:
                script = self.question(row)
                self.forced[row] = [*self.prompts.to_question, *script]
                self.asking[row] = not script
        return drawn, True


def write_rows(
    model: Any,
    prompts: Prompts,
    recipe: Recipe,
    rng: np.random.Generator,
    *,
    stage: Stage,
    held_out: bool = False,
    note: str,
) -> Shard:
    """Let a model write rows of conversation, all rows in step.

    Parameters
    ----------
    model : LlamaForCausalLM
        The writer.
    prompts : Prompts
        Markup and questions.
    recipe : Recipe
        Temperature, share of functions, logits to keep.
    rng : numpy.random.Generator
        Source of questions and tokens.
    stage : Stage
        Number and length of the rows. The large model writes the questions too (temperature 1 there, 0.8 in
        its answers); the small one is given questions and answers them at ``recipe.temperature``.
    held_out : bool, default False
        Whether to ask the questions that are kept for validation.
    note : str
        Text of the progress bar.

    Returns
    -------
    Shard
        The rows; with the large model's law where it was the writer.
    """
    import torch

    device, num_rows, width = model.device, stage.num_rows, len(prompts.prefix)
    scripts = _Scripts(prompts, recipe, rng, stage, held_out=held_out)
    shard = _blank(prompts, recipe, stage)
    with torch.inference_mode():
        hidden, cache = _opened(model, prompts.prefix, num_rows, width + stage.row_tokens)
        for step in track(range(stage.row_tokens), stage.row_tokens, note):
            logits = model.lm_head(hidden).float()
            if stage.writer == "small":
                heat = recipe.temperature
            else:
                _note_law(shard, np.s_[:, step], logits, recipe)
                heat = torch.tensor([1.0 if ask else 0.8 for ask in scripts.asking], device=device)[:, None]
            cumulative = (logits / heat).softmax(-1).cumsum(-1)
            draw = torch.from_numpy(rng.random((num_rows, 1), dtype=np.float32)).to(device)
            drawn = torch.searchsorted(cumulative, draw * cumulative[:, -1:]).clamp_max(logits.shape[-1] - 1)
            for row, token in enumerate(drawn[:, 0].tolist()):
                said, shard.sampled[row, step] = scripts.next(row, token)
                shard.tokens[row, width + step] = said
            if step + 1 < stage.row_tokens:
                last = torch.from_numpy(shard.tokens[:, width + step, None].astype(np.int64)).to(device)
                hidden = model.model(last, past_key_values=cache, use_cache=True).last_hidden_state[:, -1]
    return shard


def _blank(prompts: Prompts, recipe: Recipe, stage: Stage) -> Shard:
    """Return rows that hold the common prefix alone."""
    shape, width = (stage.num_rows, stage.row_tokens), len(prompts.prefix)
    tokens = np.zeros((stage.num_rows, width + stage.row_tokens), np.int32)
    tokens[:, :width] = prompts.prefix
    return Shard(
        tokens=tokens,
        sampled=np.zeros(shape, bool),
        top_ids=np.zeros((*shape, recipe.num_top), np.uint16),
        top_logits=np.zeros((*shape, recipe.num_top), np.float16),
        log_norm=np.zeros(shape, np.float32),
    )


def _opened(model: Any, prefix: list[int], num_rows: int, room: int) -> tuple[torch.Tensor, Any]:
    """Read the common prefix once; the last hidden state of each row and the cache of all of them."""
    import torch

    one = model.model(torch.tensor([prefix], device=model.device), use_cache=True)
    cache = _roomy_cache(model.config.num_hidden_layers, room)
    for layer, given in zip(cache.layers, one.past_key_values.layers, strict=True):
        layer.update(given.keys.expand(num_rows, -1, -1, -1), given.values.expand(num_rows, -1, -1, -1))
    return one.last_hidden_state[:, -1].expand(num_rows, -1), cache


def _note_law(shard: Shard, place: Any, logits: torch.Tensor, recipe: Recipe) -> None:
    """Keep the large model's law at some positions, from its logits there."""
    top = logits.topk(recipe.num_top)
    shard.top_ids[place] = top.indices.cpu().numpy().astype(np.uint16)
    shard.top_logits[place] = top.values.cpu().numpy()
    shard.log_norm[place] = (logits / recipe.temperature).logsumexp(-1).cpu().numpy()


def score_rows(model: Any, shard: Shard, recipe: Recipe, width: int, *, note: str) -> None:
    """Fill in the large model's law at every position, one pass."""
    import torch

    starts = range(0, len(shard.tokens), 16)
    with torch.inference_mode():
        for start in track(starts, len(starts), note):
            rows = slice(start, start + 16)
            ids = torch.from_numpy(shard.tokens[rows].astype(np.int64)).to(model.device)
            hidden = model.model(ids, use_cache=False).last_hidden_state[:, width - 1 : -1]
            for row, states in zip(range(start, start + len(ids)), hidden, strict=True):
                logits = model.lm_head(states).float()  # [row_tokens, V]
                _note_law(shard, row, logits, recipe)


# --------------------------------------------------------------------------------------------------- training


def distances(
    scaled_logits: torch.Tensor,
    log_weight: torch.Tensor | float,
    columns: torch.Tensor,
    log_target: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """KL(y, x) and TV(x, y), with everything outside the kept entries as one further entry.

    Parameters
    ----------
    scaled_logits : Tensor, shape [N, C]
        Small model's logits over T for the C entries at hand.
    log_weight : Tensor, shape [C]
        Log of the number of vocabulary entries that each of them stands for.
    columns : Tensor, shape [N, K]
        Where the kept entries are among the C.
    log_target : Tensor, shape [N, K]
        Log-probabilities of the large model there.
    """
    import torch

    log_norm = (scaled_logits + log_weight).logsumexp(-1, keepdim=True)
    log_draft = scaled_logits.gather(1, columns) - log_norm
    target, draft = log_target.exp(), log_draft.exp()
    rest_target = (1 - target.sum(-1)).clamp_min(1e-6)
    rest_draft = (1 - draft.sum(-1)).clamp_min(1e-6)
    kl = (target * (log_target - log_draft)).sum(-1) + rest_target * (rest_target / rest_draft).log()
    overlap = torch.minimum(target, draft).sum(-1) + torch.minimum(rest_target, rest_draft)
    return kl, 1 - overlap


def _targets(shard: Shard, recipe: Recipe, device: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Positions that carry loss, their kept ids and log-probabilities."""
    import torch

    where = torch.from_numpy(np.flatnonzero(shard.sampled)).to(device)
    ids = torch.from_numpy(shard.top_ids.reshape(-1, recipe.num_top).astype(np.int64)).to(device)[where]
    top = torch.from_numpy(shard.top_logits.reshape(-1, recipe.num_top).astype(np.float32)).to(device)[where]
    norm = torch.from_numpy(shard.log_norm.reshape(-1, 1)).to(device)[where]
    return where, ids, top / recipe.temperature - norm


def train_step(
    model: Any, shard: Shard, recipe: Recipe, width: int, kl_weight: float, generator: torch.Generator
) -> float:
    """Accumulate the gradient of one batch; return its mean TV."""
    import torch

    device = model.device
    where, top_ids, log_target = _targets(shard, recipe, device)
    ids = torch.from_numpy(shard.tokens[:, :-1].astype(np.int64)).to(device)
    with torch.autocast(device.type, torch.bfloat16):
        hidden = model.model(ids, use_cache=False).last_hidden_state
    states = hidden[:, width - 1 :].reshape(-1, hidden.shape[-1])[where]
    leaf = states.detach().requires_grad_()
    head = model.lm_head.weight.detach()
    num_vocab = len(head)
    total = 0.0
    for chunk in torch.arange(len(where), device=device).split(512):
        kept = top_ids[chunk].unique()
        other = torch.randint(
            num_vocab, (recipe.num_other,), generator=generator, device=generator.device
        ).to(device)
        is_kept = torch.zeros(num_vocab, dtype=torch.bool, device=device)
        is_kept[kept] = True
        other = other[~is_kept[other]]
        entries = torch.cat([kept, other])
        log_weight = torch.zeros(len(entries), device=device)
        log_weight[len(kept) :] = np.log((num_vocab - len(kept)) / len(other))
        place = torch.zeros(num_vocab, dtype=torch.int64, device=device)
        place[kept] = torch.arange(len(kept), device=device)
        logits = (leaf[chunk].bfloat16() @ head[entries].bfloat16().T).float()
        kl, tv = distances(logits / recipe.temperature, log_weight, place[top_ids[chunk]], log_target[chunk])
        ((kl_weight * kl + tv).sum() / len(where)).backward()
        total += float(tv.detach().sum())
    states.backward(leaf.grad)
    return total / len(where)


def evaluate(model: Any, shard: Shard, recipe: Recipe, width: int) -> float:
    """Mean TV at the sampling temperature over the sampled positions, with the whole vocabulary."""
    import torch

    total, count = 0.0, 0
    with torch.inference_mode():
        for start in range(0, len(shard.tokens), 8):
            part = shard.rows(slice(start, start + 8))
            where, top_ids, log_target = _targets(part, recipe, model.device)
            ids = torch.from_numpy(part.tokens[:, :-1].astype(np.int64)).to(model.device)
            with torch.autocast(model.device.type, torch.bfloat16):
                hidden = model.model(ids, use_cache=False).last_hidden_state[:, width - 1 :]
            states = hidden.reshape(-1, hidden.shape[-1])[where].bfloat16()
            for chunk in torch.arange(len(where), device=model.device).split(256):
                logits = (states[chunk] @ model.lm_head.weight.bfloat16().T).float()
                _, tv = distances(logits / recipe.temperature, 0.0, top_ids[chunk], log_target[chunk])
                total += float(tv.sum())
            count += len(where)
    return total / count


# -------------------------------------------------------------------------------------------------------- run


def learning_rate(recipe: Recipe, step: int) -> float:
    """Warm-up, plateau, then a straight line to zero over the last rounds."""
    end = recipe.first_step(recipe.num_rounds + 1)
    decay = end - recipe.first_step(recipe.num_rounds + 1 - recipe.decay_rounds)
    return recipe.learning_rate * min(1.0, (step + 1) / recipe.warmup_steps, (end - step) / decay)


@dataclass(slots=True)
class _Run:
    """Models and files of a distillation."""

    recipe: Recipe
    work: Path
    teacher: Any  # large model in bfloat16: it writes and scores
    small: Any  # float32 weights, trained
    prompts: Prompts

    @property
    def width(self) -> int:
        return len(self.prompts.prefix)

    def shard(self, index: int) -> Shard:
        """Text of a round; round 0 is the held-out text."""
        path = self.work / f"shard_{index:03d}.npz"
        if not path.exists():
            self._write(self.recipe.stage(index) if index else self._held(0), [index]).save(path)
        return Shard.load(path)

    def _held(self, stage: int) -> Stage:
        """Return a stage with as many rows as are held out."""
        return replace(self.recipe.stages[stage], num_rows=self.recipe.num_held_out)

    def _write(self, stage: Stage, key: list[int]) -> Shard:
        small = stage.writer == "small"
        name = f"round {key[0]}" if key[0] else "validation"
        shard = write_rows(
            _writing_copy(self.small, self.teacher) if small else self.teacher,
            self.prompts,
            self.recipe,
            np.random.default_rng([self.recipe.seed, *key]),
            stage=stage,
            held_out=key[0] == 0,
            note=f"{name}: {stage.writer} model writes",
        )
        if small:
            score_rows(self.teacher, shard, self.recipe, self.width, note=f"{name}: large model scores")
        return shard

    def instructions(self, shard: Shard) -> list[list[int]]:
        """Instructions that the large model wrote; the first rows hold functions."""
        first = round(self.recipe.code_share * len(shard.tokens))
        return self.prompts.questions(shard.rows(slice(first, None)))

    def validate(self, *, own: bool) -> dict[str, float]:
        """Return the mean TV on held-out prompts, over the large model's text and the small model's own."""
        found = {"text": evaluate(self.small, self.shard(0), self.recipe, self.width)}
        if own:
            found["own text"] = evaluate(
                self.small, self._write(self._held(-1), [0, 1]), self.recipe, self.width
            )
        return found


def distil(
    large: Any, tokenizer: Any, recipe: Recipe, work: Path, note: Callable[[str], None]
) -> tuple[Any, dict[str, float]]:
    """Run or resume the rounds.

    Parameters
    ----------
    large : LlamaForCausalLM
        Model to distil, float32.
    tokenizer : tokenizer
        Its tokenizer, with a chat template.
    recipe : Recipe
        Settings.
    work : Path
        Folder that keeps the text of every round and the state after the last.
    note : callable
        Takes a line about each round.

    Returns
    -------
    tuple
        Small model and its validation TV.

    Raises
    ------
    ValueError
        If ``work`` belongs to another recipe.
    """
    import torch

    teacher = copy.deepcopy(large).to(torch.bfloat16)
    _pack_attention(teacher)
    prompts = Prompts(tokenizer, library_functions())
    run = _Run(recipe, work, teacher, pairs.slice_model(large), prompts)
    weights = [weight for weight in run.small.parameters() if weight.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=0.0, betas=(0.9, 0.95), weight_decay=0.01, fused=True)
    work.mkdir(parents=True, exist_ok=True)
    done = _resume(run, optimiser)
    if done:
        note(f"resuming after round {done}")
    prompts.held_instructions = run.instructions(run.shard(0))
    num_rounds = recipe.num_rounds
    shards: list[Shard] = []
    for index in range(1, num_rounds + 1):
        shard = run.shard(index)
        if recipe.stage(index).writer == "large":
            prompts.instructions += run.instructions(shard)
        shards.append(shard)
        if index <= done:
            continue
        training_tv = _train_round(run, optimiser, shards, index)
        found = run.validate(own=index % 2 == 0 or index == num_rounds)
        held_out = ", ".join(f"held-out {name} TV {value:.4f}" for name, value in found.items())
        note(f"round {index}/{num_rounds}: training TV {training_tv:.4f}, {held_out}")
        state = {"model": pairs.own_weights(run.small), "optimiser": optimiser.state_dict(), "rounds": index}
        with whole(work / "state.pt") as part:
            torch.save(state | {"recipe": json.loads(json.dumps(asdict(recipe)))}, part)
    return run.small, run.validate(own=True)


def _resume(run: _Run, optimiser: Any) -> int:
    """Load the state of an earlier run; how many rounds it had done."""
    import torch

    path = run.work / "state.pt"
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    for name, value in json.loads(json.dumps(asdict(run.recipe))).items():
        if value != (before := state["recipe"][name]):
            raise ValueError(f"{name} must be {before}, as in the run to be resumed; got {value}")
    run.small.load_state_dict(state["model"], strict=False)
    optimiser.load_state_dict(state["optimiser"])
    return state["rounds"]


def _train_round(run: _Run, optimiser: Any, shards: list[Shard], index: int) -> float:
    """Take the gradient steps of a round: every new row once, then rows of all rounds at random; mean TV."""
    import torch

    recipe, stage = run.recipe, run.recipe.stage(index)
    rng = np.random.default_rng([recipe.seed, index, 1])
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    new = [(len(shards) - 1, row) for row in range(stage.num_rows)]
    limits = [len(shards), min(len(shard.tokens) for shard in shards)]
    old = rng.integers(0, limits, size=((stage.num_passes - 1) * stage.num_rows, 2))
    picks = rng.permutation(np.concatenate([np.array(new), old]))
    starts = range(0, len(picks), stage.batch_rows)
    weights = optimiser.param_groups[0]["params"]
    mean_tv = 0.0
    for number, start in enumerate(track(starts, len(starts), f"round {index}: training")):
        optimiser.param_groups[0]["lr"] = learning_rate(recipe, recipe.first_step(index) + number)
        batch = _joined([shards[i].rows([j]) for i, j in picks[start : start + stage.batch_rows]])
        batch = batch.first(stage.row_tokens)
        tv = train_step(run.small, batch, recipe, run.width, stage.kl_weight, generator)
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        optimiser.zero_grad()
        mean_tv += (tv - mean_tv) / (1 + number)
    return mean_tv


def _writing_copy(small: Any, teacher: Any) -> Any:
    """Copy of the small model in bfloat16 that shares the large one's embedding."""
    import torch

    head, embedding = small.lm_head, small.model.embed_tokens
    small.lm_head = small.model.embed_tokens = None
    writer = copy.deepcopy(small).to(torch.bfloat16)
    small.lm_head, small.model.embed_tokens = head, embedding
    writer.lm_head, writer.model.embed_tokens = teacher.lm_head, teacher.model.embed_tokens
    _pack_attention(writer)
    return writer


def _joined(parts: list[Shard]) -> Shard:
    """Join rows, cut to the shortest."""
    shortest = min(part.sampled.shape[1] for part in parts)
    cut = [part.first(shortest) for part in parts]
    return Shard(**{f.name: np.concatenate([getattr(part, f.name) for part in cut]) for f in fields(Shard)})


def save(small: Any, recipe: Recipe, found: dict[str, float], path: Path) -> None:
    """Write the weights with the command, the recipe and the validation in the file's metadata."""
    pairs.save_slice(
        small,
        path,
        {
            "command": f"cuhlm distil --seed {recipe.seed} --out DIR",
            "recipe": json.dumps(asdict(recipe)),
            "layers": json.dumps(pairs.KEPT_LAYERS),
            "held_out_tv": json.dumps({name: round(value, 4) for name, value in found.items()}),
            "license": "Apache-2.0; derived from SmolLM2-135M-Instruct",
        },
    )
