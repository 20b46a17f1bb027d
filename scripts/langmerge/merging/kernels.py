"""The loops over weights, compiled by numba.

Shapes: `C` weights of a chunk, `M` models without the base, `S` sources, `W` windows of a sample,
`T` = TILE weights of a tile, `R` length of a row.

Weights come as bits, uint16 for bf16 or uint32 for fp32, and results are bits, too. All arithmetic
is fp32 as in IEEE 754: without fast-math nothing is fused or reordered, so that the result does not
depend on the width of a machine's vector units. For the same reason, sums over weights add the
halves of a tile to each other (fold).

What makes these loops fast: a weight stays in a register from its stored bits to its merged bits,
whatever is done to it. There is one loop for all methods, because whatever a call does not need (a
base, a mask, a divisor) is None, which numba compiles out, and the loop over models, whose number
is part of the type of their tuple, is unrolled. Integers are cast after every operation, because
numba makes 64 bits of 32, which would halve the vectors.

The machine code is stored beside this file (or in the user's cache, where that is read-only), so
that only the first merge on a machine waits for the compiler. All kernels are in this one file,
because numba compiles again what is in a file that has changed, and only that. Import this module
with `from langmerge.merging.lazy import kernels`, so that numba costs a dry run nothing.
"""

from __future__ import annotations

import sys

import numpy as np

# numba imports SciPy, if it is installed, for linear algebra, which these kernels do not use: a
# tenth of a small merge's time.
if "scipy" not in sys.modules:
    sys.modules["scipy"] = None
import numba
import numba.np.arraymath
from numba.core.caching import FunctionCache
from numba.extending import overload

if sys.modules["scipy"] is None:
    del sys.modules["scipy"]

u32, f32 = np.uint32, np.float32

TILE = 2048
MAGNITUDE = u32(0x7FFFFFFF)
NOT_FINITE = u32(0x7F800000)
"""From this magnitude on, fp32 bits are infinity or NaN."""

CACHED = True
"""Whether compiled kernels are kept for the next process."""


class Cache(FunctionCache):
    """numba's files of compiled kernels, which are not written to a disk that is full."""

    def save_overload(self, sig, data):
        global CACHED
        try:
            super().save_overload(sig, data)
        except OSError:
            CACHED = False


def kernel(function):
    """Compile a function, and keep what is compiled where there is a place for it."""
    global CACHED
    dispatcher = numba.njit(nogil=True, error_model="numpy")(function)
    try:
        dispatcher._cache = Cache(function)
    except RuntimeError:  # neither this folder nor the user's cache can be written
        CACHED = False
    return dispatcher


inlined = numba.njit(nogil=True, error_model="numpy", forceinline=True)


# ---- reading

pread = numba.types.ExternalFunction(
    "pread", numba.types.intp(numba.types.intc, numba.types.uintp, numba.types.uintp, numba.types.int64)
)


@kernel
def read(files, offsets, length, stored):
    """Read windows of files into memory, in one call of compiled code.

    One call for all sources, because a thread that asks for Python's lock waits longer than a read
    takes.

    Args:
        files: (S,) descriptors.
        offsets: (S, W) of the windows in each file, in bytes.
        length: of a window, in bytes.
        stored: (S, W length) bytes, filled.

    Returns:
        Whether each window could be read with one call; if not, the content of `stored` is
        undefined.
    """
    for source in range(offsets.shape[0]):
        row = stored[source]
        for window in range(offsets.shape[1]):
            if pread(files[source], row[window * length :].ctypes.data, length, offsets[source, window]) != length:
                return False
    return True


# ---- one weight


def wide(bits):
    """The fp32 bits of a stored weight."""


@overload(wide)
def _wide(bits):
    if bits == numba.types.uint16:
        return lambda bits: u32(u32(bits) << u32(16))
    return lambda bits: u32(bits)


