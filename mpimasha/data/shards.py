"""The samples of the workers that a rank owns: read, dealt out and standardised by all ranks together.

No rank ever holds the data of another's workers, but for what moves when samples are shuffled or sorted.  All sums
over samples are taken worker by worker and added in the order of the workers, so every number is the same, bit for
bit, for any number of ranks.
"""

import hashlib
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from mpimasha.data import npy, samples, svmlight
from mpimasha.data.sparse_rows import SparseRows
from mpimasha.errors import UserError
from mpimasha.kernels.operators.regression_csr import absolute_gram
from mpimasha.mpi.communicator import block


def is_sharded(source):
    """Whether each rank reads its own part of this data set."""
    return isinstance(source, str) and source.lower().endswith((npy.SUFFIX, *svmlight.SUFFIXES))


def check_file_keys(source, labels, features, zero_based):
    """Refuse keys of a problem that do not go with its kind of file."""
    if source.lower().endswith(npy.SUFFIX) != bool(labels):
        raise UserError(f"problem.labels = {labels!r} does not go with problem.data = {source!r}: give the path of an "
                        f".npy file with y if and only if problem.data is an .npy file with X")
    if (features or zero_based) and not source.lower().endswith(svmlight.SUFFIXES):
        key = "problem.features" if features else "problem.zero_based"
        raise UserError(f"{key} does not go with problem.data = {source!r}: leave it out, it is for LIBSVM files "
                        f"({', '.join(svmlight.SUFFIXES)})")


def check_enough(samples, workers, name):
    """Refuse more workers than there are samples."""
    if samples < workers:
        raise UserError(f"workers = {workers} exceeds the {samples} samples of problem.data = {name!r}: use at most "
                        f"one worker a sample")


@dataclass(frozen=True)
class Facts:
    """What constants are made of: number of samples, largest eigenvalue of X'X, means of |x_i| and of |y_i|."""

    count: int
    top: float
    norm: float
    label: float

    @classmethod
    def of(cls, X, y):
        if not len(y):
            return cls(0, 0.0, 0.0, 0.0)
        return cls(len(y), _top(X), norms(X).mean(), np.abs(y).mean())

    @classmethod
    def joined(cls, parts):
        """Of all samples, the eigenvalue by its bound: the norm of a sum is at most the sum of the norms."""
        count = sum(p.count for p in parts)
        return cls(count, sum(p.top for p in parts), sum(p.count * p.norm for p in parts) / count,
                   sum(p.count * p.label for p in parts) / count)


