"""Methods by name."""

from mpimasha.methods.descent import EFSGDA, QSGDA, SGDA, DianaSGDA
from mpimasha.methods.diana_og import DianaOG
from mpimasha.methods.extragradient import CEG, CEGFeedback, DianaEG, Extragradient
from mpimasha.methods.local_eg import LocalEG
from mpimasha.methods.masha1 import Masha1
from mpimasha.methods.masha2 import Masha2
from mpimasha.methods.masha_diana import MashaDiana
from mpimasha.methods.optimistic import Optimistic
from mpimasha.methods.optimistic_masha import OptimisticMasha
from mpimasha.methods.partial import PPMasha1, PPMasha2, VRMasha1, VRMasha2
from mpimasha.methods.three_pillars import ThreePillars

METHODS = {m.name: m for m in (
    DianaOG, MashaDiana, Masha1, VRMasha1, PPMasha1, Masha2, VRMasha2, PPMasha2, OptimisticMasha, ThreePillars,
    Optimistic, Extragradient, CEG, CEGFeedback, DianaEG, LocalEG, SGDA, QSGDA, EFSGDA, DianaSGDA)}