def narrow(bits, like):
    """fp32 bits, rounded to nearest even in the type of the array `like`."""


@overload(narrow)
def _narrow(bits, like):
    if like.dtype == numba.types.uint16:
        return lambda bits, like: u32(u32(bits + u32(u32(0x7FFF) + u32(u32(bits >> u32(16)) & u32(1)))) >> u32(16))
    return lambda bits, like: u32(bits)


@inlined
def fp32(bits):
    """The value of a stored weight."""
    return u32(wide(bits)).view(np.float32)


@inlined
def magnitude(value):
    """The bits of a value's magnitude, which have the order of magnitudes."""
    return u32(f32(value).view(np.uint32) & MAGNITUDE)


@inlined
def store(value, bits, i, largest):
    """Round a value into bits[i]; returns the larger of `largest` and the bits of its magnitude."""
    bits[i] = narrow(f32(value).view(np.uint32), bits)
    return larger(bits[i], largest)


@inlined
def larger(bits, largest):
    """The larger of `largest` and the bits of a stored weight's magnitude."""
    return max(u32(wide(bits) & MAGNITUDE), largest)


@inlined
def difference(base, stored, i):
    """Weight i of the task vector, or of the model without a base."""
    if base is None:
        return fp32(stored[i])
    return f32(fp32(stored[i]) - fp32(base[i]))


def masked(value, mask):
    """A value, or 0 where the mask is 0; divided by the mask unless that is a bool."""


@overload(masked)
def _masked(value, mask):
    if mask == numba.types.boolean:
        return lambda value, mask: f32(value if mask else f32(0))
    return lambda value, mask: f32(f32(value / f32(mask)) if mask else f32(0))


@inlined
def term(base, model, i, by_key, by_mask):
    """A model's term w_i x_i for one weight, x_i being pruned (see `combine`)."""
    stored, scale, factor, low, span, mask = model
    x = difference(base, stored, i)
    if by_key is not None:
        x = f32(x if u32(magnitude(x) - low) < span else f32(0))
    if by_mask is not None:
        x = masked(x, mask[i])
    if by_key is not None or by_mask is not None:
        x = f32(factor * x)
    return f32(scale * x)


# ---- merging


@kernel
def combine(base, models, by_key, by_mask, divisor, scale, bits):
    """Merge a chunk: theta_b + scale * sum_i w_i f_i P_i(theta_i - theta_b) / divisor.

    Without a base (None), theta_b is 0.

    Args:
        base: (C,) stored weights, or None.
        models: for each, (stored weights (C,), w, f, low, span, mask (C,)). P_i drops magnitudes
            whose bits are not in [low, low + span), unless `by_key` is None, and weights whose mask
            is 0, unless `by_mask` is None; other weights are divided by the mask if it is uint16.
            If both are None, f is not used.
        bits: (C,) filled with the result.

    Returns:
        The bits of the largest magnitude in the sources, and in the result.
    """
    largest, result = u32(0), u32(0)
    for i in range(bits.size):
        total = f32(0)
        if base is not None:
            largest = larger(base[i], largest)
        for m in range(len(models)):
            model = models[m]
            largest = larger(model[0][i], largest)
            total += term(base, model, i, by_key, by_mask)
        if divisor is not None:
            total /= divisor
        if base is not None:
            total = f32(fp32(base[i]) + f32(scale * total))
        result = store(total, bits, i, result)
    return largest, result


