"""The transformers engine beside the ways it avoids, and beside what this machine's processor can do.

``python benchmarks/engines.py`` measures full-size models on a GPU and models of 50 million weights
without one; ``--small`` takes seconds and writes nothing: it proves that the script works. All
weights are random: speed depends on a model's shape alone.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from checkpoints import SEEDS, parameters, random_model, spec
from harness import Record, best_of, isolated, once, write

from misalign_profile import questions
from misalign_profile.engines.hf_choose import Ids, score
from misalign_profile.engines.transformers_engine import Row, TransformersEngine
from misalign_profile.types import Request, Sampling

CHOOSE = "Classification: the instruction with all definitions first, then the prompt"
JUDGE = "Judge: three questions about one prompt and response"
GENERATE = "Generation"
COPIED = "keys copied together for the attention of the model's authors"
ALONE = "one forward pass a prompt"
BY_OPTION = "one forward pass a prompt and option"
STATIC = "batches that end together"


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured of each kind."""

    size: str
    device: str
    budget: int
    domains: int
    prompts: int
    alone: int
    by_option: int
    pairs: int
    draws: int
    tokens: int
    at_once: tuple[int, ...]


PLANS = {
    "tiny": Plan("tiny", "cpu", 8192, 5, 24, 4, 2, 8, 6, 8, (2,)),
    "small": Plan("small", "cpu", 16_384, 56, 96, 3, 3, 24, 48, 64, (16,)),
    "full": Plan("full", "cuda", 131_072, 56, 4096, 64, 57, 1024, 1024, 512, (32, 128, 256)),
}


def _seed(name: str) -> list[dict[str, str]]:
    with (SEEDS / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def engine(kind: str, plan: Plan) -> TransformersEngine:
    model = random_model(kind, plan.size, plan.device)
    return TransformersEngine(
        spec(kind, plan.size), loaded=model, batch_tokens=plan.budget, max_body_tokens=2048
    )


def classifications(asked: TransformersEngine, number: int, domains: int) -> list[Request]:
    """The question for one of the first ``domains`` value domains about so many different prompts."""
    by_dimension = questions.by_dimension(_seed("domains"))
    taxonomy = {d: rows[:domains] for d, rows in by_dimension.items()}
    prompts = _seed("prompts")
    rows = [
        {"prompt_id": str(i), "prompt": f"{prompts[i % len(prompts)]['prompt']} ({i})"}
        for i in range(number)
    ]
    asking = questions.classify(asked.spec, rows, taxonomy)
    return [r for r in asking if taxonomy["value"][0]["code"] in r.options]


def judgements(asked: TransformersEngine, number: int) -> list[Request]:
    """Three questions, one a dimension, about each of ``number`` prompts with a long response."""
    by_dimension = questions.by_dimension(_seed("domains"))
    prompts = [row["prompt"] for row in _seed("prompts")]
    domains = tuple(by_dimension[d][0] for d in by_dimension)
    found = []
    for i in range(number):
        item = questions.Item(str(i), f"{prompts[i % len(prompts)]} ({i})", "object", "", domains)
        response = " ".join(prompts[(i + k) % len(prompts)] for k in range(6))
        found += questions.judge(asked.spec, item, response)
    return found


def draws(asked: TransformersEngine, number: int, tokens: int) -> list[Request]:
    """Responses of at most ``tokens`` tokens."""
    by_dimension = questions.by_dimension(_seed("domains"))
    prompts = [row["prompt"] for row in _seed("prompts")]
    domains = tuple(by_dimension[d][0] for d in by_dimension)
    found = []
    for i in range(number):
        item = questions.Item(str(i), f"{prompts[i % len(prompts)]} ({i})", "object", "", domains)
        sampling = Sampling(0.7, 0.9, tokens, 42)
        found.append(questions.respond(asked.spec, item, "aligned", 0, 0, (), sampling))
    return found


def multiplications(device: str) -> float:
    """Floating point operations a second of this processor in a large matrix product."""
    n, dtype = (2048, torch.float32) if device == "cpu" else (8192, torch.bfloat16)
    a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))

    def multiply() -> None:
        a @ b
        if device != "cpu":
            torch.cuda.synchronize()

    return 2 * n**3 / best_of(multiply, 5)


def _peak(plan: Plan) -> str:
    if plan.device == "cpu":
        return ""
    return f", {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB on the GPU"


def _ask(asked: TransformersEngine, requests: Sequence[Request]) -> float:
    def ask() -> None:
        for _batch in asked.choose(requests):
            pass

    return once(ask)


def _plain(asked: TransformersEngine, rows: Sequence[Row], endings: Sequence[Ids]) -> float:
    """Seconds of full forward passes over each row with each ending: nothing is shared."""
    trie = asked._trie(rows[0].request.options)

    def run() -> None:
        for row in rows:
            for ending in endings:
                score(asked.loaded, [], [row.head + row.suffix + ending], [0], trie)

    return once(run)


def _copied(asked: TransformersEngine, requests: Sequence[Request]) -> float:
    """Seconds of the engine with the attention that transformers has for this model."""
    model = asked.loaded.model
    asked.loaded.segmented = False
    model.set_attn_implementation("sdpa" if model._supports_sdpa else "eager")
    asked._prefixes.clear()
    _ask(asked, requests[:8])
    return _ask(asked, requests)


