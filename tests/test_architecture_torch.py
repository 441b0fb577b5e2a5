"""torch modules: traced without running, repaired on a copy, run, with the lines of source that change."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

import repairsolver as rs
from repairsolver.architecture.costs import Costs
from repairsolver.architecture.torch_module.reading import read_module
from repairsolver.errors import ArchitectureError


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)
        )
        self.skip = nn.Conv2d(8, 8, 3)
        self.fc = nn.Linear(500, 10)

    def forward(self, x):
        x = self.features(x)
        x = x + self.skip(x)
        return self.fc(x.view(x.size(0), -1))


class Sequence(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(5, 6, batch_first=True)
        self.head = nn.Linear(7, 2)

    def forward(self, x):
        y, _ = self.lstm(x)
        return self.head(torch.relu(y))


class Joined(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Conv1d(2, 3, 3), nn.Conv1d(2, 3, 5)

    def forward(self, a, b):
        return torch.cat([self.left(a), self.right(b)], dim=1)


def test_a_module_is_repaired_in_its_own_class():
    module = Residual()
    costs = Costs()  # a layer that pads costs as much as the argument
    costs = replace(costs, adapters={**costs.adapters, "Pad": costs.roles["padding"] + 1})
    fix = rs.repair_architecture(module, input_shape=(3, 8, 8), costs=costs)
    assert {(e.layer, e.name) for e in fix.edits} == {
        ("features.1", "num_features"),
        ("skip", "padding"),
        ("fc", "in_features"),
    }
    repaired = fix.module()
    assert isinstance(repaired.module, Residual)
    assert repaired.module(torch.zeros(2, 3, 8, 8)).shape == (2, 10)
    assert "-self.fc = nn.Linear(in_features=500" in repaired.diff
    assert "+self.fc = nn.Linear(in_features=128" in repaired.diff
    assert "fc.weight (10, 500) → (10, 128): 1280 of 5000 values kept" in repaired.weights
    torch.testing.assert_close(repaired.module.fc.weight, module.fc.weight[:, :128])
    torch.testing.assert_close(repaired.module.skip.weight, module.skip.weight)
    with pytest.raises(RuntimeError):
        module(torch.zeros(2, 3, 8, 8))


def test_an_inserted_layer_is_called_at_its_place():
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Linear(144, 5))
    fix = rs.repair_architecture(module, input_shape=(1, 8, 8), output_shape=(5,))
    assert [str(e) for e in fix.edits] == ["insert Flatten() before 2"]
    repaired = fix.module()
    assert repaired.module(torch.zeros(2, 1, 8, 8)).shape == (2, 5)
    assert repaired.diff == "+self.repair_flatten_1 = nn.Flatten(start_dim=1, end_dim=-1)  # called before 2"


def test_results_of_recurrent_layers():
    fix = rs.repair_architecture(Sequence(), input_shape=(4, 5))
    assert [str(e) for e in fix.edits] == ["head: in_features 7 → 6"]
    assert fix.module().module(torch.zeros(2, 4, 5)).shape == (2, 4, 2)


def test_several_inputs():
    shapes = {"a": (2, 9), "b": (2, 9)}
    fix = rs.repair_architecture(read_module(Joined(), shapes))
    assert fix.status == "repaired"
    assert fix.proved
    out = fix.module().module(torch.zeros(2, 2, 9), torch.zeros(2, 2, 9))
    assert tuple(out.shape[1:]) == rs.diagnose(fix.model).shapes[next(iter(fix.model.outputs))]
    with pytest.raises(ArchitectureError, match="state input_shape as a mapping"):
        read_module(Joined(), (2, 9))
    with pytest.raises(ArchitectureError, match="lacks b"):
        read_module(Joined(), {"a": (2, 9)})


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (
            lambda: nn.Sequential(
                nn.Conv1d(2, 4, 3, padding="same"), nn.MaxPool1d(2), nn.Flatten(), nn.Linear(9, 2)
            ),
            (2, 9),
        ),
        (lambda: nn.Sequential(nn.Conv2d(2, 6, 3, groups=2), nn.GroupNorm(4, 8)), (2, 6, 6)),
        (lambda: nn.Sequential(nn.ConvTranspose2d(3, 4, 2, stride=2), nn.BatchNorm2d(5)), (3, 4, 4)),
        (lambda: nn.Sequential(nn.Conv2d(1, 2, 5), nn.MaxPool2d(3), nn.Conv2d(2, 2, 3)), (1, 9, 9)),
        (lambda: nn.Sequential(nn.Embedding(9, 4), nn.Linear(5, 2)), (3,)),
    ],
)
def test_repaired_modules_run(make, shape):
    module = make()
    fix = rs.repair_architecture(module, input_shape=shape)
    assert fix.status == "repaired"
    x = torch.zeros(2, *shape, dtype=torch.long if isinstance(module[0], nn.Embedding) else torch.float32)
    out = fix.module().module(x)
    assert tuple(out.shape[1:]) == rs.diagnose(fix.model).shapes[next(iter(fix.model.outputs))]


class Odd(nn.Module):
    def forward(self, x):
        if x.sum() > 0:
            return x
        return -x


def test_what_cannot_be_read_is_said():
    with pytest.raises(ArchitectureError, match="cannot be traced"):
        rs.diagnose(Odd(), input_shape=(2,))
    with pytest.raises(ArchitectureError, match="states no input shape"):
        rs.diagnose(nn.Linear(2, 3))
    unknown = nn.Sequential(nn.Bilinear(2, 2, 2), nn.Fold((2, 2), 1))
    with pytest.raises(ArchitectureError, match=r"Bilinear \(no rule\), .*Fold \(no rule\)"):
        rs.diagnose(unknown, input_shape=(2,))
    known = nn.Sequential(nn.Fold((2, 2), 1), nn.Linear(3, 2))
    assert [f.layer for f in rs.diagnose(known, input_shape=(4,), opaque={"0": None}).faults] == ["1"]
    layers = [{"type": "Linear", "args": {"in_features": 3, "out_features": 1}}]
    fix = rs.repair_architecture({"framework": "torch", "input_shape": [2], "layers": layers})
    with pytest.raises(ArchitectureError, match="only a model that was read from a torch module"):
        fix.module()


class Skip(nn.Module):
    """The sum reads the tensor behind the pool; the one before it fits."""

    def __init__(self):
        super().__init__()
        self.a, self.pool = nn.Conv2d(3, 4, 3, padding=1), nn.MaxPool2d(2)
        self.up, self.b = nn.Upsample(scale_factor=2), nn.Conv2d(4, 4, 1)

    def forward(self, x):
        a = self.a(x)
        p = self.pool(a)
        return self.b(self.up(p)) + p


def test_a_sum_is_rewired_in_the_graph():
    costs = replace(Costs(), rewire=1)
    fix = rs.repair_architecture(Skip(), input_shape=(3, 8, 8), costs=costs)
    assert [str(e) for e in fix.edits] == ["add: input 2 from pool → a"]
    assert fix.proved
    repaired = fix.module()
    module = repaired.module(torch.rand(2, 3, 8, 8))
    assert module.shape == (2, 4, 8, 8)
    assert "+forward: %add" in repaired.diff


class TwoWrong(nn.Module):
    """The sum reads two tensors that do not fit each other; two before them do."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.p, self.q = nn.Linear(7, 4), nn.Linear(4, 4), nn.Linear(4, 5), nn.Linear(5, 6)
        self.last = nn.Linear(15, 2)

    def forward(self, x):
        b = self.b(self.a(x))
        p = self.p(b)
        q = self.q(p)
        return self.last(torch.cat([p + q, p, q], dim=1))


