"""The parts of a rank's vector: what all workers share, and what belongs to one of them."""


class Parts:
    """Where they lie: n shared coordinates first, then the local part of each of this rank's workers.

    Only the shared part is compressed, sent and billed.  A local part is known and used by its worker alone: there the
    compressor is the identity, unbiased and contractive, so theorems about compressors hold for the whole vector.

    Parameters
    ----------
    n : int
    sizes : sequence of int
        Of the local parts of this rank's workers.
    some : bool
        Whether any worker, of whatever rank, has one: what depends on it must be the same on all ranks.

    Attributes
    ----------
    size : int
        Of the whole vector.
    shared : slice
    local : list of slice
        Of each worker, in the whole vector.
    """

    def __init__(self, n, sizes, some=None):
        self.n, self.shared, self.local, stop = n, slice(0, n), [], n
        for size in sizes:
            self.local.append(slice(stop, stop + size))
            stop += size
        self.size = stop
        self._some = stop > n if some is None else some

    def __bool__(self):
        """Whether there are local parts."""
        return self._some

    @property
    def largest(self):
        """The size of the largest local part."""
        return max(part.stop - part.start for part in self.local)
