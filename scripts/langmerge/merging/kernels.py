"""The loops over weights, compiled by numba.

Weights come as bits, uint16 of bf16 or uint32 of fp32; outputs likewise. All arithmetic is fp32, as IEEE 754 has it: without fast-math nothing
is fused or reordered, so that the width of a machine's vector units does not show in the result. Sums over weights add halves of a tile to
each other, for the same reason (fold).

What makes these loops fast: a weight stays in a register from its bits to its bits, whatever is done to it. So that there is one loop for
all methods, what a call does not need (a base, a choice, a divisor) is None, which numba compiles out, and the loop over models, whose number is part
of their tuple's type, is unrolled. Integers are cast after every operation: numba makes 64 bits of 32, which would halve the vectors.

The machine code is kept beside this file (or, where that is read-only, in the user's cache), so that only the first merge on a machine waits
for the compiler. All kernels stand in this one file, since numba compiles again what is in a file that has changed, and only that. Import
this module with `from merging.lazy import kernels`: numba must cost a dry run nothing.
"""

from __future__ import annotations

import sys

import numpy as np

# numba imports SciPy, if it is installed, for linear algebra, of which there is none here: a tenth of a merge's time.
if "scipy" not in sys.modules:
    sys.modules["scipy"] = None
import numba
import numba.np.arraymath
from numba.extending import overload

if sys.modules["scipy"] is None:
    del sys.modules["scipy"]

u32, f32 = np.uint32, np.float32

TILE = 2048
MAGNITUDE = u32(0x7FFFFFFF)
NOT_FINITE = u32(0x7F800000)
"""Magnitudes from which on fp32 bits are infinity or NaN."""

kernel = numba.njit(nogil=True, cache=True, error_model="numpy")
inlined = numba.njit(nogil=True, error_model="numpy", forceinline=True)


# ---- reading

pread = numba.types.ExternalFunction(
    "pread", numba.types.intp(numba.types.intc, numba.types.uintp, numba.types.uintp, numba.types.int64)
)


@kernel
def read(files, offsets, length, stored):
    """Read runs of so many bytes, of each file (n,) those at its offsets (n, runs), one after the other into its row of `stored`, bytes.

    Returns whether all could be read at once; where not, nobody knows what is in `stored`. A call of compiled code for all: a thread that
    asks for Python's lock waits longer than a read takes.
    """
    for which in range(offsets.shape[0]):
        row = stored[which]
        for run in range(offsets.shape[1]):
            if pread(files[which], row[run * length :].ctypes.data, length, offsets[which, run]) != length:
                return False
    return True


# ---- a weight


def wide(bits):
    """The fp32 bits of a weight's bits."""


@overload(wide)
def _wide(bits):
    if bits == numba.types.uint16:
        return lambda bits: u32(u32(bits) << u32(16))
    return lambda bits: u32(bits)


def narrow(bits, like):
    """fp32 bits, rounded to the nearest even ones of the type of the array `like`."""


@overload(narrow)
def _narrow(bits, like):
    if like.dtype == numba.types.uint16:
        return lambda bits, like: u32(u32(bits + u32(u32(0x7FFF) + u32(u32(bits >> u32(16)) & u32(1)))) >> u32(16))
    return lambda bits, like: u32(bits)


@inlined
def fp32(bits):
    """The value of a weight's bits."""
    return u32(wide(bits)).view(np.float32)


@inlined
def magnitude(value):
    """The bits of a value's magnitude, which are ordered as magnitudes are."""
    return u32(f32(value).view(np.uint32) & MAGNITUDE)


@inlined
def store(value, bits, i, largest):
    """Round a value into bits[i]; returns the larger of its magnitude's bits and `largest`."""
    bits[i] = narrow(f32(value).view(np.uint32), bits)
    return larger(bits[i], largest)


@inlined
def larger(bits, largest):
    """The larger of a stored weight's magnitude's bits and `largest`."""
    return max(u32(wide(bits) & MAGNITUDE), largest)


@inlined
def difference(base, stored, i):
    """A weight of the task vector; without a base, of the model."""
    if base is None:
        return fp32(stored[i])
    return f32(fp32(stored[i]) - fp32(base[i]))


def choice(value, chosen):
    """A value if it is chosen, else 0; divided by what says so, unless that is a bool."""


@overload(choice)
def _choice(value, chosen):
    if chosen == numba.types.boolean:
        return lambda value, chosen: f32(value if chosen else f32(0))
    return lambda value, chosen: f32(f32(value / f32(chosen)) if chosen else f32(0))