@kernel
def elect(base, models, by_key, by_mask, average, scale, bits):
    """As `combine`, but a sum has only the terms with the sign of the sum of all terms.

    It is divided by the sum of their w with `average`. A sum of 0 counts as positive; a term of 0
    has neither sign.
    """
    largest, result = u32(0), u32(0)
    for i in range(bits.size):
        total, positive, negative, ups, downs = f32(0), f32(0), f32(0), f32(0), f32(0)
        if base is not None:
            largest = larger(base[i], largest)
        for m in range(len(models)):
            model = models[m]
            largest = larger(model[0][i], largest)
            x, w = term(base, model, i, by_key, by_mask), model[1]
            total += x
            positive += x if x > 0 else f32(0)
            negative += x if x < 0 else f32(0)
            ups += w if x > 0 else f32(0)
            downs += w if x < 0 else f32(0)
        elected, weights = (positive, ups) if total >= 0 else (negative, downs)
        if average:
            elected /= weights if weights != 0 else f32(1)
        elected = f32(scale * elected)
        if base is not None:
            elected = f32(fp32(base[i]) + elected)
        result = store(elected, bits, i, result)
    return largest, result


@kernel
def nearswap(base, other, t, bits):
    """theta_b + clamp(t / max(|tau|, 1e-6), 0, 1) tau, all (C,); returns what `combine` does."""
    largest, result = u32(0), u32(0)
    for i in range(bits.size):
        largest = larger(base[i], larger(other[i], largest))
        b, x = fp32(base[i]), fp32(other[i])
        # t times a reciprocal, because torch divides like that: equal to mergekit bit by bit. And
        # not b + share * (x - b): a share of 1 gives exactly x.
        share = f32(min(f32(f32(f32(1) / max(abs(f32(x - b)), f32(1e-6))) * t), f32(1)))
        result = store(f32(f32(share * x) + f32(f32(f32(1) - share) * b)), bits, i, result)
    return largest, result


@kernel
def convert(stored, bits):
    """Round weights to another type; returns what `combine` does."""
    largest, result = u32(0), u32(0)
    for i in range(bits.size):
        largest = larger(stored[i], largest)
        result = store(fp32(stored[i]), bits, i, result)
    return largest, result


@kernel
def add_product(left, right, scale, first, values):
    """Add scale times the product of two factors, (R, r) and (r, K), to weights of a matrix (R, K).

    Each product is summed in fp64, in the order of r, so that it does not depend on the window.

    Args:
        first: the index in the matrix of the first weight.
        values: fp32 (L,), consecutive weights; overwritten.
    """
    rank, width = right.shape
    sums = np.empty(width, np.float64)
    row, begin, done = first // width, first % width, 0
    while done < values.size:
        end = min(width, begin + values.size - done)
        sums[begin:end] = 0
        for k in range(rank):
            factor = np.float64(left[row, k])
            for i in range(begin, end):
                sums[i] += factor * np.float64(right[k, i])
        for i in range(begin, end):
            values[done + i - begin] += f32(scale * sums[i])
        done += end - begin
        row, begin = row + 1, 0


@kernel
def largest(stored):
    """The bits of the largest magnitude."""
    result = u32(0)
    for i in range(stored.size):
        result = larger(stored[i], result)
    return result


# ---- sums over weights


@inlined
def tile(stored, begin, end):
    """A tile of an array, None of None."""
    if stored is None:
        return None
    return stored[begin:end]


@kernel
def fill(base, stored, row):
    """Fill a row (T,) with a tile of a task vector, or without a base of a model; then with 0."""
    for i in range(stored.size):
        row[i] = difference(base, stored, i)
    row[stored.size :] = 0


@kernel
def fold(terms, half):
    """The sum of the first 2 `half` terms, which are overwritten.

    Halves are added to each other in fp32, which vector units of any width do alike; the last 16
    sums in fp64.
    """
    while half >= 16:
        for i in range(half):
            terms[i] += terms[half + i]
        half //= 2
    total = 0.0
    for i in range(16):
        total += np.float64(terms[i])
    return total


