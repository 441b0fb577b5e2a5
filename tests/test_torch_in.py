"""torch modules come in as they compute at inference."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from repairsolver.errors import NetworkError, UnsupportedOperatorError
from repairsolver.network import load_network, replay
from repairsolver.network.replay import batched


class Residual(nn.Module):
    """Two layers with a shortcut and a view."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 6)
        self.second = nn.Linear(6, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        flat = x.view(x.size(0), -1)
        return self.second(torch.relu(self.first(flat)) + flat)


class Branching(nn.Module):
    """Control flow that depends on the data: tracing would freeze it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if x.sum() > 0 else -x


MODULES = [
    (nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2)), (3,)),
    (nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2), nn.Softmax(dim=1)), (1, 3)),
    (Residual(), (2, 3)),
    (
        nn.Sequential(
            nn.Conv2d(1, 2, 3, padding=1),
            nn.BatchNorm2d(2),
            nn.LeakyReLU(0.2),
            nn.MaxPool2d(2),
            nn.AvgPool2d(2, ceil_mode=True),
            nn.Flatten(),
            nn.Dropout(0.9),
            nn.Linear(8, 2),
            nn.Hardtanh(),
        ),
        (1, 7, 7),
    ),
    (nn.Sequential(nn.Conv1d(2, 2, 2), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.PReLU()), (1, 2, 5)),
]


@pytest.mark.parametrize(("module", "shape"), MODULES)
def test_a_module_and_its_network_agree(module: nn.Module, shape: tuple[int, ...]) -> None:
    module.train()
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.running_mean.copy_(torch.tensor([0.5, -1.0]))
                part.running_var.copy_(torch.tensor([2.0, 0.5]))
    network = load_network(module, input_shape=shape)
    assert all(part.training for part in module.modules())
    points = np.random.default_rng(1).standard_normal((10, network.input_size)).astype(np.float32)
    module.eval()
    with torch.no_grad():
        expected = module(torch.from_numpy(points.reshape(10, *network.input_shape[1:]))).numpy()
    np.testing.assert_allclose(network(points), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(replay(network, points.astype(float)), expected, rtol=1e-4, atol=1e-5)
    assert batched(network.model, network.input_shape)


def test_layers_carry_the_names_of_the_parameters() -> None:
    module = nn.Sequential(nn.Conv1d(1, 2, 2), nn.BatchNorm1d(2), nn.ReLU(), nn.Flatten(), nn.Linear(4, 1))
    layers = load_network(module, input_shape=(1, 3)).affine_layers
    assert [layer.operator.weight_source.tensor for layer in layers] == ["0.weight", "4.weight"]
    assert [layer.operator.bias_source.tensor for layer in layers] == ["0.bias", "4.bias"]


def test_double_modules_stay_double() -> None:
    assert load_network(nn.Linear(3, 2).double(), input_shape=(3,)).element == np.float64


def test_what_cannot_come_in() -> None:
    with pytest.raises(NetworkError, match=r"input_shape=\(...\)"):
        load_network(nn.Linear(3, 2))
    with pytest.raises(NetworkError, match=r"input of shape \(1, 4\)"):
        load_network(nn.Linear(3, 2), input_shape=(4,))
    with pytest.raises(NetworkError, match="must all be float32 or all float64"):
        load_network(nn.Linear(3, 2).half(), input_shape=(3,))
    with pytest.raises(UnsupportedOperatorError, match="Softplus"):
        load_network(nn.Sequential(nn.Linear(3, 2), nn.Softplus()), input_shape=(3,))
    with pytest.raises(NetworkError, match="Converting a tensor to a Python boolean"):
        load_network(Branching(), input_shape=(3,))
