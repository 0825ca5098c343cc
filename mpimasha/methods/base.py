"""What a method is: the step, and the theory attached to it."""

from mpimasha import state
from mpimasha.compressors.base import Compressor
from mpimasha.compressors.identity import Identity
from mpimasha.errors import UserError
from mpimasha.memory import Plain
from mpimasha.stepsizes import check_gamma, resolve_gamma


class Method:
    """Abstract base of all methods.

    A subclass declares its state (`Shared`, `PerWorker`), writes `start` and `step` as the
    algorithm reads, and attaches its theory: accepted compressors, step size, factor.

    Parameters
    ----------
    up : Compressor, optional
        Of the uplink.
    gamma : float or str
        "theory", a number, or "0.25/L".

    Attributes
    ----------
    up : Channel
        After `bind`: the channel of the rounds.
    prox, fleet : Proximal, Fleet
    gamma : float
    """

    name = None
    memory = Plain
    down_compressor = refresh_compressor = None
    theorem = None  # the statement that gamma = "theory" rests on, one line

    def __init__(self, up: Compressor | None = None, gamma: float | str = "theory"):
        self.compressor = up if up is not None else self.default_compressor()
        self.accept(self.compressor)
        self._gamma = check_gamma(gamma)

    # -- theory ------------------------------------------------------------------------

    def default_compressor(self):
        return Identity()

    def accept(self, compressor):
        """Raise UserError for a compressor that the method's theory or sense excludes."""

    def theory_gamma(self, constants):
        """The step size of the method's theorem."""
        raise UserError(f"method.gamma = 'theory': no theorem is known for {self.name}, give a number or '0.25/L'")

    def theory_factor(self, constants):
        """f with E (Lyapunov function after a round) <= f * (before), at this gamma; None if unknown."""
        return None

    def check_problem(self, problem):
        """Raise UserError for a problem the method cannot solve."""

    # -- life ----------------------------------------------------------------------------

    def bind(self, problem, fleet, channel):
        """Allocate the state and open the channels; `set_parameters` follows.

        Parameters
        ----------
        channel : callable
            ``channel(compressor, memory, purpose, down=None, precise=False)`` opens a `Channel`.
        """
        self.check_problem(problem)
        self.fleet, self.prox, self.z0 = fleet, problem.prox, problem.start()
        state.allocate(self, len(fleet.owned), fleet.n, fleet.dtype)
        self.open_channels(channel)

    def open_channels(self, channel):
        self.up = channel(self.compressor, self.memory(), "uplink")

    def set_parameters(self, constants):
        """Fix the step size; collective where constants must be estimated."""
        self.gamma = resolve_gamma(self._gamma, constants, lambda: self.theory_gamma(constants))

    def start(self):
        """The state before round 1, with the exchanges this costs."""
        self.z = self.z0

    def step(self, k):
        """Round k = 0, 1, ...: one pass of the algorithm's loop body."""
        raise NotImplementedError(f"method {self.name} has no step")

    @property
    def exchanges(self):
        """[(channel, how often it is used in a round, expected)]."""
        return [(self.up, 1.0)]

    # -- results ---------------------------------------------------------------------------

    @property
    def iterate(self):
        """z^k, the array itself."""
        return state.buffers(self)["z"]

    @property
    def probe(self):
        """The points F was evaluated at, whose average converges when mu = 0: z^{k+1/2} where there is one."""
        buffers = state.buffers(self)
        return buffers.get("zhalf", buffers["z"])

    @property
    def roles(self):
        """{"up": Compressor, "down", "refresh": Compressor or None}."""
        return {"up": self.compressor, "down": self.down_compressor, "refresh": self.refresh_compressor}

    @property
    def compressors(self):
        """What compresses, as the user writes it: uplink / downlink / refresh, the last two where there are any."""
        parts = list(self.roles.values())
        while parts[-1] is None:
            parts.pop()
        return " / ".join("-" if part is None else str(part) for part in parts)

    @property
    def from_theory(self):
        """Whether gamma is the theorem's."""
        return self._gamma == "theory"

    @property
    def parameters(self):
        """The numbers a row of results shows."""
        return {"gamma": self.gamma, "tau": getattr(self, "tau", None)}


def uncompressed(method, compressor):
    """Refuse compression where the method only converges without it."""
    if compressor.name != "identity":
        raise UserError(f"compressor.up = '{compressor}' cannot be used with {method}, which sends whole vectors: "
                        f"use identity, or masha1 or masha2")
