"""Distributed variational inequalities over MPI with compressed communication.

Importing the package loads neither NumPy nor MPI: a public name is imported
from its module when it is first used.
"""

import importlib
import os

__version__ = "0.1.0"

# In a checkout the kernels lie beside the package: let `mpimasha.kernels` be found there.
_root = os.path.dirname(__path__[0])
if not os.path.isdir(os.path.join(__path__[0], "kernels")) and os.path.exists(os.path.join(_root, "setup.py")):
    __path__.append(_root)

_PUBLIC = {  # public name -> module of the package that defines it
    "solve": "run", "Run": "run", "Result": "run", "Stop": "stop",
    "Problem": "problems.base", "Bilinear": "problems.bilinear", "RobustRegression": "problems.robust_regression",
    "MatrixGame": "problems.matrix_game", "Box": "proximal", "Balls": "proximal", "Simplex": "proximal",
    "Proximal": "proximal", "Memory": "memory", "Shift": "memory", "Linear": "linear",
    "L1": "proximal", "Product": "proximal",
    "GroupDRO": "problems.group_dro", "PolicyEvaluation": "problems.policy_evaluation",
    "SparseBilinear": "problems.sparse_bilinear", "AdversarialMLP": "problems.adversarial_mlp",
    "AdversarialTransformer": "problems.adversarial_transformer", "Practice": "practice",
    "Method": "methods.base", "Extragradient": "methods.extragradient", "Optimistic": "methods.optimistic",
    "SGDA": "methods.descent", "QSGDA": "methods.descent", "EFSGDA": "methods.descent",
    "DianaSGDA": "methods.descent", "CEG": "methods.extragradient", "CEGFeedback": "methods.extragradient",
    "DianaEG": "methods.extragradient", "DianaOG": "methods.diana_og", "MashaDiana": "methods.masha_diana",
    "OptimisticMasha": "methods.optimistic_masha", "ThreePillars": "methods.three_pillars",
    "LocalEG": "methods.local_eg", "VRMasha1": "methods.partial", "VRMasha2": "methods.partial",
    "PPMasha1": "methods.partial", "PPMasha2": "methods.partial",
    "Masha1": "methods.masha1", "Masha2": "methods.masha2",
    "Compressor": "compressors.base", "Identity": "compressors.identity", "RandK": "compressors.randk",
    "TopK": "compressors.topk", "PermK": "compressors.permk", "QSGD": "compressors.qsgd",
    "AbsMax": "compressors.absmax", "Dither": "compressors.dither", "Natural": "compressors.natural",
    "Natural32": "compressors.natural32", "Sign": "compressors.sign",
    "RankR": "compressors.rank", "Float": "compressors.floats", "Composition": "compressors.composition",
    "Shared": "state", "PerWorker": "state", "UserError": "errors",
}
__all__ = list(_PUBLIC)


def __getattr__(name):
    if name not in _PUBLIC:
        raise AttributeError(f"module 'mpimasha' has no attribute '{name}'")
    value = getattr(importlib.import_module(f"mpimasha.{_PUBLIC[name]}"), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *_PUBLIC})
