"""MASHA with batches, and with a part of the workers: names for options of `Masha1` and `Masha2`."""

from mpimasha.compressors.base import Compressor
from mpimasha.methods.masha1 import Masha1
from mpimasha.methods.masha2 import Masha2


class VRMasha1(Masha1):
    """VR-MASHA1: MASHA1 whose rounds look at batches, 1/10 of the samples by default; reconstructed.

    Each worker sends Q_m(F_{m,batch}(z^{k+1/2}) - F_{m,batch}(w)), the same batch at both points; refreshes take whole
    operators.  Other parameters as for `Masha1`.
    """

    name = "vr_masha1"
    theorem = "VR-MASHA1: that of MASHA1 with C^2 = q_serv ((M-1)/M L^2 + q/M mean Lb_m^2) and 1 - tau at most s/r"

    def __init__(self, up: Compressor | None = None, gamma: float | str = "theory", tau: float | str = "theory",
                 reference: str = "new", down: Compressor | None = None, batch: float = 0.1, participation: float = 0):
        super().__init__(up, gamma, tau, reference, down, batch=batch, participation=participation)


class PPMasha1(Masha1):
    """PP-MASHA1: MASHA1 in which some workers, half of them by default, take part in a round; reconstructed.

    The mean is over those who do; in refreshes all send.  Other parameters as for `Masha1`.
    """

    name = "pp_masha1"
    theorem = ("PP-MASHA1: that of MASHA1 with C^2 = q_serv ((q - c)/b L_rms^2 + c M/b L^2), b of M workers, "
               "c = (b - 1)/(M - 1)")

    def __init__(self, up: Compressor | None = None, gamma: float | str = "theory", tau: float | str = "theory",
                 reference: str = "new", down: Compressor | None = None, refresh: Compressor | None = None,
                 batch: float = 0, participation: float = 0.5):
        super().__init__(up, gamma, tau, reference, down, refresh, batch, participation)


class VRMasha2(Masha2):
    """VR-MASHA2: MASHA2 whose rounds look at batches, 1/10 of the samples by default; h = 0; reconstructed.

    Parameters as for `Masha1`; no step size is known.
    """

    name = "vr_masha2"
    theorem = None

    def __init__(self, up: Compressor | None = None, gamma: float | str = "theory", tau: float | str = "theory",
                 reference: str = "new", down: Compressor | None = None, batch: float = 0.1, participation: float = 0):
        super().__init__(up, gamma, tau, reference, down, batch=batch, participation=participation)


class PPMasha2(Masha2):
    """PP-MASHA2: MASHA2 in which some workers, half of them by default, take part in a round; h = 0; reconstructed.

    Who does not take part keeps its error memory.  Parameters as for `Masha1`; no step size is known.
    """

    name = "pp_masha2"
    theorem = None

    def __init__(self, up: Compressor | None = None, gamma: float | str = "theory", tau: float | str = "theory",
                 reference: str = "new", down: Compressor | None = None, refresh: Compressor | None = None,
                 batch: float = 0, participation: float = 0.5):
        super().__init__(up, gamma, tau, reference, down, refresh, batch, participation)
