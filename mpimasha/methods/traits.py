"""What several methods share besides their step; written before the step's class among the bases."""

from mpimasha.channels.memory import Plain, Shift
from mpimasha.compressors.identity import Identity
from mpimasha.methods.base import Method


class NoTheorem:
    """No step size is known, whatever is known of the uncompressed step."""

    theorem, standing = None, "observed"

    def theory_gamma(self, constants):
        return Method.theory_gamma(self, constants)

    def theory_factor(self, constants):
        return None


class Learning:
    """Messages Q_m(F_m - h_m) around memories h_m that learn F_m(z*), from one dense exchange of F_m(z^0) on."""

    accepts = "unbiased"
    memory = Shift

    def open_channels(self, channel):
        super().open_channels(channel)
        self.open_first(channel)

    def open_first(self, channel):
        self.first = channel(Identity(), Plain(), "refresh", precise=True)  # H must be the very mean of the h_m

    def start(self):
        self.z = self.z0
        self.learn()

    def learn(self):
        """h_m = F_m(z^0); their mean H."""
        return self.up.begin(self.fleet.F(self.z), self.first)
