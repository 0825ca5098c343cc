"""Problems by name."""

from mpimasha.problems.adversarial_mlp import AdversarialMLP
from mpimasha.problems.adversarial_transformer import AdversarialTransformer
from mpimasha.problems.bilinear import Bilinear
from mpimasha.problems.group_dro import GroupDRO
from mpimasha.problems.matrix_game import MatrixGame
from mpimasha.problems.policy_evaluation import PolicyEvaluation
from mpimasha.problems.robust_regression import RobustRegression
from mpimasha.problems.sparse_bilinear import SparseBilinear

PROBLEMS = {p.name: p for p in (Bilinear, SparseBilinear, RobustRegression, GroupDRO, MatrixGame, PolicyEvaluation,
                                AdversarialMLP, AdversarialTransformer)}
