"""Which neuron of a layer is missed least: against every network with one neuron taken out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from random_networks import dense_network
from test_imitation_points import half_wrong

from repairsolver.network import Network
from repairsolver.network.forward import activations
from repairsolver.repairing.imitation import spare
from repairsolver.repairing.imitation.behaviour import Behaviours, collect, values_at
from repairsolver.repairing.imitation.idle import _outputs
from repairsolver.repairing.imitation.options import Imitation
from repairsolver.repairing.imitation.spare import behind, hidden_tail, least_missed


def _silenced(network: Network, dense: list[tuple[str, int]]) -> Network:
    """The network with columns of some layers set to 0."""
    nodes = []
    for node in network.nodes:
        for name, neuron in dense:
            if node.name == name:
                weight = node.operator.weight.copy()
                weight[:, neuron] = 0.0
                node = replace(node, operator=replace(node.operator, weight=weight))
        nodes.append(node)
    return replace(network, nodes=tuple(nodes))


def _lost(network: Network, made: Behaviours, changed: Network) -> float:
    before, after = (made.decided(net(made.kept)) for net in (network, changed))
    return float((before != after).mean())


@pytest.mark.parametrize("seed", range(4))
def test_the_least_missed_neuron_is_the_one_that_all_networks_without_one_show(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spare, "BUSY", 1.0)
    network = dense_network(seed, (2, 8, 8, 3))
    made = collect(
        network, half_wrong(network, 0.05), None, None, Imitation(samples=800), decision="max", seed=0
    )
    wrong, kept = values_at(network, made)
    tail = hidden_tail(network, network)
    found = least_missed(made, tail, wrong, kept)
    for hidden, chosen in zip(tail, found, strict=True):
        losses = [_lost(network, made, _silenced(network, [(hidden.user.name, n)])) for n in range(8)]
        assert chosen is not None
        assert chosen.lost == pytest.approx(min(losses))
        assert losses[chosen.neuron] == min(losses)


def test_busy_neurons_are_no_spares(monkeypatch: pytest.MonkeyPatch) -> None:
    network = dense_network(0, (2, 8, 8, 3))
    made = collect(
        network, half_wrong(network, 0.05), None, None, Imitation(samples=200), decision="max", seed=0
    )
    wrong, kept = values_at(network, made)
    tail = hidden_tail(network, network)
    active = [(kept[h.relu.name] > 0).mean(axis=0).min() for h in tail]
    monkeypatch.setattr(spare, "BUSY", min(active) / 2)
    never = [not ((kept[h.relu.name] > 0) | False).any(axis=0).all() for h in tail]
    found = least_missed(made, tail, wrong, kept)
    assert [s is not None for s in found] == never


@pytest.mark.parametrize("seed", range(3))
def test_outputs_without_a_chain_of_neurons(seed: int) -> None:
    network = dense_network(seed, (2, 8, 8, 8, 3))
    points = np.random.default_rng(seed).uniform(-1, 1, (300, 2))
    tail = hidden_tail(network, network)
    neurons = tuple(int(n) for n in np.random.default_rng(seed).integers(8, size=3))
    changed = _silenced(network, [(h.user.name, n) for h, n in zip(tail, neurons, strict=True)])
    values = activations(network, points)
    assert np.allclose(behind(tail, values[tail[0].relu.name], neurons), changed(points))
    assert np.allclose(_outputs(tail, values, neurons), changed(points))
    late = _silenced(network, [(tail[2].user.name, neurons[2])])
    assert np.allclose(_outputs(tail[2:], values, neurons[2:]), late(points))
