"""BIRDNN as published: fine-tuning by particle swarm, and retraining (with the training loop put right).

Source: Sun et al., BIRDNN: behavior-imitation based repair for deep neural networks, Neural Networks 2025,
arXiv 2305.03365; settings of the released code.
"""

from __future__ import annotations

import numpy as np
import torch

from repairsolver.bounds.tensors import tensor_graph
from repairsolver.network.graph import Network
from repairsolver.repairing.delta.addressing import Choice, find_blocks
from repairsolver.repairing.imitation.behaviour import Behaviours
from repairsolver.repairing.imitation.descent import Adam
from repairsolver.repairing.imitation.learner import Learner
from repairsolver.repairing.imitation.options import Imitation
from repairsolver.repairing.imitation.responsibility import responsibility
from repairsolver.repairing.imitation.retraining import imitated
from repairsolver.repairing.imitation.scaling import chosen_neurons, with_factors
from repairsolver.repairing.imitation.swarm import Swarm, swarm_minimum
from repairsolver.repairing.imitation.tuning import swarm_cost
from repairsolver.verification.engine import single_threaded

NEGATIVES, POSITIVES, BATCH = 7200, 800, 2000


def birdnn_tuned(
    network: Network, behaviours: Behaviours, *, neurons: int = 10, alpha: float = 0.5, seed: int = 0
) -> Network:
    """Factors in [0, 2] for the neurons of largest difference in all layers, by a swarm of 20."""
    found = responsibility(network, behaviours, "difference")
    chosen = chosen_neurons(found.layers, found.chosen(neurons))
    with single_threaded(), torch.inference_mode(False):
        cost = swarm_cost(tensor_graph(network, torch.float32), chosen, behaviours, alpha)
        change, _, _ = swarm_minimum(cost, chosen[-1].place.stop, Swarm(), seed)
    return with_factors(network, network, chosen, 1.0 + change)


def birdnn_retrained(
    network: Network, behaviours: Behaviours, *, epochs: int = 150, seed: int = 0
) -> Network:
    """All weights trained on 7,200 relabelled negatives and 800 positives; Adam 1e-4, outputs scaled.

    The released loop takes two rows of the input batch for input and label; here they are inputs and labels.
    """
    rng = np.random.default_rng(seed)
    targets, kept = imitated(network, behaviours, Imitation())
    first = rng.permutation(len(targets))[:NEGATIVES]
    second = rng.permutation(len(behaviours.positives))[:POSITIVES]
    inputs = np.concatenate([behaviours.negatives[first], behaviours.positives[second]])
    labels = np.concatenate([targets[first], kept[second]])
    scale = torch.tensor(labels.std(axis=0) + 1e-12, dtype=torch.float32)
    x, y = torch.tensor(inputs, dtype=torch.float32), torch.tensor(labels, dtype=torch.float32)
    with single_threaded(), torch.inference_mode(False):
        learner = Learner(network, network, find_blocks(network, Choice("all")))
        steps = Adam(learner.change, dict.fromkeys(learner.change, 1e-4))
        for _ in range(epochs):
            for part in torch.from_numpy(rng.permutation(len(x))).split(BATCH):
                loss = ((learner.graph().forward(x[part]) - y[part]) / scale).square().mean()
                steps.step(loss)
        return learner.written(learner.snapshot())
