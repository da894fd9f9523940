"""A device in a process of its own: writes one text after the other until it is killed.

python -m tests.device HOST:PORT FOLDER NUMBER
"""

import json
import sys

import numpy as np
import torch
from transformers import AutoModelForCausalLM

from calibration.decoding import Clock, Settings, decode
from calibration.serving.client import RemoteModel
from cuhlm_theory.parameters import Codec, FixedRate, Latency, System
from cuhlm_theory.schemes import SCHEMES
from tests import tiny

SYSTEM = System(
    link=FixedRate(rate_bit_per_s=1e6),
    codec=Codec(vocab_size=tiny.SIZE),
    latency=Latency(slm_s=0.01, llm_s=0.05),
)
NAMES = ("kept-law", "dssd", "hlm", "llm")
NUMBERS = {"threshold": 0.4, "num_drafts": 3}


def text(slm, llm, number, turn):
    """Decode one text; which one is told by the number of the device and its turn."""
    scheme = SCHEMES[NAMES[(number + turn) % len(NAMES)]].given(NUMBERS)
    settings = Settings(scheme=scheme, temperature=0.9, max_new_tokens=40)
    prompt = [5 + number, 9, 77, *range(40, 45 + turn % 20)]
    rng = np.random.default_rng([number, turn])
    return decode((slm, llm), prompt, settings, Clock(system=SYSTEM), rng=rng, measure=False).tokens


def main(address, folder, number):
    """Decode until killed."""
    torch.set_num_threads(1)
    slm = AutoModelForCausalLM.from_pretrained(folder).eval()
    llm, turn = RemoteModel(address), 0
    while True:
        print(json.dumps([turn, text(slm, llm, number, turn)]), flush=True)
        turn += 1


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
