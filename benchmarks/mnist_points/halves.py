"""How settings are chosen: `python -m benchmarks.mnist_points.halves`, with the options of the benchmark.

Every other one of the kept images is kept, and preferred in its corrupted versions; the repair is judged on
the other ones, clean and corrupted anew. What counts as right there is the network's own decision on the
clean image, so that no label is used, and no image that is measured but for the 100 to repair.
"""

from __future__ import annotations

from functools import partial

import numpy as np

import benchmarks.clock  # noqa: F401 - before repairsolver: it may change what seconds are
import repairsolver as rs
from benchmarks.mnist_points.__main__ import Decide, Task, argument_parser, chosen_layers, kept_images
from benchmarks.mnist_points.images import decided, load_images
from benchmarks.record import data_folder

JUDGED_SEED = 1000
"""Of the corruptions that are judged, above that of those that are preferred."""


class Half(Task):
    """A task that is judged on what half of the kept images was left out."""

    def measured(self, repaired: Decide | None, chosen: np.ndarray) -> dict[str, float | None]:
        """Shares of clean and of corrupted images that keep the network's decision on the clean one."""
        if repaired is None:
            return {"efficacy": None, "drawdown": None, "generalisation": None}
        clean = self.images[np.setdiff1d(self.known, self.kept)]
        decisions = decided(self.network, clean)
        corrupted = self.corrupt(clean, decisions, self.arguments.seed + JUDGED_SEED)

        def share(decide: Decide, images: np.ndarray) -> float:
            return float((decide(images) == decisions).mean())

        original = partial(decided, self.network)

        return {
            "efficacy": self.right(repaired, self.corrupted[chosen], chosen),
            "drawdown": 1.0 - share(repaired, clean),
            "generalisation": share(repaired, corrupted) - share(original, corrupted),
        }


def main() -> None:
    """One line for each network, corruption and layer."""
    arguments = argument_parser("python -m benchmarks.mnist_points.halves", __doc__).parse_args()
    folder = data_folder("mnist")
    images, labels = load_images(folder)
    for name in arguments.networks.split(","):
        network = rs.load_network(folder / "onnx" / f"{name}.onnx")
        for corruption in arguments.corruptions.split(","):
            known = kept_images(2 * arguments.keep, len(images), arguments.measured_every)
            task = Half(network, name, corruption, images, labels, arguments, known[::2], known)
            for layer in chosen_layers(network, arguments.layers):
                print(task.asked(layer) | task.run(layer), flush=True)


if __name__ == "__main__":
    main()
