"""What practice adds to a method's step when networks are trained; mostly outside the theorems."""

from dataclasses import dataclass, fields

from mpimasha.errors import UserError
from mpimasha.methods.metric import METRICS
from mpimasha.names import check_kinds, nearest, shown

_LEAST = 1e-3  # of the step size after the decay


@dataclass(frozen=True)
class Practice:
    """Options of training; the defaults change nothing.

    Parameters
    ----------
    extrapolation : float
        alpha in z^{k+1/2} = zbar - alpha gamma F(w), on what is communicated; 1 is the method.  Outside the theorems.
    metric : {"none", "rms", "adam"}
        A diagonal in front of F, made of what all ranks know, so that it costs no bits.  rms: 1/(sqrt v + damping),
        v a mean of squares that forgets by 10 % whenever it learns an operator: that of the reference point at each
        refresh, or of each round where there is none.  adam: Adam's direction, for `SGDA` and its kin.  Outside the
        theorems: a metric that stays would be a change of variables.
    damping : float
        Of the metric.
    warmup : int
        Rounds over which the step grows linearly from 0.  Inside the theorem of MASHA1 without compressed refresh,
        whose Lyapunov function does not depend on gamma; not shown for others.
    decay : int
        The round at which it has fallen linearly to (nearly) 0; 0 for a step that stays.  As warmup.
    """

    extrapolation: float = 1.0
    metric: str = "none"
    damping: float = 1e-3
    warmup: int = 0
    decay: int = 0

    def __post_init__(self):
        whole = check_kinds(Practice, "method.", **{field.name: getattr(self, field.name) for field in fields(self)})
        if self.metric not in METRICS:
            raise UserError(f"method.metric = {shown(self.metric)} is unknown{nearest(self.metric, METRICS)}")
        if not 0 <= self.extrapolation <= 10:
            raise UserError(f"method.extrapolation = {shown(self.extrapolation)} is out of range: use a number from 0 "
                            f"to 10")
        if not 0 < self.damping <= 1e100:
            raise UserError(f"method.damping = {shown(self.damping)} is out of range: use a number above 0")
        for name, value in zip(("warmup", "decay"), whole):
            object.__setattr__(self, name, value)
            if not 0 <= getattr(self, name) < 2**53:
                raise UserError(f"method.{name} = {shown(getattr(self, name))} is out of range: use a number of rounds "
                                f"of at least 0")
        if 0 < self.decay <= self.warmup:
            raise UserError(f"method.decay = {self.decay} ends before method.warmup = {self.warmup}: use a later round")

    @property
    def inside(self):
        """Whether a round is still one of the method's theorem."""
        return self.extrapolation == 1 and self.metric == "none"

    def schedule(self, k):
        """The part of gamma that round k takes."""
        part = min(1.0, (k + 1) / self.warmup) if self.warmup else 1.0
        if self.decay and k >= self.warmup:
            part = max(_LEAST, (self.decay - k) / (self.decay - self.warmup))
        return part
