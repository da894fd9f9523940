"""A model behind an HTTP server: one that tells laws as llama.cpp's does, one that scores as vLLM's does."""

import json
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from calibration import finding
from calibration.collect import score
from calibration.served import ScoringModel, ServedModel
from cuhlm_theory.errors import CuhlmError
from tests import tiny

torch = pytest.importorskip("torch")
pytest.importorskip("httpx2")

LINE = (
    "--slm-latency-s",
    "0.01",
    "--llm-latency-s",
    "0.05",
    "--max-new-tokens",
    "8",
    "--prompt",
    "why is it",
)


class Server(ThreadingHTTPServer):
    """A tiny model behind the four paths that are asked of llama.cpp's server."""

    def __init__(self, model, tokenizer):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.model, self.tokenizer, self.missing = model, tokenizer, 0
        self.changes = {}
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_port}"

    def answer(self, path, body):
        if path not in ("/completion", "/props", "/v1/models", "/tokenize"):
            return None
        size = self.model.config.vocab_size
        if path == "/completion":
            with torch.inference_mode():
                law = self.model(torch.tensor([body["prompt"]])).logits[0, -1].log_softmax(-1)
            order = law.argsort(descending=True)[: body["n_probs"] - self.missing].tolist()
            return {
                "completion_probabilities": [
                    {"top_logprobs": [{"id": i, "logprob": float(law[i])} for i in order]}
                ]
            }
        return {
            "/props": {
                "default_generation_settings": {"n_ctx": 256},
                "build_info": "b1",
                "eos_token": "<|im_end|>",
            },
            "/v1/models": {"data": [{"id": "folder/tiny.gguf", "meta": {"n_vocab": size, "n_params": 5}}]},
            "/tokenize": {
                "tokens": body
                and self.tokenizer(body.get("content", ""), add_special_tokens=False)["input_ids"]
            },
        }[path] | self.changes


