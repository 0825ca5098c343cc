"""Vector instructions that a loop in Python cannot ask for: compare a vector's magnitudes, pack the lanes that pass.

A vector has 64 bytes of the compared array: 16 lanes of 32 bits or 8 of 64. A mask is one bit a lane. The packed lanes
are stored with a whole vector, so what is stored to needs `lanes - 1` entries more than it will hold.
"""

import os

import llvmlite.binding
import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

BYTES = 64
ALL = np.uint64(2**64 - 1)


def available():
    """Whether this CPU compresses vectors and the user has not asked for the portable kernels."""
    if numba.config.DISABLE_JIT or os.environ.get("MPIMASHA_PORTABLE", "0") not in ("", "0"):
        return False
    features = llvmlite.binding.get_host_cpu_features()
    return llvmlite.binding.llvm_version_info >= (20,) and all(features.get(name) for name in ("avx512f", "avx512vl"))


@intrinsic
def width(typing, array):
    """Lanes of the array's words in a vector, a constant to the compiler (`itemsize` is read at run time)."""
    lanes = 8 * BYTES // array.dtype.bitwidth

    def generate(context, builder, signature, arguments):
        return context.get_constant(types.intp, lanes)

    return types.intp(array), generate


@intrinsic
def between(typing, array, start, low, high):
    """Mask of the lanes j with low <= array[start + j] <= high, the highest bit of the array's words left off."""
    lanes = 8 * BYTES // array.dtype.bitwidth

    def generate(context, builder, signature, arguments):
        values, start, low, high = arguments
        word = ir.IntType(array.dtype.bitwidth)
        magnitudes = _magnitudes(builder, _load(context, builder, array, values, start, lanes))
        inside = [builder.icmp_unsigned(comparison, magnitudes, _splat(builder, _narrow(builder, bound, word), lanes))
                  for comparison, bound in ((">=", low), ("<=", high))]
        return builder.bitcast(builder.and_(*inside), ir.IntType(lanes))

    return getattr(types, f"uint{lanes}")(array, types.intp, types.uint64, types.uint64), generate


@intrinsic
def pack(typing, array, start, mask, out, count):
    """Append the lanes of array[start:] in the mask to out[:count]; gives the new count."""

    def generate(context, builder, signature, arguments):
        values, start, mask_, out_, count = arguments
        vector = _load(context, builder, array, values, start, mask.bitwidth)
        return _append(context, builder, vector, mask_, out, out_, count)

    return types.intp(array, types.intp, mask, out, types.intp), generate


@intrinsic
def pack_magnitudes(typing, array, start, mask, out, count):
    """`pack` with the highest bits left off."""

    def generate(context, builder, signature, arguments):
        values, start, mask_, out_, count = arguments
        vector = _magnitudes(builder, _load(context, builder, array, values, start, mask.bitwidth))
        return _append(context, builder, vector, mask_, out, out_, count)

    return types.intp(array, types.intp, mask, out, types.intp), generate


@intrinsic
def pack_range(typing, start, mask, out, count):
    """Append the numbers start + j with j in the mask to out[:count]; gives the new count."""
    lanes = mask.bitwidth

    def generate(context, builder, signature, arguments):
        start, mask, out_, count = arguments
        word = ir.IntType(out.dtype.bitwidth)
        steps = ir.Constant(ir.VectorType(word, lanes), list(range(lanes)))
        vector = builder.add(_splat(builder, _narrow(builder, start, word), lanes), steps)
        return _append(context, builder, vector, mask, out, out_, count)

    return types.intp(types.intp, mask, out, types.intp), generate


def _pointer(context, builder, array, values, start, lanes):
    if array.layout != "C":
        raise numba.errors.NumbaTypeError(f"{array} is not contiguous")
    word = ir.IntType(array.dtype.bitwidth)
    data = builder.bitcast(context.make_array(array)(context, builder, values).data, word.as_pointer())
    return builder.bitcast(builder.gep(data, [start]), ir.VectorType(word, lanes).as_pointer())


def _load(context, builder, array, values, start, lanes):
    return builder.load(_pointer(context, builder, array, values, start, lanes), align=array.dtype.bitwidth // 8)


def _narrow(builder, scalar, word):
    return scalar if scalar.type.width == word.width else builder.trunc(scalar, word)


def _splat(builder, scalar, lanes):
    vector = ir.VectorType(scalar.type, lanes)
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, first, ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes))


def _magnitudes(builder, bits):
    return builder.and_(bits, ir.Constant(bits.type, [(1 << bits.type.element.width - 1) - 1] * bits.type.count))


def _append(context, builder, vector, mask, out, out_, count):
    lanes, word = vector.type.count, ir.IntType(out.dtype.bitwidth)
    chosen = builder.bitcast(mask, ir.VectorType(ir.IntType(1), lanes))
    name = f"llvm.experimental.vector.compress.v{lanes}i{vector.type.element.width}"
    kind = ir.FunctionType(vector.type, (vector.type, chosen.type, vector.type))
    packed = builder.call(builder.module.declare_intrinsic(name, fnty=kind),
                          (vector, chosen, ir.Constant(vector.type, ir.Undefined)))
    if word.width > vector.type.element.width:
        packed = builder.zext(packed, ir.VectorType(word, lanes))
    builder.store(packed, _pointer(context, builder, out, out_, count, lanes), align=word.width // 8)
    kept = builder.ctpop(mask)
    return builder.add(count, builder.zext(kept, count.type))
