"""What kind of machine this is, since a measured speed holds for its kind only.

Knows nothing about models, journals or dbt.
"""

from __future__ import annotations

import os
import platform
from functools import cache
from pathlib import Path

_CPU = Path("/proc/cpuinfo")
_GPUS = Path("/proc/driver/nvidia/gpus")


def _field(path: Path, name: str) -> str:
    """The value of the first line ``name: value`` of a file, or ""."""
    try:
        lines = path.read_text("utf-8", "replace").splitlines()
    except OSError:
        return ""
    found = (line.partition(":") for line in lines)
    return next((" ".join(v.split()) for key, _, v in found if key.strip() == name), "")


@cache
def machine() -> str:
    """Processor, cores that this process may use, and NVIDIA GPUs: ``AMD EPYC 9R14 x2 + NVIDIA H100``.

    It names hardware and not the host, so a container that is started anew is the same machine.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    cpu = _field(_CPU, "model name") or platform.processor() or platform.machine()
    gpus = sorted(filter(None, (_field(p, "Model") for p in _GPUS.glob("*/information"))))
    return " + ".join([f"{cpu} x{cores}", *gpus])