def test_both_inputs_of_a_sum_are_rewired():
    prices = Costs()
    dear = dict.fromkeys(prices.roles, 20), dict.fromkeys(prices.adapters, 20)
    costs = replace(prices, rewire=1, roles=dear[0], adapters=dear[1], remove=20)
    fix = rs.repair_architecture(TwoWrong(), input_shape=(7,), costs=costs)
    assert [edit.operation for edit in fix.edits] == ["rewire", "rewire"]
    assert fix.proved
    assert fix.module().module(torch.rand(3, 7)).shape == (3, 2)


def test_a_sibling_is_built_in_place():
    module = nn.Sequential(nn.Conv2d(1, 4, (3, 1), stride=(2, 1)), nn.MaxPool2d(2))
    fix = rs.repair_architecture(module, input_shape=(1, 20), costs=replace(Costs(), sibling=1))
    assert [(e.operation, e.name) for e in fix.edits] == [("swap", "Conv1d"), ("swap", "MaxPool1d")]
    repaired = fix.module()
    assert repaired.module(torch.zeros(2, 1, 20)).shape == (2, 4, 4)
    assert "+self.1 = nn.MaxPool1d(kernel_size=(2,)" in repaired.diff
    assert repaired.weights == ("0.weight (4, 1, 3, 1) → (4, 1, 3): starts anew",)
