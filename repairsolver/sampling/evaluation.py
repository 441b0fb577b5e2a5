"""Which samples violate the property: the network's file on onnxruntime, in batches, ties alone.

Every sample whose weakest constraint comes within a tolerance of a violation in a batch is run again by
itself, on the file as it is, and counts as a violation only if that run violates (equality counts, too). A
sample could be missed only where a batch and a run alone differ by more than the tolerance, which is 64 times
what they differ by on trial points, and at least 2^-18 of the outputs' size; every run alone is compared with
its batch, and a larger difference ends the sampling. Where torch computes the batches, some samples are run
again wherever they lie, as only the file on onnxruntime is what a statement is about. With `alone`, every
sample is run by itself and nothing is assumed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from repairsolver.errors import SamplingError, SoundnessError
from repairsolver.network.graph import Network
from repairsolver.network.onnx_file import parse
from repairsolver.network.replay import RUNTIME_ERRORS, runner, widest
from repairsolver.property.specification import Conjunction
from repairsolver.results import Array
from repairsolver.sampling.distributions import Draw
from repairsolver.sampling.domain import Domain, Mask

ROWS, BATCH_ENTRIES = 2048, 2**22
TRIALS, FACTOR, LEAST = 64, 64.0, 2.0**-18

AUDITED = 4096
"""One of so many samples, and the first of every piece, that torch computed is run again by itself."""

TORCH = "torch's"

Run = Callable[[NDArray[np.floating]], Array]


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """What became of samples.

    Args:
        violated: which violate, [b].
        margin: by how much, or the distance to a violation if negative, [b].
        outputs: [b, m].
        alone: which were run by themselves, [b].
    """

    violated: Mask
    margin: Array
    outputs: Array
    alone: Mask


class Evaluator:
    """A network's file on onnxruntime, and the property on what it gives.

    Args:
        trial: points of the domain, on which a batch is compared with runs alone.
        alone: run every sample by itself.
        device: "cpu"; or a torch device, which then computes the batches.

    Raises:
        SamplingError: NaN or infinite outputs.
    """

    def __init__(
        self, network: Network, domain: Domain, trial: Draw, *, alone: bool = False, device: str = "cpu"
    ) -> None:
        self.network, self.domain = network, domain
        self.rows = max(1, min(ROWS, BATCH_ENTRIES // widest(network)))
        self._single = runner(network.model, network.input_shape)
        points = trial.points[:TRIALS]
        reference = self.alone(points)
        run, name = (None, "") if alone else _batches(network, device, points, reference)
        self._run: Run | None = run
        self._audited = AUDITED if name.startswith(TORCH) else 0
        self.tolerance = 0.0
        if run is not None:
            apart = float(np.abs(self._batched(points) - reference).max(initial=0.0))
            size = float(np.abs(reference).max(initial=0.0))
            self.tolerance = max(FACTOR * apart, LEAST * size)
        runtime = f"onnxruntime {onnxruntime.__version__}"
        self.name = f"{runtime}, every sample by itself on the network's own file"
        if run is not None:
            near = f"every sample within {self.tolerance:.2g} of a violation again by itself"
            if self._audited:
                near = f"{near}, and one of {self._audited} wherever it lies"
            self.name = f"{name} in batches; {near}, by {runtime} on the network's own file"

    def outputs(self, points: Array) -> Array:
        """Outputs [b, m] in batches: good for estimates."""
        return self.alone(points) if self._run is None else self._batched(points)

    def margin(self, draw: Draw, outputs: Array, tolerance: float = 0.0) -> Array:
        """The violation of each sample if the outputs may be off by the tolerance, [b]; negative: none."""
        worst = np.full(len(draw), -np.inf)
        for inside, unsafe in zip(draw.members, self.domain.unsafe, strict=True):
            if inside.any():
                found = np.max([_slack(c, draw.points, outputs, tolerance) for c in unsafe], axis=0)
                worst = np.maximum(worst, np.where(inside, found, -np.inf))
        return worst

    def judge(self, draw: Draw) -> Judged:
        """Which samples violate.

        Raises:
            SamplingError: the network's outputs are NaN or infinite at a sample.
            SoundnessError: a batch and a run alone differ by more than the tolerance.
        """
        if self._run is None:
            outputs = self.alone(draw.points)
            margin = self.margin(draw, outputs)
            return Judged(margin >= 0, margin, outputs, np.ones(len(draw), bool))
        outputs = self._batched(draw.points)
        with np.errstate(invalid="ignore"):
            near = self.margin(draw, outputs, self.tolerance) >= 0
        if self._audited:
            near[:: self._audited] = True
        again = near | ~np.isfinite(outputs).all(axis=1)
        if again.any():
            single = self.alone(draw.points[again])
            self._compare(outputs[again], single)
            outputs[again] = single
        margin = self.margin(draw, outputs)
        return Judged(margin >= 0, margin, outputs, again)

    def _compare(self, batch: Array, single: Array) -> None:
        with np.errstate(invalid="ignore"):
            apart = float(np.nan_to_num(np.abs(batch - single), nan=np.inf).max(initial=0.0))
        if apart > self.tolerance:
            raise SoundnessError(
                f"{self.network.name}: a sample's outputs in a batch and by itself differ by {apart:.3g}, "
                f"where at "
                f"most {self.tolerance:.3g} was expected: sample with alone=True (--alone)"
            )

    def _batched(self, points: Array) -> Array:
        assert self._run is not None
        cast: NDArray[np.floating] = np.ascontiguousarray(points, dtype=self.network.element)
        parts = [self._run(cast[at : at + self.rows]) for at in range(0, len(cast), self.rows)]
        return np.concatenate(parts) if parts else np.zeros((0, self.network.output_size))

    def alone(self, points: Array) -> Array:
        """Outputs [b, m] of every point by itself, on the network's own file; raises SamplingError."""
        cast = np.ascontiguousarray(points, dtype=self.network.element)
        parts = [self._single(cast[at : at + 1]) for at in range(len(cast))]
        outputs = np.concatenate(parts) if parts else np.zeros((0, self.network.output_size))
        bad = np.flatnonzero(~np.isfinite(outputs).all(axis=1))
        if bad.size:
            x = np.array2string(points[bad[0]], precision=9, threshold=20)
            y = np.array2string(outputs[bad[0]], threshold=20)
            raise SamplingError(
                f"{self.network.name}: its outputs are {y} at the sample {x} ({bad.size} of {len(points)} "
                f"samples "
                "run by themselves): whether that violates the property is not defined; no statement is made"
            )
        return outputs


