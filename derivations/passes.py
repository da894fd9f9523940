"""The time of a pass: what part of it skipping saves."""

import sympy as sp

from derivations.rules import Evaluate, Solve, SumOver
from derivations.statement import Builder, Proof, Statement, at, eq, lt
from derivations.vocabulary import token

fixed, each = sp.symbols("t_0 t_1", positive=True)
"""Seconds of a pass, whatever it is fed, and of each token that it is fed."""


def skipping_saves_the_fixed_part() -> Statement:
    """Show that skipped tokens still cost the LLM their part of a pass."""
    rounds = sp.Symbol("K", integer=True, positive=True)
    fed, seconds = sp.symbols("n tau", positive=True)
    FED, SECONDS = sp.IndexedBase("n"), sp.IndexedBase("tau")
    tokens, chance, mean = sp.symbols("N p T", positive=True)
    slm, up, price, share = sp.symbols("tau_SLM tau_up lambda beta", positive=True)
    proof = Proof()
    one = proof.assume(eq(seconds, fixed + each * fed))
    all_fed = proof.assume(eq(sp.Sum(FED[token], (token, 1, rounds)), tokens))
    passes = proof.assume(eq(rounds, chance * tokens))
    mean_is = proof.assume(eq(mean, sp.Sum(SECONDS[token], (token, 1, rounds)) / tokens))
    summed = proof.step(
        "Add up the passes: every token is fed once.",
        eq(sp.Sum(SECONDS[token], (token, 1, rounds)), rounds * fixed + each * tokens),
        SumOver(token, rounds, ((fed, FED[token]), (seconds, SECONDS[token]))),
        one,
        all_fed,
    )
    divided = proof.step(
        "A token takes of the LLM",
        eq(mean, (rounds * fixed + each * tokens) / tokens),
        Evaluate(),
        mean_is,
        summed,
    )
    claim = proof.step(
        "and with one pass a transmission", eq(mean, chance * fixed + each), Evaluate(), divided, passes
    )
    alone = proof.step(
        "The LLM alone makes a pass a token; skipping saves of it",
        eq(at(chance * fixed + each, {chance: 1}) - (chance * fixed + each), (1 - chance) * fixed),
        Evaluate(),
    )
    latency = slm + chance * (up + fixed) + each
    margin = proof.step(
        "One token more that is transmitted takes", eq(sp.Derivative(latency, chance), up + fixed), Evaluate()
    )
    equal = proof.assume(eq(price * share, up + fixed))
    edge = proof.step(
        "so a draft is kept as long as its rejection probability is at most",
        eq(share, (up + fixed) / price),
        Solve(share),
        equal,
    )
    devices = (fixed + each) / (chance * fixed + each)
    gain = proof.step(
        "A server holds more devices than if it wrote every token: this many times more,",
        lt(devices, (fixed + each) / each),
        Evaluate(),
    )
    printed = proof.step(
        "Without a part for each token it is the printed model, which has no such limit.",
        eq(sp.Limit(devices, each, 0), 1 / chance),
        Evaluate(),
    )
    drafts, kept = sp.symbols("gamma E_N", positive=True)
    run = proof.step(
        "A pass over gamma drafts and the refused place makes E_N tokens of gamma + 1: what is rolled back "
        "is charged too.",
        eq((fixed + (drafts + 1) * each) / kept, fixed / kept + each + each * (drafts + 1 - kept) / kept),
        Evaluate(),
    )
    return Statement(
        name="passes.skipping_saves_the_fixed_part",
        title="Skipping saves the fixed part of a pass",
        source="here",
        status="new",
        functions=(),
        tests=(
            "test_a_token_takes_its_own_part_and_a_share_of_the_fixed_one",
            "test_a_server_holds_at_most_as_many_devices_as_its_passes_allow",
        ),
        assumptions=(
            "A pass over n tokens takes tau = t_0 + t_1 n; what grows with the context is left out. Of N "
            "tokens each is fed to the LLM once, whether it was skipped or not: a transmission brings the "
            "skipped ones before it. K = p N passes, p the chance of a transmission; T: seconds of the LLM "
            "a token.",
            "tau_SLM and tau_up: a draft and a packet; lambda: seconds that a token may cost per unit of "
            "bias; beta: rejection probability of the draft. A server with one token a second to write for "
            "each device is busy T seconds for it.",
            "gamma drafts a round of several drafts, E_N tokens that it commits, those that are rolled back "
            "left out.",
        ),
        assumed=proof.assumed,
        claims=(claim, alone, margin, edge, gain, printed, run),
        steps=proof.steps,
    )


BUILDERS: tuple[Builder, ...] = (skipping_saves_the_fixed_part,)