@inlined
def scaled(base, model, i, by_key, by_choice):
    """A weight of the task vector, 0 if it is dropped, else over its divisor, if it has one, and times its factor; times the model's scale."""
    stored, scale, factor, low, span, chosen = model
    x = difference(base, stored, i)
    if by_key is not None:
        x = f32(x if u32(magnitude(x) - low) < span else f32(0))
    if by_choice is not None:
        x = choice(x, chosen[i])
    if by_key is not None or by_choice is not None:
        x = f32(factor * x)
    return f32(scale * x)


# ---- merging


@kernel
def combine(base, models, by_key, by_choice, divisor, move, bits):
    """Merge weights: theta_b + move * sum_i scale_i factor_i K_i(theta_i - theta_b) / divisor; without a base, None, theta_b is 0.

    Args:
        models: of each, (stored weights, scale, factor, low, span, chosen). K_i drops what has not a magnitude's bits from low on and below
            low + span, unless `by_key` is None, and what is not chosen, unless `by_choice` is None; without both, there is no factor.
        bits: (size,), filled with the result.

    Returns:
        The largest magnitude's bits of the sources, and of the result.
    """
    largest, result = u32(0), u32(0)
    for i in range(bits.size):
        total = f32(0)
        if base is not None:
            largest = larger(base[i], largest)
        for which in range(len(models)):
            model = models[which]
            largest = larger(model[0][i], largest)
            total += scaled(base, model, i, by_key, by_choice)
        if divisor is not None:
            total /= divisor
        if base is not None:
            total = f32(fp32(base[i]) + f32(move * total))
        result = store(total, bits, i, result)
    return largest, result


@kernel
def elect(base, models, by_key, by_choice, average, move, bits):
    """As `combine`, but of the summands of a weight, only those take part that have the sign of all their sum; over their scales' sum with `average`.

    A sum of 0 counts as positive; a summand of 0 agrees with neither sign.
    """
    largest, result = u32(0), u32(0)
    for i in range(bits.size):
        total, positive, negative, ups, downs = f32(0), f32(0), f32(0), f32(0), f32(0)
        if base is not None:
            largest = larger(base[i], largest)
        for which in range(len(models)):
            model = models[which]
            largest = larger(model[0][i], largest)
            x, scale = scaled(base, model, i, by_key, by_choice), model[1]
            total += x
            positive += x if x > 0 else f32(0)
            negative += x if x < 0 else f32(0)
            ups += scale if x > 0 else f32(0)
            downs += scale if x < 0 else f32(0)
        elected, scales = (positive, ups) if total >= 0 else (negative, downs)
        if average:
            elected /= scales if scales != 0 else f32(1)
        elected = f32(move * elected)
        if base is not None:
            elected = f32(fp32(base[i]) + elected)
        result = store(elected, bits, i, result)
    return largest, result


@kernel
def nearswap(base, other, t, bits):
    """theta_b + clamp(t / max(|tau|, 1e-6), 0, 1) tau; returns what `combine` does."""
    largest, result = u32(0), u32(0)
    for i in range(bits.size):
        largest = larger(base[i], larger(other[i], largest))
        b, x = fp32(base[i]), fp32(other[i])
        # t times a reciprocal, as torch divides: to mergekit's bit. Not b + share * (x - b): so that a share of 1 gives x to the bit.
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
def largest(stored):
    """The largest magnitude's bits."""
    found = u32(0)
    for i in range(stored.size):
        found = larger(stored[i], found)
    return found


# ---- sums over weights


@inlined
def part(stored, begin, end):
    """A tile of the weights, if there are any."""
    if stored is None:
        return None
    return stored[begin:end]


@kernel
def fill(base, stored, row):
    """Fill the row with a tile of a task vector, or without a base of a model; with 0 beyond its end."""
    for i in range(stored.size):
        row[i] = difference(base, stored, i)
    row[stored.size :] = 0


