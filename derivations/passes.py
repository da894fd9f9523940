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
    return Statement(
        name="passes.skipping_saves_the_fixed_part",
        title="Skipping saves the fixed part of a pass",
        source="here",
        status="new",
        functions=("throughput.skip_saves_s",),
        tests=(
            "test_a_token_takes_its_own_part_and_a_share_of_the_fixed_one",
            "test_what_a_skip_saves_is_what_one_pass_less_takes",
        ),
        assumptions=(
            "A pass over n tokens takes tau = t_0 + t_1 n; what grows with the context is, at its mean, a "
            "part of t_0. Of N tokens each is fed to the LLM once, whether it was skipped or not "
            "(passes.every_token_is_fed_once). K = p N passes, p the chance of a transmission; T: seconds of "
            "the LLM a token.",
            "tau_SLM and tau_up: a draft and a packet; lambda: seconds that a token may cost per unit of "
            "bias; beta: rejection probability of the draft.",
        ),
        assumed=proof.assumed,
        claims=(claim, alone, margin, edge),
        steps=proof.steps,
    )


def every_token_is_fed_once() -> Statement:
    """Count what the two models read in a round, from what their caches hold."""
    text, cached = sp.symbols("N c", positive=True)
    waiting, drafts = sp.symbols("j gamma", integer=True, nonnegative=True)
    kept = sp.Symbol("E_N", positive=True)
    proof = Proof()
    given = proof.assume(eq(cached, text - 1))
    asked = proof.step(
        "A pass that asks for the next token after j skipped ones feeds them and the token before.",
        eq(text + waiting - cached, 1 + waiting),
        Evaluate(),
        given,
    )
    again = proof.step(
        "Its answer is the one token that is not in the cache then: as at the start.",
        eq((text + waiting + 1) - (text + waiting), text - cached),
        Evaluate(),
        given,
    )
    run = proof.step(
        "A pass that verifies gamma drafts, and knows the law after them, feeds one more;",
        eq(text + drafts - cached, drafts + 1),
        Evaluate(),
        given,
    )
    rolled = proof.step(
        "so that what is rolled back is paid too: of gamma + 1 tokens E_N are committed.",
        eq((fixed + (drafts + 1) * each) / kept, fixed / kept + each + each * (drafts + 1 - kept) / kept),
        Evaluate(),
    )
    alone = proof.step(
        "The device feeds one token a draft, and never its last draft:",
        eq(text + (drafts - 1) - cached, drafts),
        Evaluate(),
        given,
    )
    late = proof.step(
        "where all drafts are kept and the server adds its own token, that draft is behind by one more.",
        eq((text + drafts + 1) - (text + drafts - 1), (text - cached) + 1),
        Evaluate(),
        given,
    )
    return Statement(
        name="passes.every_token_is_fed_once",
        title="What a pass reads",
        source="here",
        status="new",
        functions=("throughput.round_parts_s",),
        tests=(
            "test_both_models_read_what_the_caches_say",
            "test_a_run_of_passes_takes_what_the_ledger_says",
        ),
        assumptions=(
            "The text has N tokens, and a cache holds c of them: all but the last, whose law is due. A pass "
            "feeds what the cache lacks; drafts that are refused are taken out of it again. j: tokens that "
            "were skipped since; gamma drafts, E_N tokens committed; t_0, t_1: a pass over n tokens takes "
            "t_0 + t_1 n. Without a token of its own the server does not feed the last draft.",
            "The prompt is read before the first token, by both models, and not charged.",
        ),
        assumed=proof.assumed,
        claims=(asked, again, run, rolled, alone, late),
        steps=proof.steps,
    )


def devices_served() -> Statement:
    """Bound how many devices a server holds."""
    chance, rate, held = sp.symbols("p r M", positive=True)
    proof = Proof()
    lemma = skipping_saves_the_fixed_part()
    mean = lemma.claims[0]
    busy = proof.assume(eq(held * rate * mean.lhs, 1))
    just = proof.step("It is busy all the time with", eq(held, 1 / (rate * mean.lhs)), Solve(held), busy)
    claim = proof.step(
        "devices, by the parts of a pass",
        eq(held, 1 / (rate * (chance * fixed + each))),
        Evaluate(),
        just,
        mean,
    )
    more = (fixed + each) / (chance * fixed + each)
    gain = proof.step(
        "this many times those of a server that writes every token,",
        lt(more, (fixed + each) / each),
        Evaluate(),
    )
    printed = proof.step(
        "Without a part for each token it is the printed model, which has no such limit.",
        eq(sp.Limit(more, each, 0), 1 / chance),
        Evaluate(),
    )
    return Statement(
        name="passes.devices_served",
        title="Devices that a server holds",
        source="here",
        status="new",
        functions=("throughput.devices_served",),
        tests=(
            "test_a_server_holds_at_most_as_many_devices_as_its_passes_allow",
            "test_a_server_with_that_many_devices_is_just_busy",
        ),
        assumptions=(
            "M devices each write r tokens a second and ask with chance p; the server makes its passes one "
            "after the other, each for one device, and takes T seconds a token. t_0, t_1: a pass over n "
            "tokens takes t_0 + t_1 n.",
        ),
        assumed=proof.assumed,
        lemmas=(lemma,),
        claims=(claim, gain, printed),
        steps=proof.steps,
    )


BUILDERS: tuple[Builder, ...] = (every_token_is_fed_once, skipping_saves_the_fixed_part, devices_served)