class Shards:
    """The samples of this rank's workers.

    Attributes
    ----------
    owned : range
        The workers.
    X : list of (N_m, d) arrays or SparseRows
    y : list of (N_m,) arrays
    workers, N, d : int
        Of the whole.
    facts : list of Facts
        Of all workers, once `settle` was called.
    digest : str
        Of all data, once `settle` was called.
    """

    def __init__(self, comm, workers, X, y, name):
        self.owned, self.workers, self.name = block(comm.rank, comm.size, workers), workers, name
        self.X, self.y = X, y
        self.counts = _of_all_workers(comm, [len(part) for part in y])
        self.N, self.d = sum(self.counts), 0
        check_enough(self.N, workers, name)

    # -- reading ---------------------------------------------------------------------

    @classmethod
    def of_svmlight(cls, comm, path, workers, features=0, zero_based=False):
        """Of a LIBSVM file: worker m has the lines that start in bytes m S / M to (m + 1) S / M of its S."""
        base = 0 if zero_based else 1

        def read():
            size, columns = svmlight.size(path), features or svmlight.MOST_FEATURES
            return [svmlight.read(path, *svmlight.byte_range(m, workers, size), columns, base)
                    for m in block(comm.rank, comm.size, workers)]
        parts = comm.together(read)
        shards = cls(comm, workers, [X for X, _ in parts], [y for _, y in parts], path)
        widest = max(comm.gather_objects(max(X.width for X in shards.X)))
        if not widest:
            raise UserError(f"problem.data = {path!r} has labels but no index:value in any line: it is no data set")
        shards._set_width(features or widest)
        return shards

    @classmethod
    def of_npy(cls, comm, path, labels, workers, split, seed):
        """Of two .npy files: worker m has the m-th block of samples in the order of `split`."""
        def read():
            X, y = npy.mapped("problem.data", path), npy.mapped("problem.labels", labels)
            samples.check_shapes(X, y, path)
            check_enough(len(y), workers, path)
            order, parts = samples.order(split, y, seed), []
            for m in block(comm.rank, comm.size, workers):
                rows = block(m, workers, len(y))
                rows = slice(rows.start, rows.stop) if split == "even" else order[rows.start:rows.stop]
                parts.append((np.array(X[rows], np.float64, order="C"), np.array(y[rows], np.float64)))
                samples.check_values(*parts[-1], path)
            return parts
        parts = comm.together(read)
        shards = cls(comm, workers, [X for X, _ in parts], [y for _, y in parts], path)
        shards.d = shards.X[0].shape[1]
        return shards

    def _set_width(self, d):
        self.d = d
        self.X = [X.of_width(d) for X in self.X]

    # -- arranging ---------------------------------------------------------------------

    def sign_labels(self, comm):
        """Labels -1 and 1 from the two classes that all ranks have found."""
        classes = np.unique(np.concatenate(comm.gather_objects(np.unique(np.concatenate(self.y)))))
        self.y = [samples.signs(y, self.name, classes) for y in self.y]

    def deal(self, comm, split, seed):
        """Move the sparse samples so that worker m has the m-th block of them in the order of `split`.

        Every rank works out the whole order, 8 bytes a sample; the samples themselves move once.
        """
        if split == "even":
            return
        y = np.broadcast_to(0.0, self.N)
        if split == "sorted":
            y = np.concatenate(comm.gather_objects(np.concatenate(self.y)))
        order = samples.order(split, y, seed)
        firsts = [block(rank, comm.size, self.workers).start for rank in range(comm.size)] + [self.workers]
        before = np.concatenate([[0], np.cumsum(self.counts)])[firsts]  # samples of lower ranks, as read
        after = [worker * self.N // self.workers for worker in firsts]  # and as dealt
        wanted = order[after[comm.rank]:after[comm.rank + 1]]
        low, high = before[comm.rank], before[comm.rank + 1]
        sent = [rows[(rows >= low) & (rows < high)] - low for rows in (order[a:b] for a, b in pairwise(after))]
        # what arrives is sorted by its source, and in the order's order from each
        arrived = np.argsort(np.searchsorted(before, wanted, "right"), kind="stable")
        self._move(comm, sent, np.argsort(arrived))

    def _move(self, comm, sent, place):
        """Exchange rows; `sent[rank]` are those for a rank, `place` the order of what arrives."""
        rows = np.concatenate(sent)
        y = comm.exchange(np.concatenate(self.y)[rows], [len(part) for part in sent])[place]
        X = SparseRows.joined(self.X, self.d)
        self.X = self.y = None
        X = X.take(rows)
        bounds = np.cumsum([0, *(len(part) for part in sent)])
        nonzeros = np.diff(X.indptr[bounds])
        lengths = comm.exchange(X.lengths, np.diff(bounds))
        X = SparseRows.of_lengths(comm.exchange(X.values, nonzeros), comm.exchange(X.indices, nonzeros), lengths,
                                  self.d).take(place)
        blocks = [block(m, self.workers, self.N) for m in range(self.workers)]
        first = blocks[self.owned.start].start
        mine = [slice(blocks[m].start - first, blocks[m].stop - first) for m in self.owned]
        self.X, self.y = [X.part(part.start, part.stop) for part in mine], [y[part] for part in mine]
        self.counts = [len(rows) for rows in blocks]

    # -- standardising -------------------------------------------------------------------

    def standardise(self, comm, labels):
        """Columns (and `labels`, if asked) to variance 1 around 0; sparse columns to mean square 1, not centred."""
        if isinstance(self.X[0], SparseRows):
            mean_square = total(comm, [X.squares() for X in self.X]) / self.N
            scales = 1 / np.sqrt(np.where(mean_square > 0, mean_square, 1.0))
            for X in self.X:
                X.scale(scales)
        else:
            self._standardise(comm, self.X)
        if labels:
            self._standardise(comm, [y[:, None] for y in self.y])

    def _standardise(self, comm, parts):
        """Dense columns to mean 0 and variance 1, in place; constant columns become 0."""
        highest = total(comm, [part.max(axis=0, initial=-np.inf) for part in parts], np.maximum)
        lowest = total(comm, [part.min(axis=0, initial=np.inf) for part in parts], np.minimum)
        mean = total(comm, [part.sum(axis=0) for part in parts]) / self.N
        variance = total(comm, [np.square(part - mean).sum(axis=0) for part in parts]) / self.N
        deviation = np.sqrt(np.where(variance > 0, variance, 1.0))
        for part in parts:
            part -= mean
            part /= deviation
            part[:, highest == lowest] = 0.0

    def settle(self, comm):
        """Work out `facts` and `digest`, once the data are as they will be."""
        self.facts = _of_all_workers(comm, comm.together(lambda: [Facts.of(X, y) for X, y in zip(self.X, self.y)]))
        digests = _of_all_workers(comm, [_digest(*arrays(X), y) for X, y in zip(self.X, self.y)])
        self.digest = hashlib.sha256(b"".join(digests)).hexdigest()

    def of(self, worker):
        """(X, y) of a worker of this rank."""
        place = worker - self.owned.start
        return self.X[place], self.y[place]


def total(comm, rows, add=np.add):
    """The sum (or maximum, ...) of the rows of all workers, added in their order, on every rank.

    Each rank adds up a slice of the columns: of a row of the sum it hands on d/P numbers, not d.
    """
    rows = np.array(rows)
    bounds = [rank * rows.shape[1] // comm.size for rank in range(comm.size + 1)]
    pieces = [rows[:, a:b].ravel() for a, b in pairwise(bounds)]
    width = bounds[comm.rank + 1] - bounds[comm.rank]
    slices = comm.exchange(np.concatenate(pieces), [len(p) for p in pieces])
    slices = slices.reshape(len(slices) // max(width, 1), width)
    result = np.zeros(width) if not width else slices[0].copy()
    for piece in slices[1:]:
        add(result, piece, out=result)
    return np.concatenate(comm.gather_objects(result))


def arrays(X):
    """What a kernel takes for a matrix."""
    return X.arrays if isinstance(X, SparseRows) else (X,)


def norms(X):
    """The norm of every row."""
    return X.norms() if isinstance(X, SparseRows) else np.sqrt(np.einsum("ij,ij->i", X, X))


def _top(X):
    """The largest eigenvalue of X'X; for sparse X a bound from above."""
    if isinstance(X, SparseRows):
        return _sparse_top(X)
    return np.linalg.eigvalsh(X.T @ X if len(X) >= X.shape[1] else X @ X.T)[-1]


def _sparse_top(X, steps=20):
    """max_j (G v)_j / v_j for G = |X|'|X| and any v > 0, which bounds its norm and that of X'X (Collatz, Wielandt).

    The power method makes the bound sharp for G; X'X has the same norm where no column changes its sign.
    """
    out = np.empty(X.d)
    absolute_gram(out, *X.arrays, np.ones(X.d))
    used = out > 0
    if not used.any():
        return 0.0
    v, bound = np.ones(X.d), out.max()
    for _ in range(steps):
        v[used] = np.maximum(out[used] / out.max(), 1e-100)
        absolute_gram(out, *X.arrays, v)
        before, bound = bound, min(bound, (out[used] / v[used]).max())
        if bound > 0.999 * before:
            break
    return float(bound)


def _digest(*parts):
    digest = hashlib.sha256()
    for part in parts:
        digest.update(np.ascontiguousarray(part))
    return digest.digest()


def _of_all_workers(comm, own):
    return [value for part in comm.gather_objects(own) for value in part]
