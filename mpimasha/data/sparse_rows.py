"""A matrix of samples that stores only what is not zero, row after row (CSR)."""

from dataclasses import dataclass

import numpy as np

from mpimasha.kernels.operators import regression_csr


@dataclass(frozen=True)
class SparseRows:
    """N rows of d columns.

    Attributes
    ----------
    values : (nonzeros,) float64
    indices : (nonzeros,) uint32
        Their columns, increasing in each row.
    indptr : (N + 1,) int64
        Row i holds the nonzeros indptr[i] to indptr[i + 1].
    d : int
    """

    values: np.ndarray
    indices: np.ndarray
    indptr: np.ndarray
    d: int

    def __len__(self):
        return len(self.indptr) - 1

    @property
    def lengths(self):
        """How many nonzeros each row has, shape (N,)."""
        return np.diff(self.indptr)

    @property
    def width(self):
        """The least number of columns that holds them all."""
        return int(self.indices.max()) + 1 if len(self.indices) else 0

    @property
    def arrays(self):
        """What the kernels of ``kernels/operators/regression_csr.py`` take for a matrix."""
        return self.values, self.indices, self.indptr

    @classmethod
    def of_lengths(cls, values, indices, lengths, d):
        """The matrix whose row i has lengths[i] nonzeros."""
        return cls(values, indices, np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]), d)

    @classmethod
    def joined(cls, parts, d):
        """The rows of all `parts`, one after the other."""
        return cls.of_lengths(np.concatenate([p.values for p in parts]), np.concatenate([p.indices for p in parts]),
                              np.concatenate([p.lengths for p in parts]), d)

    def of_width(self, d):
        """The same rows, of d columns."""
        return SparseRows(self.values, self.indices, self.indptr, d)

    def part(self, start, stop):
        """Rows start to stop, a view."""
        low, high = self.indptr[start], self.indptr[stop]
        return SparseRows(self.values[low:high], self.indices[low:high], self.indptr[start:stop + 1] - low, self.d)

    def take(self, rows):
        """A copy of the given rows, in their order."""
        lengths = self.lengths[rows]
        taken = SparseRows.of_lengths(np.empty(lengths.sum()), np.empty(lengths.sum(), np.uint32), lengths, self.d)
        regression_csr.take_rows(*taken.arrays, *self.arrays, np.asarray(rows, np.int64))
        return taken

    def scale(self, scales):
        """Multiply the columns by `scales`, shape (d,), in place."""
        regression_csr.scale_columns(self.values, self.indices, scales)

    def squares(self):
        """The sum of squares of every column, shape (d,)."""
        out = np.empty(self.d)
        regression_csr.column_squares(out, self.values, self.indices)
        return out

    def norms(self):
        """The norm of every row, shape (N,)."""
        out = np.empty(len(self))
        regression_csr.row_norms(out, *self.arrays)
        return out