class ScoringServer(Server):
    """The same model behind the three paths that are asked of vLLM's server; it tells given tokens alone.

    It reads a text as the process would that asks, since float32 sums in another order round otherwise: the
    answers follow contexts that it knows.
    """

    def __init__(self, model, tokenizer, pair, contexts):
        self.pair, self.contexts, self.asked = pair, contexts, []
        super().__init__(model, tokenizer)

    def answer(self, path, body):
        if path == "/v1/models":
            return {"data": [{"id": "org/tiny", "max_model_len": 257, "owned_by": "vllm"}]} | self.changes
        if path == "/tokenize":
            return {"tokens": self.tokenizer(body["prompt"], add_special_tokens=False)["input_ids"]}
        if path != "/v1/completions":
            return None
        self.asked.append(body)
        if "prompt_logprobs" not in body:
            return {"choices": [{"text": " a"}]}
        prompt = body["prompt"]
        length = max((len(one) for one in self.contexts if prompt[: len(one)] == one), default=1)
        context, text = prompt[:length], prompt[length:]
        with torch.inference_mode():
            laws = score(self.pair, self.model, [context], [text])[0].double().log_softmax(-1)
        told = [{str(token): {"logprob": float(law[token])}} for token, law in zip(text, laws, strict=True)]
        first = [None] + [{str(token): {"logprob": -1.0}} for token in context[1:]]
        return {"choices": [{"text": " a", "prompt_logprobs": first + told}]}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        length = int(self.headers.get("Content-Length") or 0)
        answer = self.server.answer(self.path, json.loads(self.rfile.read(length) or "null"))
        content = json.dumps(answer).encode()
        self.send_response(404 if answer is None else 200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST  # noqa: N815

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pair")
    return [tiny.save(folder / name, tiny.llama(seed=seed)) for name, seed in (("slm", 1), ("llm", 2))]


@pytest.fixture
def server():
    made = Server(tiny.llama(seed=2), tiny.tokenizer())
    yield made
    made.shutdown()
    made.server_close()


def test_its_laws_are_those_of_the_model(server):
    served, model = ServedModel("llm", server.address), server.model
    ids = torch.tensor([[5, 6, 7, 8], [0, 9, 10, 11]])
    mask = torch.tensor([[1, 1, 1, 1], [0, 1, 1, 1]])
    found = served(ids, attention_mask=mask, logits_to_keep=2).logits
    for row, start in ((0, 0), (1, 1)):
        told = model(ids[row : row + 1, start:]).logits[0, -2:].log_softmax(-1)
        np.testing.assert_allclose(found[row], told, atol=1e-5)


@pytest.mark.parametrize(
    ("scheme", "more"),
    [("kept-law", ("--threshold", "0.5")), ("hlm", ()), ("dssd", ("--num-drafts", "2")), ("llm", ())],
)
def test_text_is_that_of_the_model_in_the_process(folders, server, cuhlm_json, scheme, more):
    slm, llm = folders
    here = cuhlm_json("decode", "--scheme", scheme, *more, *LINE, "--slm", slm, "--llm", llm)
    there = cuhlm_json("decode", "--scheme", scheme, *more, *LINE, "--slm", slm, "--llm", server.address)
    assert there["text"] == here["text"]
    assert there["inputs"]["llm"] == "tiny.gguf, served"


def test_a_recording_is_that_of_the_model_in_the_process(folders, server, run_cuhlm, tmp_path):
    from calibration.trace import read

    slm, llm = folders
    (tmp_path / "prompts.txt").write_text("why is the sky blue\nthe quick brown fox\n")
    wanted = ("calibrate", "--prompts", tmp_path / "prompts.txt", "--max-new-tokens", "12", "--slm", slm)
    for name, large in (("here", llm), ("there", server.address)):
        run_cuhlm(
            *wanted,
            "--llm",
            large,
            "--texts",
            "slm,llm,hybrid",
            "--threshold",
            "0.5",
            "--out",
            tmp_path / name,
        )
    for text in ("slm", "llm", "hybrid-0.5"):
        here, there = (read(tmp_path / name / text / "trace.parquet") for name in ("here", "there"))
        np.testing.assert_array_equal(here.columns["token"], there.columns["token"])
        np.testing.assert_allclose(here.columns["tv"], there.columns["tv"], atol=1e-5)
        assert there.header.llm_sha256 == "server:b1,5 parameters"


def test_what_is_no_such_server_is_one_line(folders, server, assert_refused):
    slm, _ = folders
    call = ("decode", "--scheme", "hlm", *LINE, "--json", "--slm", slm, "--llm")
    assert_refused(*call, "http://127.0.0.1:9", code=1, words=["llm at http://127.0.0.1:9 does not answer"])
    server.missing = 3
    assert_refused(*call, server.address, code=1, words=["all are needed"])
    server.missing, server.changes = 0, {"data": []}
    assert_refused(*call, server.address, code=1, words=["does not answer as llama.cpp's server does"])
    server.changes = {"tokens": [1]}
    assert_refused(*call, server.address, words=["slm and llm must share a tokenizer"])
    both = ("decode", "--scheme", "hlm", *LINE, "--json", "--slm", server.address, "--llm", server.address)
    assert_refused(*both, words=["--tokenizer must be given where slm and llm are both served"])


def test_both_models_may_be_served(folders, server, cuhlm_json):
    slm, llm = folders
    small = Server(tiny.llama(seed=1), tiny.tokenizer())
    call = ("decode", "--scheme", "kept-law", "--threshold", "0.5", *LINE)
    here = cuhlm_json(*call, "--slm", slm, "--llm", llm)
    there = cuhlm_json(*call, "--slm", small.address, "--llm", server.address, "--tokenizer", slm)
    assert there["text"] == here["text"]
    small.shutdown()
    small.server_close()


# a server that scores


PROMPTS = "why is the sky blue\nthe quick brown fox\nwhat is a link\nsay it again\n"


@pytest.fixture
def scoring(folders, tmp_path):
    from calibration.pairs import load_pair
    from calibration.prompts import read_prompts

    (tmp_path / "prompts.txt").write_text(PROMPTS)
    pair = load_pair(slm=str(folders[0]), llm=str(folders[1]))
    contexts = [pair.context(prompt, 12) for prompt in read_prompts(tmp_path / "prompts.txt")]
    made = ScoringServer(pair.llm, tiny.tokenizer(), pair, contexts)
    yield made
    made.shutdown()
    made.server_close()


def calibrate(folder, slm, llm, *more, temperature="1"):
    prompts = folder / "prompts.txt"
    asked = (
        "--prompts",
        prompts,
        "--max-new-tokens",
        "12",
        "--temperature",
        temperature,
        "--batch-size",
        "1",
    )
    return ("calibrate", "--slm", slm, "--llm", llm, *asked, "--json", *more)


@pytest.fixture
def recorded(run_cuhlm):
    """What `cuhlm calibrate` says, its progress apart."""

    def run(*arguments):
        code, out, err = run_cuhlm(*calibrate(*arguments))
        assert code == 0, err
        return json.loads(out)

    return run


def test_scored_drafts_give_the_line_and_the_thresholds_of_whole_laws_bit_for_bit(
    folders, scoring, recorded, tmp_path
):
    from calibration.trace import OF_LAWS, read

    slm, llm = folders
    here = recorded(tmp_path, slm, llm, "--texts", "slm", "--out", tmp_path / "here")
    there = recorded(tmp_path, slm, scoring.address, "--out", tmp_path / "there")
    for name in ("slope", "intercept", "delta", "acceptance", "risk_averse", "risk_prone"):
        assert there[name] == here[name]
        assert there[f"{name}_ci95"] == here[f"{name}_ci95"]
    assert set(there["missing_columns"]) == OF_LAWS
    assert here["missing_columns"] == []
    assert list(there["texts"]) == ["slm"]
    whole, scored = (read(tmp_path / name / "slm" / "trace.parquet") for name in ("here", "there"))
    assert set(whole.columns) - set(scored.columns) == OF_LAWS
    for name in set(scored.columns) - {"slm_latency_s", "llm_latency_s"}:
        np.testing.assert_array_equal(scored.columns[name], whole.columns[name], err_msg=name)
    assert not scored.header.llm_laws
    assert scored.header.llm == "tiny, scored by a server"
    asked = [body for body in scoring.asked if "prompt_logprobs" in body]
    assert len(asked) == 4  # one request a text
    assert all(isinstance(token, int) for body in asked for token in body["prompt"])


def test_what_was_scored_answers_the_main_question(cuhlm_json, tmp_path):
    """The recording of the built-in pair, and the same one as a server that scores would have left it."""
    from calibration.fit import fit_folder
    from calibration.trace import read, write

    whole = read(finding.texts_in(finding.built_in()["smollm2"])["slm"])
    few = whole.columns["prompt"] < 16
    for name, header in (("whole", whole.header), ("scored", replace(whole.header, llm_laws=False))):
        folder = tmp_path / name
        (folder / "slm").mkdir(parents=True)
        columns = {one: whole.columns[one][few] for one in header.columns if one in whole.columns}
        write(folder / "slm" / "trace.parquet", header, columns)
        fit_folder(folder, name=name)
    there, here = (
        cuhlm_json("thresholds", "--calibration", tmp_path / name, "--risk-budget", "0.02")
        for name in ("scored", "whole")
    )
    assert there == here
    there, here = (
        cuhlm_json("optimize", "--calibration", tmp_path / name, "--rate-bit-per-s", "1e6")
        for name in ("scored", "whole")
    )
    rows = [{row["name"]: row for row in found["schemes"]} for found in (there, here)]
    for name in ("slm", "llm", "hlm", "dssd", "lenience", "confidence-stop"):
        assert rows[0][name]["latency_s"] == rows[1][name]["latency_s"]
    own = [found["operating_point"] for found in (there, here)]
    assert own[0]["threshold"] == own[1]["threshold"]  # the truncation rule and the budget, too
    assert own[0]["bias_bound"] == pytest.approx(own[1]["bias_bound"], abs=2e-3)
    assert own[0]["bias_bound"] <= 0.05
    assert here["certificate"] is not None
    assert there["certificate"] is None
    assert any("cascade" in str(one) for one in there["missing"])


def test_what_scores_cannot_tell_is_refused_by_name(folders, scoring, assert_refused, tmp_path):
    slm, llm = folders
    out, place = ("--out", tmp_path / "out"), scoring.address
    warm = calibrate(tmp_path, slm, place, *out, temperature="0.7")
    assert_refused(*warm, words=["--temperature must be 1 where llm tells the probabilities of given tokens"])
    call = calibrate(tmp_path, slm, place, *out)
    assert_refused(*call, "--texts", "llm", words=["--writer must be slm where llm tells"])
    assert_refused(*calibrate(tmp_path, place, llm, *out), code=1, words=["slm at", "whole laws are needed"])
    decode = ("decode", "--scheme", "hlm", *LINE, "--json", "--slm", slm, "--llm", place)
    assert_refused(*decode, code=1, words=["tells the probabilities of given tokens alone"])
    scoring.changes = {"data": [{"id": "org/tiny"}]}
    assert_refused(*call, code=1, words=["neither as llama.cpp's server nor as vLLM's", "max_model_len"])


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"choices": [{"text": ""}]}, "gives no prompt_logprobs"),
        ({"choices": [{"prompt_logprobs": [None, {"7": {"logprob": -1.0}}]}]}, "gives no prompt_logprobs"),
        ({"choices": [{"prompt_logprobs": [None, {"6": {"logprob": 0.5}}]}]}, "that are none"),
    ],
)
def test_scores_that_are_none_are_refused(scoring, told, words):
    model = ScoringModel("llm", scoring.address)
    scoring.answer = lambda path, body: told
    with pytest.raises(CuhlmError, match=words):
        model.log_prob([5], [6])


@pytest.mark.slow
def test_llama_cpp_itself_gives_the_laws_of_the_built_in_model(tmp_path):
    """Its kernels work on four-bit weights, ours on what these mean: laws differ by a per cent or two."""
    xllamacpp = pytest.importorskip("xllamacpp")
    from calibration import pairs

    asked = xllamacpp.CommonParams()
    asked.model.path = str(pairs._find_gguf(tmp_path, tmp_path))
    asked.n_ctx, asked.port = 512, 8179
    running = xllamacpp.Server(asked)
    pair = pairs.load_pair(llm=running.listening_address)
    model, _ = pairs.load_built_in_llm()
    ids = torch.tensor([pair.tokenizer("The capital of France is Paris, and that of Italy is")["input_ids"]])
    found = pair.llm(ids, logits_to_keep=4).logits[0].double()
    with torch.inference_mode():
        told = model(ids).logits[0, -4:].double().log_softmax(-1)
    distance = 0.5 * (found.exp() - told.exp()).abs().sum(-1)
    assert found.exp().sum(-1).numpy() == pytest.approx(1.0, abs=1e-3)
    assert distance.max() < 0.05
    assert distance.max() > 0.0
