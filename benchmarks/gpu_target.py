"""One whole run of the ``gpu`` target, with demo checkpoints in the places of the large models.

``python benchmarks/gpu_target.py``: roles, processes, batch sizes and dtypes are those of the target;
only the weights are small, and the templates those that they know. On a machine with a GPU it
proves that path on CUDA, without one it runs on the CPU. Figures of the run mean nothing.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import torch
from harness import ROOT

PARTS = ("models", "macros", "seeds", "expectations", "tests/dbt", "demo_checkpoints")
STAND_INS = {
    "gemma-2-9b-it": "gemma2-classifier",
    "qwen3-30b-a3b-instruct-2507": "qwen3moe-expander-responder",
    "mistral-7b-instruct-v0.3": "mistral-value-tuned",
    "llama-3.1-8b-instruct": "llama-safety-tuned",
}
VARS = {"expansion_target": 8, "max_new_tokens": 96, "response_prompts_limit": 60}


def put_in_place(models: Path, dtype: str) -> None:
    """Let the rows of the large models lead to demo checkpoints."""
    with models.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        if row["model"] in STAND_INS:
            row["source"] = f"demo_checkpoints/{STAND_INS.pop(row['model'])}"
            row["dtype"], row["prompt_style"] = dtype, "compact"
    if STAND_INS:
        raise SystemExit(f"seeds/models.csv has no row for {', '.join(STAND_INS)}")
    with models.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


@contextmanager
def project(dtype: str) -> Iterator[Path]:
    """A copy of the project in a folder that goes away."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for file in ("dbt_project.yml", "profiles.yml"):
            shutil.copy(ROOT / file, root / file)
        for part in PARTS:
            shutil.copytree(ROOT / part, root / part)
        (root / "warehouse").mkdir()
        put_in_place(root / "seeds" / "models.csv", dtype)
        yield root


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=VARS["response_prompts_limit"])
    variables = VARS | {"response_prompts_limit": parser.parse_args().prompts}
    cuda = torch.cuda.is_available()
    with project("bfloat16" if cuda else "auto") as root:
        command = [sys.executable, "-m", "misalign_profile.cli", "run", "--target", "gpu"]
        began = time.monotonic()
        done = subprocess.run([*command, "--vars", json.dumps(variables)], cwd=root, check=False)
        seconds = time.monotonic() - began
        if done.returncode not in (0, 1):  # 1: the gate found the data wanting, as it may be
            return done.returncode
        with duckdb.connect(str(root / "warehouse" / "gpu.duckdb"), read_only=True) as con:
            rows = con.execute(
                "select stage, model, count(*), round(sum(seconds), 1), any_value(machine)"
                " from benchmark.fct_calls group by all order by all"
            ).fetchall()
    where = torch.cuda.get_device_name() if cuda else "CPU"
    print(f"\ngpu target on {where}: {seconds:.0f} s, gate exit code {done.returncode}")
    for stage, model, calls, spent, machine in rows:
        print(f"{stage:14} {model:30} {calls:7,} calls {spent:8.1f} s  {machine}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
