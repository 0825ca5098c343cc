"""Distributed variational inequalities over MPI with compressed communication.

Importing the package loads neither NumPy nor MPI: a public name is imported
from its module when it is first used.
"""

import importlib
import os
import sys
import types

__version__ = "0.1.0"

# In a checkout the kernels lie beside the package: let `mpimasha.kernels` be found there.
_root = os.path.dirname(__path__[0])
if not os.path.isdir(os.path.join(__path__[0], "kernels")) and os.path.exists(os.path.join(_root, "setup.py")):
    __path__.append(_root)

_MODULES = {  # module of the package -> public names that it defines
    "solver.run": "solve Run Result", "solver.stop": "Stop", "solver.observers": "Observer",
    "solver.checkpoint": "Saving", "solver.notice": "Notice", "show.plotting": "draw",
    "problems.base": "Problem", "problems.bilinear": "Bilinear", "problems.sparse_bilinear": "SparseBilinear",
    "problems.robust_regression": "RobustRegression", "problems.group_dro": "GroupDRO",
    "problems.policy_evaluation": "PolicyEvaluation", "problems.matrix_game": "MatrixGame",
    "problems.adversarial_mlp": "AdversarialMLP", "problems.adversarial_transformer": "AdversarialTransformer",
    "problems.proximal": "Proximal Box Balls Simplex L1 Product",
    "methods.base": "Method", "methods.practice": "Practice",
    "methods.extragradient": "Extragradient CEG CEGFeedback DianaEG",
    "methods.optimistic": "Optimistic", "methods.descent": "SGDA QSGDA EFSGDA DianaSGDA",
    "methods.masha1": "Masha1", "methods.masha2": "Masha2", "methods.masha_diana": "MashaDiana",
    "methods.partial": "VRMasha1 VRMasha2 PPMasha1 PPMasha2", "methods.optimistic_masha": "OptimisticMasha",
    "methods.diana_og": "DianaOG", "methods.three_pillars": "ThreePillars", "methods.local_eg": "LocalEG",
    "compressors.base": "Compressor", "compressors.identity": "Identity", "compressors.randk": "RandK",
    "compressors.topk": "TopK", "compressors.permk": "PermK", "compressors.qsgd": "QSGD",
    "compressors.absmax": "AbsMax", "compressors.dither": "Dither", "compressors.natural": "Natural",
    "compressors.natural32": "Natural32", "compressors.sign": "Sign", "compressors.rank": "RankR",
    "compressors.floats": "Float", "compressors.composition": "Composition",
    "channels.memory": "Memory Plain Contracted ErrorFeedback Shift",
    "linear": "Linear", "state": "Shared PerWorker Scalar", "errors": "UserError",
}
_PUBLIC = {name: module for module, names in _MODULES.items() for name in names.split()}
__all__ = list(_PUBLIC)


def __getattr__(name):
    if name not in _PUBLIC:
        raise AttributeError(f"module 'mpimasha' has no attribute '{name}'")
    value = getattr(importlib.import_module(f"mpimasha.{_PUBLIC[name]}"), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *_PUBLIC})


class _Moved(types.ModuleType):
    """A module under the name that it had, and was documented by, before it moved into a wing."""

    def __getattr__(self, name):
        return getattr(importlib.import_module(self.__dict__["_now"]), name)


for _name, _wing in {"observers": "solver", "checkpoint": "solver", "notice": "solver", "plotting": "show",
                     "memory": "channels", "channel": "channels"}.items():
    _moved = sys.modules[f"mpimasha.{_name}"] = _Moved(f"mpimasha.{_name}")
    _moved.__dict__["_now"] = f"mpimasha.{_wing}.{_name}"
