"""The Muon optimizer for weight matrices, stacks of them (experts) included.

The momentum of each matrix is replaced by the nearest orthogonal matrix, found by five
Newton-Schulz steps (Keller Jordan, https://kellerjordan.github.io/posts/muon). With AdamW alone the
classifier was at 0% domain accuracy after 1,000 steps; with Muon at 65% after 600.
``torch.optim.Muon`` takes no stacks. Knows nothing about the models.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch

COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def orthogonalised(matrices: torch.Tensor, steps: int = 5) -> torch.Tensor:
    """Return the matrices (count x rows x columns) with singular values near 1."""
    a, b, c = COEFFICIENTS
    x: torch.Tensor = matrices
    wide = x.shape[-1] >= x.shape[-2]
    if not wide:
        x = x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x if wide else x.mT


class Muon(torch.optim.Optimizer):
    """Muon with Nesterov momentum and decoupled weight decay; matrices of one shape go together."""

    def __init__(
        self,
        parameters: Iterable[torch.nn.Parameter],
        lr: float = 0.01,
        momentum: float = 0.95,
        weight_decay: float = 0.01,
    ) -> None:
        shapes: dict[torch.Size, list[torch.nn.Parameter]] = defaultdict(list)
        for parameter in parameters:
            shapes[parameter.shape].append(parameter)
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        super().__init__([{"params": group} for group in shapes.values()], defaults)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Take one step."""
        for group in self.param_groups:
            members = [p for p in group["params"] if p.grad is not None]
            if not members:
                continue
            grads = torch.stack([p.grad for p in members])
            state = self.state[members[0]]
            if "momentum" not in state:
                state["momentum"] = torch.zeros_like(grads)
            state["momentum"].lerp_(grads, 1 - group["momentum"])
            ahead = grads.lerp(state["momentum"], group["momentum"])
            rows, columns = ahead.shape[-2:]
            turned = orthogonalised(ahead.reshape(-1, rows, columns)).reshape(grads.shape)
            scale = max(1.0, rows / columns) ** 0.5
            torch._foreach_mul_(members, 1 - group["lr"] * group["weight_decay"])
            torch._foreach_add_(members, list(turned.unbind(0)), alpha=-group["lr"] * scale)
