"""Gates in ONNX files: put in, listed, and taken out again bit for bit."""

from repairsolver.network.gated.changes import Change as Change
from repairsolver.network.gated.changes import Correction as Correction
from repairsolver.network.gated.changes import NewGate as NewGate
from repairsolver.network.gated.changes import Override as Override
from repairsolver.network.gated.insertion import add_gates as add_gates
from repairsolver.network.gated.insertion import gateable as gateable
from repairsolver.network.gated.record import Record as Record
from repairsolver.network.gated.record import records_of as records_of
from repairsolver.network.gated.removal import asked_of as asked_of
from repairsolver.network.gated.removal import remove_gates as remove_gates