@kernel
def fold(terms, half):
    """Sum of the first 2 `half` terms, which are overwritten: halves are added to each other, in fp32, as any width of vector unit can; then fp64."""
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
    """Sum of a tile's products."""
    half = TILE // 2
    for i in range(half):
        terms[i] = f32(x[i] * y[i]) + f32(x[half + i] * y[half + i])
    return fold(terms, half // 2)


@kernel
def examine(base, models, merged, found):
    """Add up, for the base, each model's task vector, and the merged weights' difference from the base, in this order (n + 2, 3):

    squares; products with the first model's task vector; the number of weights in which the two have different signs.
    """
    count = len(models)
    rows, terms = np.empty((count + 2, TILE), np.float32), np.empty(TILE, np.float32)
    for begin in range(0, base.size, TILE):
        end = min(begin + TILE, base.size)
        fill(None, base[begin:end], rows[0])
        for which in range(count):
            fill(base[begin:end], models[which][begin:end], rows[which + 1])
        fill(None, merged[begin:end], rows[count + 1])
        for i in range(TILE):
            rows[count + 1, i] -= rows[0, i]
        for which in range(count + 2):
            x, first = rows[which], rows[1]
            found[which, 0] += dot(x, x, terms)
            found[which, 1] += dot(x, first, terms)
            found[which, 2] += conflicts(x, first)


@kernel
def conflicts(x, y):
    """In how many places the signs differ."""
    count = np.int32(0)
    for i in range(x.size):
        count += np.int32(x[i] * y[i] < 0)
    return count


@kernel
def products(base, models, found):
    """Add to `found` (n, n) the products of every two task vectors; without a base, None, of every two models."""
    count, size = len(models), models[0].size
    rows, terms = np.empty((count, TILE), np.float32), np.empty(TILE, np.float32)
    for begin in range(0, size, TILE):
        end = min(begin + TILE, size)
        for which in range(count):
            fill(part(base, begin, end), models[which][begin:end], rows[which])
        for which in range(count):
            for other in range(which + 1):
                product = dot(rows[which], rows[other], terms)
                found[which, other] += product
                if other < which:
                    found[other, which] += product


@kernel
def norms(base, stored, chosen):
    """Sums of a task vector's magnitudes: of all, and of those that are chosen."""
    keys, kept = np.empty(TILE, np.uint32), np.empty(TILE, np.uint32)
    before, after = 0.0, 0.0
    for begin in range(0, base.size, TILE):
        end = min(begin + TILE, base.size)
        fill_keys(base[begin:end], stored[begin:end], u32(0), keys[: end - begin])
        keys[end - begin :] = 0
        kept[:] = 0
        keep(keys, chosen[begin:end], kept)
        before += fold(keys.view(np.float32), TILE // 2)
        after += fold(kept.view(np.float32), TILE // 2)
    return before, after


@kernel
def keep(keys, chosen, kept):
    """Copy the keys that are chosen, 0 for the others."""
    for i in range(chosen.size):
        kept[i] = keys[i] if chosen[i] else u32(0)


# ---- order statistics of magnitudes


@kernel
def fill_keys(base, stored, flip, found):
    """Fill `found` with a task vector's keys, its magnitudes' bits xor `flip`."""
    for i in range(found.size):
        found[i] = u32(magnitude(difference(base, stored, i)) ^ flip)


@kernel
def count_upper(keys, table):
    """Add to `table` how many keys have each value of the upper 16 of their 31 bits."""
    for i in range(keys.size):
        table[keys[i] >> u32(15)] += 1


@kernel
def collect(base, models, searches, found, bits, below):
    """Find the weights of which some model's key is in a range that is searched, from low on and below low + span.

    Args:
        searches: (stored weights, flip, (low, span), another such range or None) of each model that is searched.
        found: (size + 8,), filled with their indices. bits: (models + 1, size), filled with their bits, the base's first.
        below: (searches, 2); the numbers of keys below each range are added.

    Returns:
        How many there are.
    """
    hits = np.empty(TILE, np.uint8)
    eights = hits.view(np.uint64)
    count = 0
    for begin in range(0, base.size, TILE):
        end = min(begin + TILE, base.size)
        hits[:] = 0
        for which in range(len(searches)):
            stored, flip, first, second = searches[which]
            belows = mark(base[begin:end], stored[begin:end], flip, first, second, hits)
            below[which, 0] += belows[0]
            below[which, 1] += belows[1]
        # Few are found: eights without any are passed over, and within the others nothing is to be guessed by the processor.
        for eight in range(eights.size):
            if eights[eight]:
                for i in range(eight * 8, eight * 8 + 8):
                    found[count] = begin + i
                    count += hits[i]
    for i in range(count):
        bits[0, i] = base[found[i]]
    for which_model in range(len(models)):
        stored = models[which_model]
        for i in range(count):
            bits[which_model + 1, i] = stored[found[i]]
    return count


@kernel
def mark(base, stored, flip, first, second, hits):
    """Mark the weights of which the key is in a range; returns how many are below each."""
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
def scatter(found, indices, start, stored):
    """stored[start + indices[i]] = found[i]"""
    for i in range(indices.size):
        stored[start + indices[i]] = found[i]


@kernel
def tally(keys, counts, low, span, step, table):
    """Add to table[(key - low) >> step] the counts of the keys from `low` on and below `low + span`; to its last place, those of all others.

    Without counts, None, each counts once.

    That place is beyond the others' last one, so that nothing is to be guessed by the processor.
    """
    others = table.size - 1
    for i in range(keys.size):
        place = u32(keys[i] - low)
        table[np.int64(u32(place >> step)) if place < span else others] += 1 if counts is None else counts[i]


# ---- random choices


@kernel
def philox(key0, key1, first, below, drawn):
    """Fill uint16 (n, 8, 256) with the lower and upper halves of the four Philox4x32-10 words of the counters from `first` * 256 on.

    Unless `below` is None: bool (n, 4, 256) with whether the words' upper 24 bits, as fp32 in [0, 1), are below it.
    """
    low = np.uint64(0xFFFFFFFF)
    for group in range(drawn.shape[0]):
        counter = np.uint64(first + group) * np.uint64(drawn.shape[2])
        for lane in range(drawn.shape[2]):
            place = counter + np.uint64(lane)
            a, b, c, d = place & low, place >> np.uint64(32), np.uint64(0), np.uint64(0)
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
def draw(word, below, drawn, which, lane):
    """Store what is drawn from the counter's `which`-th word."""
    if below is None:
        drawn[2 * which, lane] = u32(word)
        drawn[2 * which + 1, lane] = u32(u32(word) >> u32(16))
    else:
        drawn[which, lane] = f32(u32(word) >> u32(8)) * f32(2.0**-24) < below


BINS, BIN = 512, u32(18)
"""Magnitudes are ranked in so many bins, of so many bits: 32 to a power of two, from the largest magnitude of the row down."""


@kernel
def choose_by_rank(base, stored, numbers, row, low, step, chosen, sums):
    """Choose the weights of a task vector whose number is below low + step * (rank by magnitude in the row); equal ones share their mean rank.

    Args:
        numbers: (size,) uint16. low, step: in the same unit, 2^-16.
        row: length of a row; the size is a multiple of it.
        chosen: (size,) bool, filled; or uint16, filled with what the numbers were to be below, 0 where they are not.
        sums: (2,), to which what `norms` returns is added, unless it is None.
    """
    half = 8
    while 2 * half < row:
        half *= 2
    # Beyond the row they remain 0.
    keys, kept = np.zeros(2 * half, np.uint32), np.zeros(0 if sums is None else 2 * half, np.uint32)
    places, limits = np.empty(row, np.uint16), np.empty(row, np.uint16)
    # Four counts of each bin: what is counted next is often in the same one, and would have to wait for it.
    counts, starts, limit = np.empty((4, BINS), np.uint32), np.empty(BINS, np.uint32), np.empty(BINS, np.uint16)
    for begin in range(0, base.size, row):
        end = begin + row
        fill_keys(base[begin:end], stored[begin:end], u32(0), keys[:row])
        find_bins(keys[:row], places)
        counts[:] = 0
        count_bins(places, counts[0], counts[1], counts[2], counts[3])
        rank_bins(counts[0], counts[1], counts[2], counts[3], starts, low, step, limit)
        for i in range(row):
            limits[i] = limit[places[i]]
        choose(numbers[begin:end], limits, chosen[begin:end])
        if sums is not None:
            keep(keys, chosen[begin:end], kept)
            sums[0] += fold(keys.view(np.float32), half)
            sums[1] += fold(kept.view(np.float32), half)


@kernel
def choose(numbers, limits, chosen):
    """Choose what has a number below its limit, which is what is stored, unless only a bool can be."""
    for i in range(chosen.size):
        chosen[i] = limits[i] if numbers[i] < limits[i] else np.uint16(0)


@kernel
def find_bins(keys, places):
    """The bin of each key; the first has all smaller ones, too."""
    largest = u32(0)
    for i in range(keys.size):
        largest = max(largest, keys[i])
    lowest = u32(max(np.int64(largest >> BIN) - (BINS - 1), 0))
    for i in range(keys.size):
        places[i] = u32(max(u32(keys[i] >> BIN), lowest) - lowest)


@kernel
def count_bins(places, a, b, c, d):
    """Count how often each bin occurs, every fourth time in the same array."""
    fours = places.size // 4 * 4
    for i in range(0, fours, 4):
        a[places[i]] += u32(1)
        b[places[i + 1]] += u32(1)
        c[places[i + 2]] += u32(1)
        d[places[i + 3]] += u32(1)
    for i in range(fours, places.size):
        a[places[i]] += u32(1)


@kernel
def rank_bins(a, b, c, d, starts, low, step, limit):
    """low + step * (mean rank) for each bin, to the nearest integer."""
    for i in range(BINS):
        a[i] = u32(u32(a[i] + b[i]) + u32(c[i] + d[i]))
    first = u32(0)
    for i in range(BINS):
        starts[i] = first
        first = u32(first + a[i])
    for i in range(BINS):
        mean = f32(f32(starts[i]) + f32(f32(0.5) * f32(f32(a[i]) - f32(1))))
        limit[i] = u32(min(f32(f32(low + f32(step * mean)) + f32(0.5)), f32(65535)))