def _slack(conjunction: Conjunction, points: Array, outputs: Array, tolerance: float) -> Array:
    """min over rows of d - C y - D x, with outputs within a tolerance; the value of `Conjunction.violation`
    at 0."""
    if tolerance == 0:
        return conjunction.violation(points, outputs)
    slack = conjunction.bound - outputs @ conjunction.output.T
    if conjunction.input.any():
        slack -= points @ conjunction.input.T
    slack += tolerance * np.abs(conjunction.output).sum(axis=1)
    return np.asarray(slack.min(axis=1)) if len(conjunction.bound) else np.full(len(points), np.inf)


def _batches(network: Network, device: str, points: Array, reference: Array) -> tuple[Run | None, str]:
    """What computes batches: the file with its batch axis made symbolic if that works, else our forward
    pass."""
    if device == "cpu":
        run = _symbolic(network, points, reference)
        if run is not None:
            return run, f"onnxruntime {onnxruntime.__version__}"
    return _forward(network, device), f"{TORCH} float{8 * network.element.itemsize} on {device}"


def _symbolic(network: Network, points: Array, reference: Array) -> Run | None:
    """The file with a first axis of any length; None where longer inputs do not give independent rows."""
    if not network.input_shape or network.input_shape[0] != 1:
        return None
    model = parse(network.model, network.name)
    entry = next(item for item in model.graph.input if item.name == network.input_name)
    entry.type.tensor_type.shape.dim[0].dim_param = "batch"
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    del model.graph.value_info[:]
    cast = np.ascontiguousarray(points, dtype=network.element)
    try:
        run = runner(model.SerializeToString(deterministic=True), network.input_shape)
        together = run(cast)
    except RUNTIME_ERRORS:
        return None
    close = 1e-4 * max(1e-30, float(np.abs(reference).max(initial=0.0)))
    agree = together.shape == reference.shape and bool(np.abs(together - reference).max() <= close)
    return run if agree else None


def _forward(network: Network, device: str) -> Run:
    import torch

    from repairsolver.bounds.tensors import tensor_graph

    single = network.element == np.float32
    graph = tensor_graph(network, torch.float32 if single else torch.float64, device)

    def run(points: NDArray[np.floating]) -> Array:
        with torch.inference_mode(), _full_precision(device):
            outputs = graph.forward(torch.from_numpy(points).to(device))
        return np.asarray(outputs.double().cpu().numpy())

    return run


@contextmanager
def _full_precision(device: str) -> Iterator[None]:
    """No TF32, bfloat16 or autocast, whatever the caller has set; by default, cuDNN convolves in TF32."""
    import torch

    backends: Any = torch.backends
    settings = (
        backends.cuda.matmul,
        backends.cudnn.conv,
        backends.mkldnn.matmul,
        backends.mkldnn.conv,
    )
    before = [setting.fp32_precision for setting in settings]
    try:
        for setting in settings:
            setting.fp32_precision = "ieee"
        with torch.autocast(torch.device(device).type, enabled=False):
            yield
    finally:
        for setting, value in zip(settings, before, strict=True):
            setting.fp32_precision = value
