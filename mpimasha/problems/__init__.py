"""Problems by name."""

from mpimasha.problems.bilinear import Bilinear
from mpimasha.problems.matrix_game import MatrixGame
from mpimasha.problems.robust_regression import RobustRegression

PROBLEMS = {p.name: p for p in (Bilinear, MatrixGame, RobustRegression)}
