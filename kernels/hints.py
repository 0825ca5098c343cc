"""Hints to the compiler and the processor, which change no result; without compilation they do nothing."""

import functools

import llvmlite.ir
import numba
import numba.core.cgutils
import numba.extending
import numpy as np

from ._jit import kernel


if numba.config.DISABLE_JIT:
    def full_vectors():
        pass

    def fetch(array, i):
        pass

    fetch_to_write = fetch
else:
    @numba.extending.intrinsic
    def full_vectors(typing_context):
        """To be called first in a kernel whose loops should use vectors of 512 bits where there are such.

        LLVM prefers 256 bits on many CPUs.  Not for sums: their order would change.
        """
        def generate(context, builder, signature, arguments):
            set.add(builder.function.attributes, '"prefer-vector-width"="512"')  # llvmlite knows no such attribute
            return context.get_dummy_value()

        return numba.types.void(), generate

    @numba.extending.intrinsic
    def fetch(typing_context, array, i):
        """Ask for array[i], which may lie beyond the end, to be in the first cache soon."""
        return numba.types.void(array, i), functools.partial(_request, array, 0)

    @numba.extending.intrinsic
    def fetch_to_write(typing_context, array, i):
        """`fetch`, and ask the other caches to give it up."""
        return numba.types.void(array, i), functools.partial(_request, array, 1)

    def _request(array, write, context, builder, signature, arguments):
        byte, word = llvmlite.ir.IntType(8).as_pointer(), llvmlite.ir.IntType(32)
        data = context.make_array(array)(context, builder, arguments[0]).data
        place = builder.bitcast(builder.gep(data, [arguments[1]]), byte)
        kind = llvmlite.ir.FunctionType(llvmlite.ir.VoidType(), [byte, word, word, word])
        function = numba.core.cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(function, [place, word(write), word(3), word(1)])  # into all caches, of data
        return context.get_dummy_value()


@kernel(inline=True)
def prefetch(x, start, count):
    """Ask for x[start:start + count], which may end beyond x: for what is read after some computing."""
    step, start = np.uint64(16 if x.itemsize == 4 else 8), np.uint64(start)  # a line; 64 // itemsize would be divided
    for i in range(np.uint64(0), np.uint64(count), step):
        fetch(x, start + i)
