"""Tiny random models and a byte-level tokenizer: what users bring, small enough to break."""

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def tokenizer(*, extra=(), eos="<|im_end|>", template=CHATML):
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=270,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(["why is the sky blue", "the quick brown fox"] * 20, trainer)
    made.add_special_tokens(list(extra))
    found = transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token=SPECIAL[0], eos_token=eos, pad_token=SPECIAL[0]
    )
    found.chat_template = template
    return found


SIZE = len(tokenizer())
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "initializer_range": 0.3}
SMALL |= {"bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 0}
ATTENTION = {"num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 64}
ATTENTION |= {"max_position_embeddings": 256}


def model(family="Llama", *, seed=0, size=SIZE, **more):
    """Make a random model of a family of transformers."""
    torch.manual_seed(seed)
    config = getattr(transformers, f"{family}Config")(vocab_size=size, **SMALL, **more)
    return getattr(transformers, f"{family}ForCausalLM")(config).eval().requires_grad_(False)


def llama(*, seed=0, size=SIZE, **more):
    return model("Llama", seed=seed, size=size, **ATTENTION, **more)


def lfm2(*, seed=0):
    return model("Lfm2", seed=seed, layer_types=["conv", "full_attention"], **ATTENTION)


def mamba(*, seed=0):
    return model("Mamba", seed=seed, state_size=8)


def rwkv(*, seed=0):
    return model("Rwkv", seed=seed, attention_hidden_size=32, intermediate_size=64, context_length=256)


def mistral(*, seed=0):
    """Make a model whose every layer looks through a window of 4 tokens."""
    return model("Mistral", seed=seed, sliding_window=4, **ATTENTION)


def gemma3(*, seed=0):
    """Make a model with a window of 4 tokens in one layer of two."""
    torch.manual_seed(seed)
    kinds = ["sliding_attention", "full_attention"]
    config = transformers.Gemma3TextConfig(
        vocab_size=SIZE, sliding_window=4, head_dim=8, layer_types=kinds, **SMALL, **ATTENTION
    )
    return transformers.Gemma3ForCausalLM(config).eval().requires_grad_(False)


def save(folder, made, tokens=None):
    made.save_pretrained(folder)
    (tokens or tokenizer()).save_pretrained(folder)
    return str(folder)
