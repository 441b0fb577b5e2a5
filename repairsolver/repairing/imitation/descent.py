"""Adam on a few tensors: torch's own optimisers load its compiler, which takes seconds."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

FIRST, SECOND, TINY = 0.9, 0.999, 1e-8


class Adam:
    """Steps on tensors with gradients.

    Args:
        rates: of every tensor.

    Source: Kingma and Ba, Adam: a method for stochastic optimization, ICLR 2015, algorithm 1.
    """

    def __init__(self, tensors: Mapping[str, Tensor], rates: Mapping[str, float]) -> None:
        self.tensors, self.rates, self.steps = tensors, rates, 0
        self.mean = {name: torch.zeros_like(t) for name, t in tensors.items()}
        self.square = {name: torch.zeros_like(t) for name, t in tensors.items()}

    def step(self, loss: Tensor, share: float = 1.0) -> None:
        """Down the gradient of a loss, by a share of the rates."""
        names = list(self.tensors)
        slopes = torch.autograd.grad(loss, [self.tensors[name] for name in names])
        self.steps += 1
        first, second = 1 - FIRST**self.steps, 1 - SECOND**self.steps
        with torch.no_grad():
            for name, slope in zip(names, slopes, strict=True):
                mean, square = self.mean[name], self.square[name]
                mean.lerp_(slope, 1 - FIRST)
                square.mul_(SECOND).addcmul_(slope, slope, value=1 - SECOND)
                size = (square / second).sqrt_().add_(TINY)
                self.tensors[name].addcdiv_(mean, size, value=-share * self.rates[name] / first)
