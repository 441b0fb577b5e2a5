"""Solvers over `Program`: HiGHS (default), Gurobi, PuLP, z3 and a least-squares projection.

Importing this package imports no solver; each is loaded when it is used.
"""

from repairsolver.solvers.incremental import solve_lazily as solve_lazily
from repairsolver.solvers.protocol import Availability as Availability
from repairsolver.solvers.protocol import Feature as Feature
from repairsolver.solvers.protocol import Progress as Progress
from repairsolver.solvers.protocol import Solution as Solution
from repairsolver.solvers.protocol import SolutionStatus as SolutionStatus
from repairsolver.solvers.protocol import Solver as Solver
from repairsolver.solvers.protocol import Watch as Watch
from repairsolver.solvers.registry import SOLVERS as SOLVERS
from repairsolver.solvers.registry import SolverRow as SolverRow
from repairsolver.solvers.registry import available_solvers as available_solvers
from repairsolver.solvers.registry import get_solver as get_solver
from repairsolver.solvers.registry import report as report
from repairsolver.solvers.registry import session as session
from repairsolver.solvers.registry import solve as solve