@kernel
def dot(x, y, terms):
    """The sum of the products of two tiles (T,)."""
    half = TILE // 2
    for i in range(half):
        terms[i] = f32(x[i] * y[i]) + f32(x[half + i] * y[half + i])
    return fold(terms, half // 2)


@kernel
def examine(base, models, merged, sums):
    """Add up statistics of the base, of each task vector, and of the merge's difference from it.

    Args:
        base, merged: (C,). models: M arrays (C,).
        sums: (M + 2, 3), to which is added, in this order: squares; products with the first model's
            task vector; the number of weights in which these two have different signs.
    """
    count = len(models)
    rows, terms = np.empty((count + 2, TILE), np.float32), np.empty(TILE, np.float32)
    for begin in range(0, base.size, TILE):
        end = min(begin + TILE, base.size)
        fill(None, base[begin:end], rows[0])
        for m in range(count):
            fill(base[begin:end], models[m][begin:end], rows[m + 1])
        fill(None, merged[begin:end], rows[count + 1])
        for i in range(TILE):
            rows[count + 1, i] -= rows[0, i]
        for row in range(count + 2):
            x, first = rows[row], rows[1]
            sums[row, 0] += dot(x, x, terms)
            sums[row, 1] += dot(x, first, terms)
            sums[row, 2] += conflicts(x, first)


@kernel
def conflicts(x, y):
    """The number of weights in which the signs differ."""
    count = np.int32(0)
    for i in range(x.size):
        count += np.int32(x[i] * y[i] < 0)
    return count


@kernel
def products(base, models, sums):
    """Add to `sums` (M, M) the products of every two task vectors, or without a base, models."""
    count, size = len(models), models[0].size
    rows, terms = np.empty((count, TILE), np.float32), np.empty(TILE, np.float32)
    for begin in range(0, size, TILE):
        end = min(begin + TILE, size)
        for m in range(count):
            fill(tile(base, begin, end), models[m][begin:end], rows[m])
        for m in range(count):
            for other in range(m + 1):
                product = dot(rows[m], rows[other], terms)
                sums[m, other] += product
                if other < m:
                    sums[other, m] += product


@kernel
def norms(base, stored, mask):
    """L1 norms of a task vector (C,), and of the weights that a mask (C,) keeps of it."""
    keys, kept = np.empty(TILE, np.uint32), np.empty(TILE, np.uint32)
    before, after = 0.0, 0.0
    for begin in range(0, base.size, TILE):
        end = min(begin + TILE, base.size)
        fill_keys(base[begin:end], stored[begin:end], u32(0), keys[: end - begin])
        keys[end - begin :] = 0
        kept[:] = 0
        keep(keys, mask[begin:end], kept)
        before += fold(keys.view(np.float32), TILE // 2)
        after += fold(kept.view(np.float32), TILE // 2)
    return before, after


@kernel
def keep(keys, mask, kept):
    """Copy the keys that a mask keeps, 0 for the others."""
    for i in range(mask.size):
        kept[i] = keys[i] if mask[i] else u32(0)


# ---- order statistics of magnitudes


@kernel
def fill_keys(base, stored, flip, keys):
    """Fill `keys` (C,) with a task vector's keys, the bits of its magnitudes xor `flip`."""
    for i in range(keys.size):
        keys[i] = u32(magnitude(difference(base, stored, i)) ^ flip)


@kernel
def count_upper(keys, histogram):
    """Add to a histogram (2^16,) how many keys have each value of the upper 16 of their 31 bits."""
    for i in range(keys.size):
        histogram[keys[i] >> u32(15)] += 1


@kernel
def collect(base, models, searches, indices, bits, below):
    """Find the weights whose key is in a search range of some model, [low, low + span).

    Args:
        searches: for each model that is searched, (stored weights (C,), flip, (low, span), a second
            range or None).
        indices: (C + 8,), filled with the indices of the weights.
        bits: (M + 1, C), filled with the weights of the base and of all models there.
        below: (searches, 2), to which the numbers of keys below each range are added.

    Returns:
        How many weights there are.
    """
    hits = np.empty(TILE, np.uint8)
    eights = hits.view(np.uint64)
    count = 0
    for begin in range(0, base.size, TILE):
        end = min(begin + TILE, base.size)
        hits[:] = 0
        for search in range(len(searches)):
            stored, flip, first, second = searches[search]
            belows = mark(base[begin:end], stored[begin:end], flip, first, second, hits)
            below[search, 0] += belows[0]
            below[search, 1] += belows[1]
        # Hits are rare: eight weights without one are skipped at once, and within the others there
        # is no branch for the processor to mispredict.
        for eight in range(eights.size):
            if eights[eight]:
                for i in range(eight * 8, eight * 8 + 8):
                    indices[count] = begin + i
                    count += hits[i]
    for i in range(count):
        bits[0, i] = base[indices[i]]
    for m in range(len(models)):
        stored = models[m]
        for i in range(count):
            bits[m + 1, i] = stored[indices[i]]
    return count


@kernel
def mark(base, stored, flip, first, second, hits):
    """Mark the weights of a tile with keys in one of two ranges; returns how many are below
    each."""
    below, below_second = np.int32(0), np.int32(0)
    for i in range(stored.size):
        key = u32(magnitude(difference(base, stored, i)) ^ flip)
        low, span = first
        below += np.int32(key < low)
        hit = np.uint8(u32(key - low) < span)
        if second is not None:
            low, span = second
            below_second += np.int32(key < low)
            hit |= np.uint8(u32(key - low) < span)
        hits[i] |= hit
    return below, below_second


@kernel
def scatter(weights, indices, start, bits):
    """bits[start + indices[i]] = weights[i]"""
    for i in range(indices.size):
        bits[start + indices[i]] = weights[i]


@kernel
def tally(keys, counts, low, span, step, histogram):
    """Add the counts of the keys in [low, low + span) to histogram[(key - low) >> step].

    Those of all other keys are added to its end. Without counts, None, each key counts once.
    Counting the others, too, avoids a branch that the processor mispredicts.
    """
    others = histogram.size - 1
    for i in range(keys.size):
        offset = u32(keys[i] - low)
        histogram[np.int64(u32(offset >> step)) if offset < span else others] += 1 if counts is None else counts[i]


# ---- random masks


@kernel
def philox(key0, key1, first, below, drawn):
    """Draw from the counters from `first` * 256 on, four Philox4x32-10 words from each.

    Args:
        drawn: uint16 (n, 8, 256), filled with the lower and upper halves of the words; or, unless
            `below` is None, bool (n, 4, 256), filled with whether their upper 24 bits, as fp32 in
            [0, 1), are below it.
    """
    low = np.uint64(0xFFFFFFFF)
    for group in range(drawn.shape[0]):
        counter = np.uint64(first + group) * np.uint64(drawn.shape[2])
        for lane in range(drawn.shape[2]):
            own = counter + np.uint64(lane)
            a, b, c, d = own & low, own >> np.uint64(32), np.uint64(0), np.uint64(0)
            k, m = np.uint64(key0), np.uint64(key1)
            for _ in range(10):
                p, q = np.uint64(0xD2511F53) * a, np.uint64(0xCD9E8D57) * c
                a, b, c, d = (q >> np.uint64(32)) ^ b ^ k, q & low, (p >> np.uint64(32)) ^ d ^ m, p & low
                k, m = (k + np.uint64(0x9E3779B9)) & low, (m + np.uint64(0xBB67AE85)) & low
            draw(a, below, drawn[group], 0, lane)
            draw(b, below, drawn[group], 1, lane)
            draw(c, below, drawn[group], 2, lane)
            draw(d, below, drawn[group], 3, lane)


@inlined
def draw(word, below, drawn, index, lane):
    """Store what is drawn from a counter's word with this index."""
    if below is None:
        drawn[2 * index, lane] = u32(word)
        drawn[2 * index + 1, lane] = u32(u32(word) >> u32(16))
    else:
        drawn[index, lane] = f32(u32(word) >> u32(8)) * f32(2.0**-24) < below


BINS, BIN = 512, u32(18)
"""Magnitudes are ranked in 512 bins, 32 for each power of two, from the largest magnitude of the
row down; the first bin also has all smaller ones. BIN is the lowest bit that tells bins apart."""


@kernel
def choose_by_rank(base, stored, numbers, row, low, step, mask, sums):
    """Keep the weights of a task vector whose number is below low + step * rank.

    The rank is by magnitude in the row; weights in one bin share their mean rank.

    Args:
        base, stored: (C,); C is a multiple of `row`, the length of a row.
        numbers: (C,) uint16. low, step: in the same unit, 2^-16.
        mask: (C,) bool, filled; or uint16, filled with what the numbers were to be below, 0 where
            they are not.
        sums: (2,), to which the L1 norms before and after pruning are added, unless it is None.
    """
    half = 8
    while 2 * half < row:
        half *= 2
    # Beyond the row they remain 0.
    keys, kept = np.zeros(2 * half, np.uint32), np.zeros(0 if sums is None else 2 * half, np.uint32)
    bins, limits = np.empty(row, np.uint16), np.empty(row, np.uint16)
    # Four counters for each bin: consecutive weights are often in the same bin, and would wait for
    # each other.
    counts, starts, limit = np.empty((4, BINS), np.uint32), np.empty(BINS, np.uint32), np.empty(BINS, np.uint16)
    for begin in range(0, base.size, row):
        end = begin + row
        fill_keys(base[begin:end], stored[begin:end], u32(0), keys[:row])
        find_bins(keys[:row], bins)
        counts[:] = 0
        count_bins(bins, counts[0], counts[1], counts[2], counts[3])
        rank_bins(counts[0], counts[1], counts[2], counts[3], starts, low, step, limit)
        for i in range(row):
            limits[i] = limit[bins[i]]
        choose(numbers[begin:end], limits, mask[begin:end])
        if sums is not None:
            keep(keys, mask[begin:end], kept)
            sums[0] += fold(keys.view(np.float32), half)
            sums[1] += fold(kept.view(np.float32), half)


@kernel
def choose(numbers, limits, mask):
    """Keep the weights with a number below their limit, which a mask that is not bool gets."""
    for i in range(mask.size):
        mask[i] = limits[i] if numbers[i] < limits[i] else np.uint16(0)


@kernel
def find_bins(keys, bins):
    """The bin of each key, (R,)."""
    largest = u32(0)
    for i in range(keys.size):
        largest = max(largest, keys[i])
    lowest = u32(max(np.int64(largest >> BIN) - (BINS - 1), 0))
    for i in range(keys.size):
        bins[i] = u32(max(u32(keys[i] >> BIN), lowest) - lowest)


@kernel
def count_bins(bins, a, b, c, d):
    """Count how often each bin occurs, into four arrays (BINS,) by turns."""
    fours = bins.size // 4 * 4
    for i in range(0, fours, 4):
        a[bins[i]] += u32(1)
        b[bins[i + 1]] += u32(1)
        c[bins[i + 2]] += u32(1)
        d[bins[i + 3]] += u32(1)
    for i in range(fours, bins.size):
        a[bins[i]] += u32(1)


@kernel
def rank_bins(a, b, c, d, starts, low, step, limit):
    """low + step * (mean rank) for each bin (BINS,), rounded; `a` to `d` add up to its count."""
    for i in range(BINS):
        a[i] = u32(u32(a[i] + b[i]) + u32(c[i] + d[i]))
    first = u32(0)
    for i in range(BINS):
        starts[i] = first
        first = u32(first + a[i])
    for i in range(BINS):
        mean = f32(f32(starts[i]) + f32(f32(0.5) * f32(f32(a[i]) - f32(1))))
        limit[i] = u32(min(f32(f32(low + f32(step * mean)) + f32(0.5)), f32(65535)))
