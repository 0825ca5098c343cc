"""Some of a worker's samples, side by side for the kernels that take all of them."""

import numpy as np

from mpimasha.data.sparse_rows import SparseRows
from mpimasha.kernels.operators.regression_csr import take_rows


class Batches:
    """Copies chosen samples into scratch space that is used again.

    Parameters
    ----------
    X : (N_m, d) array or SparseRows
    *columns : (N_m,) arrays
        What else belongs to a sample: its label, its group.
    """

    def __init__(self, X, *columns):
        self._X, self._columns, self._room = X, columns, None

    def take(self, chosen):
        """[what a kernel takes for the matrix ..., *columns] of the samples `chosen`; valid until the next call."""
        if self._room is None or len(self._room[1]) != len(chosen):
            self._room = self._matrix(len(chosen)), np.empty(len(chosen), np.int64)
            self._parts = [np.empty(len(chosen), column.dtype) for column in self._columns]
        matrix, index = self._room
        index[:] = chosen
        for part, column in zip(self._parts, self._columns):
            np.take(column, index, out=part, mode="clip")
        if isinstance(self._X, SparseRows):
            np.cumsum(self._X.lengths[index], out=matrix[2][1:])
            take_rows(*matrix, *self._X.arrays, index)
            return [*matrix, *self._parts]
        np.take(self._X, index, axis=0, out=matrix, mode="clip")
        return [matrix, *self._parts]

    def _matrix(self, count):
        """Room for any `count` rows."""
        if not isinstance(self._X, SparseRows):
            return np.empty((count, self._X.shape[1]))
        most = int(np.sort(self._X.lengths)[-count:].sum())
        return np.empty(most), np.empty(most, np.uint32), np.zeros(count + 1, np.int64)
