"""What compressors cost: bits on the wire and nanoseconds of one core, a coordinate of a Gaussian vector.

    python jobs/benchmarks/compressors.py [qsgd:4 topk:0.01 ...] [--dim 1000000] [--workers 8] [--float32]

Columns: model bits; one worker's vector encoded; one message decoded and added; all workers' messages added, for one of
them.  Times are of the thread's CPU, all compressors in turn, medians of nine turns.
"""

import argparse
import statistics
import time

import numpy as np

from mpimasha.compressors import parse
from mpimasha.compressors.base import message
from mpimasha.linear import Linear
from mpimasha.randomness import Stream
from mpimasha.show.tables import text

USUAL = ("qsgd:4", "absmax:1", "absmax:7", "natural", "natural32", "dither:8", "dither:4", "float:16",
         "float:16,random", "randk:0.01", "randk:0.01,sampling=stratified32", "topk:0.01", "topk:0.1")
TURNS = 9


def steps(name, n, workers, dtype):
    """(bits a coordinate, [encode, decode, decode all]) of one compressor."""
    compressor, _ = parse(name)
    compressor = compressor.bind(n, workers, dtype, Stream(0, "test"))
    vectors = [Linear.of(np.random.default_rng(worker).standard_normal(n).astype(dtype)) for worker in range(workers)]
    messages, out = [message(compressor.fields()) for _ in vectors], np.zeros(n, dtype)
    for worker, (x, sent) in enumerate(zip(vectors, messages)):
        compressor.encode(x, sent, worker, 0)
    return compressor.bits / n, [lambda: compressor.encode(vectors[0], messages[0], 0, 0),
                                 lambda: compressor.decode(messages[0], 0, 0, 1.0, out),
                                 lambda: compressor.decode_all(messages, 0, 1.0, out)]


def seconds(step):
    start = time.thread_time()
    step()
    return time.thread_time() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("compressors", nargs="*", default=USUAL)
    parser.add_argument("--dim", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--float32", action="store_true", help="of vectors and wire")
    options = parser.parse_args()
    dtype = np.float32 if options.float32 else np.float64
    cases = {name: steps(name, options.dim, options.workers, dtype) for name in options.compressors}
    times = {name: [[], [], []] for name in cases}
    for _ in range(TURNS + 1):  # the first compiles
        for name, (_, three) in cases.items():
            for found, step in zip(times[name], three):
                found.append(seconds(step))
    rows = []
    for name, (bits, _) in cases.items():
        encode, decode, together = (1e9 / options.dim * statistics.median(found[1:]) for found in times[name])
        rows.append([name, f"{bits:.2f}", f"{encode:.2f}", f"{decode:.2f}", f"{together / options.workers:.2f}"])
    print(text(["compressor", "bits", "encode, ns", "decode, ns", f"of {options.workers}, ns"], rows))


if __name__ == "__main__":
    main()
