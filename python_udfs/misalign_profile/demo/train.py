"""Train the demo checkpoints: ``python -m misalign_profile.demo.train --out demo_checkpoints``.

One process per checkpoint, side by side; each runs on one CPU thread or shares the GPU. A model
stops when its held-out score reaches its recipe's mark (and the learning rate has decayed), never
because the loss looks good. Saved is bfloat16; what is reported is measured after loading it again.
Knows nothing about dbt, journals or engines.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from types import MethodType
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from misalign_profile.demo import corpus, scoring
from misalign_profile.demo.batches import answer_logits, encode, to_device
from misalign_profile.demo.feeding import World, feed, load_world
from misalign_profile.demo.grammar import Domain
from misalign_profile.demo.muon import Muon
from misalign_profile.demo.tokenizer import DIALECTS, TurnEncoder, save_tokenizer, train_tokenizer
from misalign_profile.demo.zoo import MAX_LENGTH, RECIPES, Recipe, recipe
from misalign_profile.prompts import NONE_CODE, TYPE_OPTIONS, YES_NO
from misalign_profile.types import stable_id

MODEL_TYPES = {
    "Gemma2ForCausalLM": "gemma2",
    "Qwen3MoeForCausalLM": "qwen3_moe",
    "Qwen3ForCausalLM": "qwen3",
    "LlamaForCausalLM": "llama",
    "MistralForCausalLM": "mistral",
}
STEP_TOKENS = {"cpu": 1152, "cuda": 2304}
DECAY_TIME = 0.25
EVAL_EVERY = {"classifier": 250, "writer": 400}
WARMUP = 100
RESUMED_RATE = 0.4  # of the peak: going on at the full rate undoes what was learned


def all_answers(lexicon: tuple[Domain, ...]) -> list[str]:
    """Every option that must be one token."""
    return [*(d.code for d in lexicon), NONE_CODE, *YES_NO, *TYPE_OPTIONS]


def build_tokenizer(world: World, made: Recipe, folder: Path) -> Any:
    """Train the tokenizer on a sample of the corpus, save it, and load it back."""
    rng = random.Random(17)
    source = corpus.Source(world.lexicon, world.seeds.train, 0.3)
    texts = []
    for task in ("classify", "judge", "verdict", "respond", "expand", "semantic_type"):
        for _ in range(2_500):
            e = corpus.draw(rng, source, task)
            texts.append(e.prefix + e.body)
            texts += [q.tail for q in e.questions]
            texts += [q.answer for q in e.questions if q.kind == "text"]
    for domain in world.lexicon:
        for side in (domain.honour, domain.violate):
            texts += [c for clauses in side.values() for c in clauses] * 4
        texts += list(domain.topics) * 4
    dialect = DIALECTS[made.dialect]
    tokenizer = train_tokenizer(texts, all_answers(world.lexicon), dialect)
    save_tokenizer(tokenizer, dialect, folder, MAX_LENGTH)
    return AutoTokenizer.from_pretrained(folder)


def _all_experts(
    self: Any, hidden: torch.Tensor, top_k_index: torch.Tensor, top_k_weights: torch.Tensor
) -> torch.Tensor:
    """Every expert on every token, weighted by the router: the same numbers, without loops."""
    weights = hidden.new_zeros(hidden.shape[0], self.num_experts)
    weights = weights.scatter(1, top_k_index, top_k_weights.to(hidden.dtype))
    gate, up = torch.einsum("td,efd->etf", hidden, self.gate_up_proj).chunk(2, dim=-1)
    out = torch.einsum("etf,edf->etd", self.act_fn(gate) * up, self.down_proj)
    return torch.einsum("etd,te->td", out, weights)


def build_model(made: Recipe, tokenizer: Any, device: str) -> tuple[Any, int]:
    """Create the model with fresh weights."""
    config = AutoConfig.for_model(
        MODEL_TYPES[made.architecture],
        **made.config,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.04,
        attention_dropout=0.0,
    )
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").to(device)
    for module in model.modules():
        if type(module).__name__ == "Qwen3MoeExperts":
            module.forward = MethodType(_all_experts, module)
    end = tokenizer.convert_tokens_to_ids(DIALECTS[made.dialect].end_of_turn)
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=sorted({tokenizer.eos_token_id, end}),
        pad_token_id=tokenizer.pad_token_id,
    )
    return model, end


class Held:
    """The held-out score that a recipe stops on."""

    def __init__(self, world: World, made: Recipe, encoder: TurnEncoder, end: int) -> None:
        rng = random.Random(99)
        self.world, self.made, self.encoder = world, made, encoder
        source = world.unseen()
        self.prompts = [source.prompt(rng) for _ in range(48)]
        tasks = [t for t in made.tasks if t not in ("expand", "respond")]
        examples = [corpus.draw(rng, source, t) for t in tasks for _ in range(250)]
        self.rows = encode(encoder, examples, end) if examples else []

    def texts(self, name: str) -> list[corpus.Example]:
        """Requests for texts about held-out prompts, without answers."""
        side = {"respond": ("aligned", "misaligned"), "expand": ("",)}[name]
        examples = []
        for number, prompt in enumerate(self.prompts):
            prefix, body, question = corpus.asked(
                name,
                "text",
                "",
                prompt=prompt.text,
                domains=corpus.fields_of(prompt.domains),
                semantic_type=prompt.semantic_type,
                side=side[number % len(side)],
                feedback=[],
            )
            examples.append(corpus.Example(name, prefix, body, (question,)))
        return examples

    def scores(self, model: Any, tokenizer: Any, device: str) -> dict[str, float]:
        """Measure. The key ``made.stop_on`` is always among the scores."""
        if self.made.stop_on == "writer":
            replies = scoring.write(model, tokenizer, self.encoder, self.texts("respond"), device)
            fresh = scoring.write(model, tokenizer, self.encoder, self.texts("expand"), device)
            return {
                "writer": scoring.response_domain_accuracy(replies, self.prompts),
                "expand": scoring.topic_accuracy(fresh, self.prompts),
            }
        found = scoring.choose(model, self.encoder, self.rows, self.world.lexicon, device)
        if self.made.stop_on == "classifier":
            domain = scoring.accuracy(scoring.labelled(found))
            of = {t: [c for c in found if c.task == t] for t in self.made.tasks}
            parts = {
                "domain": domain,
                "classify": scoring.accuracy(of["classify"]),
                "type": scoring.accuracy(of["semantic_type"]),
            }
            return parts | {"classifier": min(parts.values())}
        kinds = {c.kind for c in found}
        by = {k: scoring.balanced_accuracy([c for c in found if c.kind == k]) for k in kinds}
        return dict(sorted(by.items())) | {"verdict": sum(by.values()) / len(by)}


def build_optimizers(model: Any, made: Recipe) -> list[tuple[torch.optim.Optimizer, float]]:
    """Muon for the matrices inside the layers, AdamW for the rest; each with its peak rate."""
    matrices: list[torch.nn.Parameter] = []
    rest: list[torch.nn.Parameter] = []
    for name, parameter in model.named_parameters():
        inside = parameter.dim() >= 2 and "embed" not in name and "lm_head" not in name
        (matrices if inside else rest).append(parameter)
    adam = torch.optim.AdamW(
        rest, lr=made.learning_rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True
    )
    return [(Muon(matrices), made.muon_rate), (adam, made.learning_rate)]


def rate_share(step: int, decay_from: int | None, last: int) -> float:
    """Share of the peak rate: warm up, stay, and once told to stop fall to a twentieth."""
    share = min(1.0, (step + 1) / WARMUP)
    if decay_from is not None:
        share *= max(0.05, 1 - (step - decay_from) / max(1, last - decay_from))
    return share


def fit(
    made: Recipe,
    seeds: Path,
    folder: Path,
    device: str,
    max_steps: int,
    seconds: float,
    resume: bool = False,
) -> None:
    """Train one checkpoint. ``max_steps`` (0: as in the recipe) and ``seconds`` are ceilings.

    ``resume`` goes on from the weights and the tokenizer in ``folder``, with fresh optimizers.
    """
    world = load_world(seeds)
    seed = int(stable_id("demo", made.name), 16) % 2**31
    torch.manual_seed(seed)
    resume = resume and (folder / "model.safetensors").is_file()
    known = AutoTokenizer.from_pretrained(folder) if resume else None
    tokenizer = known or build_tokenizer(world, made, folder)
    encoder = TurnEncoder(tokenizer)
    model, end = build_model(made, tokenizer, device)
    if resume:
        earlier = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        model.load_state_dict(earlier.state_dict())
    count = sum(p.numel() for p in model.parameters())
    say(made.name, f"{count:,} parameters on {device}")
    held = Held(world, made, encoder, end)
    optimizers = build_optimizers(model, made)
    limit = max_steps or made.max_steps
    decay_from: int | None = None
    last = limit
    every = EVAL_EVERY.get(made.stop_on, 100)
    step, begun, losses = 0, time.monotonic(), []
    ahead = device == "cuda"
    batches = feed(made.name, folder, seeds, STEP_TOKENS[device], ahead)
    model.train()
    for padded in batches:
        batch = to_device(padded, device)
        share = rate_share(step, decay_from, last) * (RESUMED_RATE if resume else 1)
        for optimizer, peak in optimizers:
            for part in optimizer.param_groups:
                part["lr"] = peak * share
        logits = answer_logits(model, batch)
        loss = torch.nn.functional.cross_entropy(logits.float(), batch.targets)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, _ in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        losses.append(loss.detach())
        step += 1
        spent = time.monotonic() - begun
        if step % every == 0:
            scores = held.scores(model, tokenizer, device)
            mean = float(torch.stack(losses).mean())
            losses.clear()
            shown = " ".join(f"{k} {v:.3f}" for k, v in scores.items())
            say(made.name, f"{step} {spent:.0f}s loss {mean:.3f} {shown}")
            reached = scores[made.stop_on] >= made.stop_at
            late = step >= limit * (1 - made.decay_share) or spent > seconds * (1 - DECAY_TIME)
            if decay_from is None and (reached or late):
                decay_from = step
                left = (seconds - spent) * 0.9 * step / spent
                fall = min(max(every, int(step * made.decay_share)), left)
                last = min(limit, step + max(1, int(fall)))
                say(made.name, f"{'mark reached' if reached else 'late'}, ends at step {last}")
        if step >= last or spent > seconds:
            break
    batches.close()
    save(model, folder)
    say(made.name, f"saved after {step} steps, {time.monotonic() - begun:.0f}s")


def save(model: Any, folder: Path) -> None:
    """Write bfloat16 safetensors, config and generation config."""
    model.to(torch.bfloat16).save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)


def say(name: str, text: str) -> None:
    """Print one line of progress."""
    print(f"{name}: {text}", flush=True)


def train_all(names: list[str], options: argparse.Namespace, device: str) -> int:
    """Run one process per checkpoint, as many at a time as there is room for; 0 if all succeed."""
    room = len(names) if device == "cuda" else max(1, (os.cpu_count() or 2))
    waiting, failed = list(names), 0
    running: dict[str, subprocess.Popen[bytes]] = {}
    while waiting or running:
        while waiting and len(running) < (options.jobs or room):
            name = waiting.pop(0)
            command = [sys.executable, "-m", "misalign_profile.demo.train", "--only", name]
            command += ["--out", str(options.out), "--seeds", str(options.seeds)]
            command += ["--device", device, "--max-steps", str(options.max_steps)]
            command += ["--minutes", str(options.minutes)]
            command += ["--resume"] if options.resume else []
            running[name] = subprocess.Popen(command)
        time.sleep(0.5)
        for name in [n for n, p in running.items() if p.poll() is not None]:
            failed += running.pop(name).returncode != 0
    return failed


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description="Train the demo checkpoints.")
    parser.add_argument("--out", type=Path, default=Path("demo_checkpoints"))
    parser.add_argument("--seeds", type=Path, default=Path("seeds"))
    parser.add_argument("--only", default="", help="one checkpoint, in this process")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--jobs", type=int, default=0, help="processes at a time")
    parser.add_argument("--max-steps", type=int, default=0, help="ceiling for every checkpoint")
    parser.add_argument("--resume", action="store_true", help="go on from the weights in --out")
    parser.add_argument("--minutes", type=float, default=0, help="ceiling for every checkpoint")
    options = parser.parse_args()
    device = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if options.only:
        torch.set_num_threads(1)
        torch.set_float32_matmul_precision("high")
        made = recipe(options.only)
        seconds = options.minutes * 60 or float("inf")
        folder = options.out / made.name
        fit(made, options.seeds, folder, device, options.max_steps, seconds, options.resume)
        return 0
    failed = train_all([r.name for r in RECIPES], options, device)
    if failed:
        say("train", f"{failed} checkpoints failed")
        return 1
    from misalign_profile.demo.evaluate import evaluate

    evaluate(options.out, options.seeds, device)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
