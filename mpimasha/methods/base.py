"""What a method is: the step, and the theory attached to it."""

import copy
import functools
import inspect
from dataclasses import replace

from mpimasha import state
from mpimasha.channels.memory import Plain
from mpimasha.compressors.base import Compressor
from mpimasha.compressors.identity import Identity
from mpimasha.errors import UserError
from mpimasha.fleet.draw import share
from mpimasha.methods.metric import METRICS
from mpimasha.methods.practice import Practice
from mpimasha.methods.stepsizes import check_gamma, resolve_gamma


class Method:
    """Abstract base of all methods.

    A subclass declares its state (`Shared`, `PerWorker`), writes `start` and `step` as the
    algorithm reads, and attaches its theory: accepted compressors, step size, factor.

    Parameters
    ----------
    up : Compressor, optional
        Of the uplink.
    gamma : float or str
        "theory" where there is a theorem (or another of `rules`), a number, or "0.25/L".

    Attributes
    ----------
    accepts : str
        Of the class: which compressors go up, in words.
    standing : {"proved", "reconstructed", "observed"}
        Of the class: whether its step size has a theorem here, follows a source that was not at hand in full, or has
        only been seen to work.
    takes_prox : bool
        Of the class: whether h need not be 0 on what is communicated.
    trains : tuple of str
        Of the class: which options of `Practice` its step has; with some, workers may have variables of their own.
    rules : tuple of str
        Of the class: what gamma may be called; "theory" takes `theory_gamma`, and so on.
    up : Channel
        After `bind`: the channel of the rounds.
    prox, fleet : Proximal, Fleet
    gamma : float
    participation, batch : float
        Part of the workers in a round, and of each one's components; 0 for all.
    """

    name = None
    memory = Plain
    accepts, standing = "any", "observed"
    rules = ("theory",)
    down_compressor = refresh_compressor = refresh_down_compressor = None
    participation = batch = 0
    takes_prox = True
    trains, metrics = (), ("none", "rms")
    practice = Practice()
    theorem = None  # the statement that gamma = "theory" rests on, one line

    def __init__(self, up: Compressor | None = None, gamma: float | str = "theory"):
        self.compressor = up if up is not None else self.default_compressor()
        self.accept(self.compressor)
        self._gamma = check_gamma(gamma, self.rules)

    def practised(self, **options):
        """The same method with options of `Practice`, as in ``Masha1(gamma=0.1).practised(warmup=50, decay=1000)``."""
        for option in options:
            if option not in self.trains:
                raise UserError(f"method.{option} does not go with {self.name}"
                                + (f": it takes {', '.join(self.trains)}" if self.trains else ", which has no such "
                                   "option: use masha1, masha2, sgda, ef_sgda, eg or diana_og"))
        method = copy.copy(self)
        method.practice = replace(self.practice, **options)
        if method.practice.metric == "adam" and "adam" not in self.metrics:
            raise UserError(f"method.metric = 'adam' does not go with {self.name}: use 'rms', or sgda or ef_sgda")
        if not method.practice.inside:
            method.theory_factor = _unknown
        return method

    # -- theory ------------------------------------------------------------------------

    @classmethod
    def takes(cls, key):
        """Whether the constructor has the parameter `key`."""
        return key in inspect.signature(cls).parameters

    def default_compressor(self):
        return Identity()

    def accept(self, compressor):
        """Raise UserError for a compressor that the method's theory or sense excludes."""
        check_accepted(self, "up", compressor)

    def theory_gamma(self, constants):
        """The step size of the method's theorem."""
        raise UserError(f"method.gamma = 'theory': no theorem is known for {self.name}, give a number or '0.25/L'")

    def theory_factor(self, constants):
        """f with E (Lyapunov function after a round) <= f * (before), at this gamma; None if unknown."""
        return None

    def check_problem(self, problem):
        """Raise UserError for a problem the method cannot solve."""
        if not self.takes_prox and not problem.prox.is_zero:
            raise UserError(f"method.name = {self.name!r} cannot take the prox that {problem.name} has on communicated "
                            f"coordinates: use masha1 or diana_og (or set problem.radius = 0 where there is one)")
        if not self.trains and any(problem.local_size(m) for m in range(problem.workers)):
            raise UserError(f"method.name = {self.name!r} cannot take variables that belong to one worker, as those of "
                            f"{problem.name} with these settings: use masha1, masha2, sgda, ef_sgda, eg or diana_og")
        if self.participation > problem.workers:
            raise UserError(f"method.participation = {self.participation} exceeds the {problem.workers} workers: use a "
                            f"fraction below 1 or at most as many")
        if self.batch and not problem.finite_sum:
            raise UserError(f"method.batch = {self.batch} needs operators that are sums over samples, and those of "
                            f"{problem.name} are none: use robust_regression, group_dro or bilinear with "
                            f"problem.samples, or leave method.batch out")

    # -- life ----------------------------------------------------------------------------

    @property
    def choices(self):
        """The compressors among which `choose` will, by constants; none where nothing is left open."""
        return []

    def choose(self, problem, wire, constants):
        """Settle what is left open until the constants are known, before `bind`; collective."""

    def bind(self, problem, fleet, channel):
        """Allocate the state and open the channels; `set_parameters` follows.

        Parameters
        ----------
        channel : callable
            ``channel(compressor, memory, purpose, down=None, precise=False, senders=None)`` opens a `Channel`.
        """
        self.check_problem(problem)
        self.fleet, self.prox, self.z0 = fleet, fleet.prox, problem.start_of(fleet.seed)
        if self.batch:
            fleet.sample()
        state.allocate(self, len(fleet.owned), fleet.n, fleet.dtype, fleet.parts, self.unused)
        self.metric = METRICS[self.practice.metric]().bind(fleet.parts, fleet.dtype, self.practice.damping,
                                                      problem.local_step)
        self.open_channels(channel)

    def open_channels(self, channel):
        self.up = channel(self.compressor, self.memory(), "uplink", senders=self.senders)

    @property
    def unused(self):
        """Names of declared states that these options do without."""
        return ()

    @property
    def senders(self):
        """How many workers take part in a round."""
        return share(self.participation, self.fleet.workers)

    def draw(self, k):
        """Who takes part in round k, and which batches."""
        return self.fleet.lots.draw(k, self.participation, self.batch)

    def set_parameters(self, constants):
        """Fix the step size; collective where constants must be estimated."""
        rules = {rule: functools.partial(getattr(self, f"{rule}_gamma"), constants) for rule in self.rules}
        self.gamma = resolve_gamma(self._gamma, constants, rules)

    def step_size(self, k):
        """gamma in round k."""
        return self.metric.at(self.gamma * self.practice.schedule(k))

    def start(self):
        """The state before round 1, with the exchanges this costs."""
        self.z = self.z0

    def step(self, k):
        """Round k = 0, 1, ...: one pass of the algorithm's loop body."""
        raise NotImplementedError(f"method {self.name} has no step")

    @property
    def exchanges(self):
        """[(channel, how often it is used in a round, expected)], that of the messages first."""
        return [(self.up, 1.0)]

    @property
    def refreshes(self):
        """How many refreshes a round has, expected."""
        return 0.0

    # -- results ---------------------------------------------------------------------------

    @property
    def iterate(self):
        """z^k without local parts, shape (n,), the array itself."""
        return self.point("z")

    def point(self, name):
        """The shared part of a state, (n,), the array itself: the same on every rank."""
        return state.buffers(self)[name][:self.fleet.n]

    @property
    def probe(self):
        """The points F was evaluated at, whose average converges when mu = 0: z^{k+1/2} where there is one."""
        return self.point("zhalf" if "zhalf" in state.buffers(self) else "z")

    @property
    def roles(self):
        """{"up": Compressor, "down", "refresh", "refresh_down": Compressor or None}."""
        return {"up": self.compressor, "down": self.down_compressor, "refresh": self.refresh_compressor,
                "refresh_down": self.refresh_down_compressor}

    @property
    def compressors(self):
        """What compresses, as the user writes it: uplink / downlink / refresh / its downlink, up to the last set."""
        parts = list(self.roles.values())
        while parts[-1] is None:
            parts.pop()
        return " / ".join("-" if part is None else str(part) for part in parts)

    @property
    def rule(self):
        """Which of `rules` sets gamma; None for a number."""
        return self._gamma if self._gamma in self.rules else None

    @property
    def from_theory(self):
        """Whether gamma is the theorem's."""
        return self.rule == "theory"

    @property
    def basis(self):
        """What the step size rests on, in a line; None for a number."""
        if self.from_theory and not self.practice.inside:
            return f"{self.theorem}; with method.extrapolation or method.metric outside of it"
        return self.theorem if self.from_theory else None

    @property
    def parameters(self):
        """The numbers a row of results shows."""
        return {"gamma": self.gamma, "tau": getattr(self, "tau", None)}


def _unknown(constants):
    """The factor of a step that no theorem knows."""


_ACCEPTED = {
    "any": ("takes any", "", lambda c: True),
    "identity": ("sends whole vectors", "use identity, or diana_og, masha1 or masha2", lambda c: c.name == "identity"),
    "unbiased": ("needs an unbiased one", "use randk, permk, qsgd, absmax, natural or identity here, or masha2",
                 lambda c: c.unbiased),
    "contractive or unbiased": ("needs one that is contractive or unbiased", "use topk, sign or an unbiased one",
                                lambda c: c.contractive or c.unbiased),
}


def check_accepted(method, role, compressor):
    """Refuse a compressor that is not of the kind that `method` accepts."""
    demand, advice, fits = _ACCEPTED[method.accepts]
    if not fits(compressor):
        raise UserError(f"compressor.{role} = '{compressor}' cannot be used with {method.name}, which {demand}: "
                        f"{advice}")