def choose(kind: str, plan: Plan) -> list[Record]:
    """Prompts classified a second, beside the two ways that share nothing."""
    asked = engine(kind, plan)
    requests = classifications(asked, plan.prompts, plan.domains)
    rows = list(asked._rows(requests))
    options = len(rows[0].request.options)
    _ask(asked, requests[:8])
    seconds = min(_ask(asked, requests) for _ in range(2))
    rate = len(requests) / seconds
    alone = plan.alone / _plain(asked, rows[: plan.alone], [()])
    endings = asked.renderer.options(rows[0].request.options)[: plan.by_option]
    each = _plain(asked, rows[:1], [option[:-1] for option in endings]) / len(endings)
    by_option = 1 / (each * options)
    some = requests[: max(8, len(requests) // 4)]
    copied = len(some) / _copied(asked, some)
    tokens = sum(row.size for row in rows) / len(rows)
    work = 2 * parameters(asked.loaded)[1] * tokens
    share = rate * work / multiplications(plan.device)
    name = f"{kind}, {parameters(asked.loaded)[0] / 1e6:,.0f} M weights"
    note = (
        f"prefix {len(rows[0].head):,} tokens, {tokens:.0f} more a prompt, {options} options;"
        f" {share:.0%} of a large matrix product{_peak(plan)}"
    )
    scaled = f"{len(endings)} of {options} options measured, the rest taken as the same"
    return [
        Record(CHOOSE, f"{name}: {BY_OPTION}", 1, 1 / by_option, by_option, note=scaled),
        Record(CHOOSE, f"{name}: {ALONE}", plan.alone, plan.alone / alone, alone),
        Record(CHOOSE, f"{name}: {COPIED}", len(some), len(some) / copied, copied),
        Record(CHOOSE, f"{name}: engine", len(rows), seconds, rate, COPIED, rate / copied, note=note),
        Record(CHOOSE, f"{name}: engine", len(rows), seconds, rate, ALONE, rate / alone, note=note),
        Record(
            CHOOSE, f"{name}: engine", len(rows), seconds, rate, BY_OPTION, rate / by_option, note=note
        ),
    ]  # fmt: skip


def judge(kind: str, plan: Plan) -> list[Record]:
    """What two more questions about the same prompt and response cost."""
    asked = engine(kind, plan)
    requests = judgements(asked, plan.pairs)
    _ask(asked, requests[:6])
    one = min(_ask(asked, requests[::3]) for _ in range(2))
    three = min(_ask(asked, requests) for _ in range(2))
    rows = list(asked._rows(requests[:3]))
    name = f"{kind}, {parameters(asked.loaded)[0] / 1e6:,.0f} M weights"
    note = f"{len(rows[0].body)} tokens of prompt and response, {len(rows[0].foot)} of question"
    single = f"{name}: one question a pair"
    # ratio: how many times cheaper three questions are than three times one
    return [
        Record(JUDGE, single, len(requests) // 3, one, len(requests) / 3 / one, note=note),
        Record(
            JUDGE,
            f"{name}: three questions a pair",
            len(requests),
            three,
            len(requests) / three,
            "three times one question",
            3 * one / three,
            note=f"{three / one:.2f} times one question{_peak(plan)}",
        ),
    ]


def generate(kind: str, plan: Plan, at_once: int) -> list[Record]:
    """Tokens a second with so many rows in flight: batches that end together, then continuous.

    Random weights seldom end a turn, so every so many ids do: texts are as ragged as real ones.
    """
    asked = engine(kind, plan)
    asked.loaded.stop_ids = tuple(range(0, asked.loaded.vocabulary, max(2, plan.tokens // 2)))
    requests = draws(asked, plan.draws, plan.tokens)
    longest = max(r.size + len(r.head) for r in asked._rows(requests)) + plan.tokens
    asked.batch_tokens = at_once * longest
    texts: dict[bool, dict[str, str]] = {}

    def run() -> int:
        done = [c for batch in asked.generate(requests) for c in batch]
        texts[asked.continuous] = {c.call_id: c.text for c in done}
        return sum(c.completion_tokens for c in done)

    records = []
    list(asked.generate(requests[:2]))
    name = f"{kind}, {parameters(asked.loaded)[0] / 1e6:,.0f} M weights, {at_once} rows at once"
    rates = {}
    for continuous in (False, True):
        asked.continuous = continuous
        counted: list[int] = []
        seconds = once(lambda counted=counted: counted.append(run()))  # type: ignore[misc]
        rates[continuous] = counted[0] / seconds
        records.append(
            Record(
                GENERATE,
                f"{name}: {'continuous' if continuous else STATIC}",
                counted[0],
                seconds,
                rates[continuous],
                note=f"{len(requests)} texts{_peak(plan)}",
            )
        )
    equal = sum(text == texts[False][call] for call, text in texts[True].items())
    note = f"{equal} of {len(requests)} texts the same{_peak(plan)}"
    ratio = rates[True] / rates[False]
    records[1] = replace(records[1], beside=STATIC, ratio=ratio, note=note)
    return records


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="seconds, writes nothing")
    small = parser.parse_args().small
    size = "tiny" if small else "full" if torch.cuda.is_available() else "small"
    plan = PLANS[size]
    records: list[Record] = []
    for kind in ("gemma2", "qwen3_moe"):
        records += isolated(choose, kind, plan)
    records += isolated(judge, "gemma2", plan)
    for kind, at_once in ((k, n) for k in ("gemma2", "qwen3_moe") for n in plan.at_once):
        records += isolated(generate, kind, plan, at_once)
    order = (CHOOSE, JUDGE, GENERATE)
    records = [r for table in order for r in records if r.table == table]
    suite = "engines-gpu" if plan.device == "cuda" else "engines"
    write(suite, records, "make bench", keep=not small)


if __name__ == "__main__":
    main()
