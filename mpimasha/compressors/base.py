"""What a compressor is.

Write your own by subclassing `Compressor`: `fields` says what a message holds,
`encode` fills it, `decode` adds it up, and the class states its constant.  `bind`
gives a compressor its dimension; a bound compressor belongs to one channel.
"""

import copy
from types import SimpleNamespace

import numpy as np

from mpimasha.errors import UserError
from mpimasha.linear import Linear

# How the workers' draws depend on each other: not at all, as PermK's, one mask for all, in any other way.
INDEPENDENT, PARTITION, COMMON_MASK, ANY = "independent", "partition", "common", "any"


class Compressor:
    """Abstract base of all compressors; those below `n` exist after `bind`.

    Attributes
    ----------
    unbiased, contractive : bool
        Of the class: which theory applies.
    n, workers : int
        Dimension of a message's vector; number of workers M.
    wire : numpy.dtype
        Type of a value on the wire, v = 8 * itemsize bits.
    stream : Stream
        ``stream(worker, k)`` is the random key of a worker's draw in exchange k.
    q : float or None
        E Q(x) = x and E|Q(x)|^2 <= q |x|^2; None if biased.
    typical : float or None
        E|Q(x)|^2 / |x|^2 on Gaussian vectors, where that is known to be less than q.
    contraction : float or None
        delta with E|C(x) - x|^2 <= (1 - 1/delta)|x|^2; None if not contractive.
    bits : float
        Model bits of one message, mean over the workers.
    dependence : str
        "independent" streams across workers, "partition" (PermK), "common" (one mask for all) or "any" other.
    additive : bool
        The arrays "values" of all workers' messages stand for the same coordinates and may be added before they
        are decoded.
    sparsifier : bool
        Keeps some coordinates, times `gain`, and so may be the first part of a `Composition`; it then has
        ``counts``, ``index_fields``, ``choose`` and ``chosen``.
    gain : float
        Of a sparsifier that is unbiased.
    """

    name = None
    unbiased = False
    contractive = False
    dependence = INDEPENDENT
    additive = False
    sparsifier = False
    gain = 1.0
    q = None
    contraction = None

    def bind(self, n, workers, wire, stream):
        """A copy of this compressor for vectors of dimension `n`."""
        bound = copy.copy(self)
        bound.n, bound.workers, bound.wire, bound.stream = n, workers, np.dtype(wire), stream
        bound.prepare()
        return bound

    def prepare(self):
        """Allocate scratch space and check the parameters against `n` (after `bind`)."""

    def fields(self):
        """{name: (dtype, count)} of a message: fixed sizes, the same for every worker."""
        raise NotImplementedError(f"compressor {self.name} does not say what its message holds")

    def encode(self, x, message, worker, k):
        """Compress `x` (a Linear of vectors of shape (n,)) into the arrays of `message`."""
        raise NotImplementedError(f"compressor {self.name} cannot encode")

    def encode_sum(self, e, x, message, worker, k):
        """e += x, an array and a Linear, and compress the sum."""
        total = Linear.of(e)
        (total + x).write(e)
        self.encode(total, message, worker, k)

    def decode(self, message, worker, k, scale, out):
        """out += scale * (the vector that the message of `worker` stands for)."""
        raise NotImplementedError(f"compressor {self.name} cannot decode")

    def decode_all(self, messages, k, scale, out):
        """`decode` of the messages of workers 0, 1, ...; to override where together they are decoded faster."""
        for worker, message in enumerate(messages):
            self.decode(message, worker, k, scale, out)

    @property
    def typical(self):
        return self.q

    @property
    def counts(self):
        """Of a sparsifier: {how many coordinates a message keeps: in how many of the sum of all cases}."""
        return {self.count: 1}

    @property
    def mean_count(self):
        return sum(count * cases for count, cases in self.counts.items()) / sum(self.counts.values())

    def index_fields(self):
        """Of a sparsifier: {"index": (dtype, count)} if the indices travel, all `index_bits` wide."""
        return {}

    def choose(self, x, message, worker, k):
        """Of a sparsifier: the index of the coordinates of `x` to keep, written to `message` if it travels."""
        raise NotImplementedError(f"compressor {self.name} cannot choose coordinates")

    def chosen(self, message, worker, k):
        """Of a sparsifier: the index of the coordinates that `message` keeps."""
        raise NotImplementedError(f"compressor {self.name} cannot say which coordinates were kept")

    @property
    def value_bits(self):
        return 8 * self.wire.itemsize

    @property
    def index_bits(self):
        """ceil(log2 n): the bits of one index."""
        return (self.n - 1).bit_length()

    @property
    def index_dtype(self):
        return np.dtype(np.uint32 if self.n < 2**32 else np.uint64)

    def __str__(self):
        return self.name


def message(fields):
    """A message with arrays of its own, for use outside a transport."""
    return SimpleNamespace(**{name: np.zeros(count, dtype) for name, (dtype, count) in fields.items()})


def check_kept(k, name):
    """Refuse a number that is neither a fraction below 1 nor a count."""
    if not 0 < k < np.inf or (k >= 1 and k != int(k)):
        raise UserError(f"{name}:{k} keeps neither a fraction between 0 and 1 nor a count of at least 1")


def kept(k, n, name):
    """The count that `k`, a fraction of n below 1 or a count, stands for."""
    count = max(1, round(k * n)) if k < 1 else int(k)
    if count > n:
        raise UserError(f"{name}:{k} keeps more coordinates than the dimension n = {n}: use a count up to {n}")
    return count
