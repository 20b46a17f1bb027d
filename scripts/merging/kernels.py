"""The loops over weights, compiled by numba: everything that is done to a tile of some thousand weights while it is in a core's nearest cache.

Weights come as bits, uint16 of bf16 or uint32 of fp32, together with the `shift` (16 or 0) that makes fp32 bits of them; outputs likewise.
All arithmetic is fp32, as IEEE 754 has it: without fast-math nothing is fused or reordered, so that the width of a machine's vector units does
not show in the result. Sums over weights add halves of a tile to each other, for the same reason (fold).

The machine code is kept beside this file (or, where that is read-only, in the user's cache), so that only the first merge on a machine waits
for the compiler. All kernels stand in this one file, since numba compiles again what is in a file that has changed, and only that. Import
this module with `from merging.lazy import kernels`: numba must cost a dry run nothing.
"""

from __future__ import annotations

import numba
import numpy as np

TILE = 2048
MAGNITUDE = np.uint32(0x7FFFFFFF)
NOT_FINITE = np.uint32(0x7F800000)

kernel = numba.njit(nogil=True, cache=True, error_model="numpy")


@kernel
def widen(bits, shift, tile):
    """fp32 bits of weights; returns the largest exponent's."""
    largest = np.uint32(0)
    for i in range(bits.size):
        wide = np.uint32(bits[i]) << shift
        tile[i] = wide
        largest = max(largest, wide & NOT_FINITE)
    return largest


@kernel
def narrow(tile, shift, bits):
    """Bits of weights, rounded to the nearest even ones; returns the largest exponent's."""
    largest = np.uint32(0)
    for i in range(bits.size):
        wide = tile[i]
        if shift != 0:
            wide = (wide + np.uint32(0x7FFF) + ((wide >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16) << np.uint32(16)
        bits[i] = wide >> shift
        largest = max(largest, wide & NOT_FINITE)
    return largest


@kernel
def read_task_vector(base, model, shift, base_tile, tile):
    """The fp32 bits of tau = theta - theta_b."""
    widen(base, shift, base_tile)
    widen(model, shift, tile)
    x, b = tile.view(np.float32), base_tile.view(np.float32)
    for i in range(base.size):
        x[i] -= b[i]


@kernel
def combine(base, models, shift, kept, scales, divisor, elect, average, move, bits, out_shift):
    """Merge weights: theta_b + move * C(K_i(theta_i - theta_b)); without a base, C(theta_i).

    C is sum_i scale_i x_i / divisor; or, with `elect`, the sum of those scale_i x_i that have its sign, with `average` over their scales' sum.

    Args:
        base: (size,), or (0,) for none. models: (n, size). scales: (n,).
        kept: K_i, the fields of merged.Kept.
        bits: (size,), filled with the result.

    Returns:
        -1; or the first source (the base being 0) with a weight that is not finite; or their number if a merged weight is not.
    """
    count, size = models.shape
    flips, lows, highs, masks, factors = kept
    has_base = base.size > 0
    base_bits, total_bits, rows_bits = np.zeros(TILE, np.uint32), np.zeros(TILE, np.uint32), np.zeros((count, TILE), np.uint32)
    b, total, rows = base_bits.view(np.float32), total_bits.view(np.float32), rows_bits.view(np.float32)
    for begin in range(0, size, TILE):
        end = min(begin + TILE, size)
        n = end - begin
        broken = read(base[begin:end], models, begin, n, shift, base_bits, rows_bits)
        if broken >= 0:
            return broken
        for which in range(factors.size):
            keep_keys(rows_bits[which], n, flips[which], lows[which], highs[which])
            if masks.shape[1] > 0:
                keep_masked(rows_bits[which], n, masks[which], begin)
            if factors[which] != 1:
                x = rows[which]
                for i in range(n):
                    x[i] *= factors[which]
        if elect:
            add_elected(rows, n, scales, average, total)
        else:
            add(rows, n, scales, divisor, total)
        if has_base:
            for i in range(n):
                total[i] = b[i] + move * total[i]
        if narrow(total_bits, out_shift, bits[begin:end]) >= NOT_FINITE:
            return count + has_base
    return -1


@kernel
def read(base, models, begin, n, shift, base_bits, rows_bits):
    """Fill rows with a tile of the task vectors, or without a base, (0,), of the models; return the first source that is not finite, or -1."""
    has_base = base.size > 0
    if has_base and widen(base, shift, base_bits) >= NOT_FINITE:
        return 0
    b = base_bits.view(np.float32)
    for which in range(models.shape[0]):
        if widen(models[which, begin : begin + n], shift, rows_bits[which]) >= NOT_FINITE:
            return which + has_base
        if has_base:
            x = rows_bits[which].view(np.float32)
            for i in range(n):
                x[i] -= b[i]
    return -1


@kernel
def add(rows, n, scales, divisor, total):
    """sum_i scale_i x_i / divisor"""
    total[:n] = 0
    for which in range(rows.shape[0]):
        x, scale = rows[which], scales[which]
        for i in range(n):
            total[i] += scale * x[i]
    if divisor != 1:
        for i in range(n):
            total[i] /= divisor


@kernel
def add_elected(rows, n, scales, average, total):
    """The sum of the scale_i x_i that have the sign of all their sum, over the sum of their scales with `average`.

    A sum of 0 counts as positive; an x_i of 0 agrees with neither sign.
    """
    signs, weights = np.zeros(TILE, np.float32), np.zeros(TILE, np.float32)
    for which in range(rows.shape[0]):
        x, scale = rows[which], scales[which]
        for i in range(n):
            signs[i] += scale * x[i]
    total[:n] = 0
    for which in range(rows.shape[0]):
        x, scale = rows[which], scales[which]
        for i in range(n):
            value = scale * x[i]
            agrees = ((value > 0) == (signs[i] >= 0)) and value != 0
            total[i] += value if agrees else np.float32(0)
            weights[i] += scale if agrees else np.float32(0)
    if average:
        for i in range(n):
            total[i] /= weights[i] if weights[i] != 0 else np.float32(1)


@kernel
def keep_keys(bits, n, flip, low, high):
    """Set to 0 what has a key, its magnitude's bits xor `flip`, below `low` or not below `high`."""
    for i in range(n):
        key = (bits[i] & MAGNITUDE) ^ flip
        bits[i] = bits[i] if low <= key < high else np.uint32(0)


@kernel
def keep_masked(bits, n, mask, begin):
    """Set to 0 what has no bit in the mask (numpy.packbits', little), whose bit `begin` is the first one's; `begin` is a multiple of 8."""
    for byte in range((n + 7) // 8):
        choice = np.uint32(mask[begin // 8 + byte])
        for bit in range(8):
            bits[byte * 8 + bit] &= np.uint32(0) - ((choice >> np.uint32(bit)) & np.uint32(1))


# ---- sums over weights


@kernel
def dot(x, y, n):
    """Sum of a tile's products."""
    terms = np.zeros(TILE, np.float32)
    for i in range(n):
        terms[i] = x[i] * y[i]
    return fold(terms)


@kernel
def fold(terms):
    """Sum of a tile, which is overwritten: halves are added to each other, in fp32, as any width of vector unit can; then fp64."""
    half = TILE // 2
    while half >= 16:
        for i in range(half):
            terms[i] += terms[half + i]
        half //= 2
    total = 0.0
    for i in range(16):
        total += np.float64(terms[i])
    return total


@kernel
def examine(base, models, shift, merged, merged_shift, found):
    """Add up, for the base, each model's task vector, and the merged weights' difference from the base, in this order (n + 2, 3):

    squares; products with the first model's task vector; the number of weights in which the two have different signs.
    """
    count, size = models.shape
    base_bits, rows_bits = np.zeros(TILE, np.uint32), np.zeros((count + 2, TILE), np.uint32)
    rows = rows_bits.view(np.float32)
    for begin in range(0, size, TILE):
        end = min(begin + TILE, size)
        n = end - begin
        read(base[begin:end], models, begin, n, shift, base_bits, rows_bits[1:])
        widen(merged[begin:end], merged_shift, rows_bits[count + 1])
        b, first = base_bits.view(np.float32), rows[1]
        for i in range(n):
            rows[0, i] = b[i]
            rows[count + 1, i] -= b[i]
        for which in range(count + 2):
            x = rows[which]
            found[which, 0] += dot(x, x, n)
            found[which, 1] += dot(x, first, n)
            conflicts = np.int32(0)
            for i in range(n):
                conflicts += np.int32(x[i] * first[i] < 0)
            found[which, 2] += conflicts


@kernel
def products(base, models, shift, found):
    """Add to `found` (n, n) the products of every two task vectors; without a base (0,), of every two models.

    Returns -1, or the first source (the base being 0) with a weight that is not finite.
    """
    count, size = models.shape
    base_bits, rows_bits = np.zeros(TILE, np.uint32), np.zeros((count, TILE), np.uint32)
    rows = rows_bits.view(np.float32)
    for begin in range(0, size, TILE):
        end = min(begin + TILE, size)
        broken = read(base[begin:end], models, begin, end - begin, shift, base_bits, rows_bits)
        if broken >= 0:
            return broken
        for which in range(count):
            for other in range(which + 1):
                product = dot(rows[which], rows[other], end - begin)
                found[which, other] += product
                if other < which:
                    found[other, which] += product
    return -1


# ---- order statistics of magnitudes


@kernel
def count_upper(base, model, shift, flip, table):
    """Add to `table` how many of a task vector's keys, their magnitudes' bits xor `flip`, have each value of their upper 16 bits."""
    base_tile, tile = np.empty(TILE, np.uint32), np.empty(TILE, np.uint32)
    for begin in range(0, model.size, TILE):
        end = min(begin + TILE, model.size)
        read_task_vector(base[begin:end], model[begin:end], shift, base_tile, tile)
        for i in range(end - begin):
            table[((tile[i] & MAGNITUDE) ^ flip) >> np.uint32(15)] += 1


@kernel
def collect(base, model, shift, flip, lows, spans, found, counts, below):
    """For each range of keys, from low on and below low + span, collect the keys in it and count those below it.

    Args:
        found: (ranges, size + 8); counts, below: (ranges,); filled.
    """
    base_tile, tile, hits = np.empty(TILE, np.uint32), np.zeros(TILE, np.uint32), np.zeros(TILE, np.uint8)
    eights = hits.view(np.uint64)
    counts[:] = 0
    below[:] = 0
    for begin in range(0, model.size, TILE):
        n = min(TILE, model.size - begin)
        read_task_vector(base[begin : begin + n], model[begin : begin + n], shift, base_tile, tile)
        for i in range(n):
            tile[i] = (tile[i] & MAGNITUDE) ^ flip
        # No key is that large: what is beyond the tensor's end is in no range.
        tile[n:] = np.uint32(0xFFFFFFFF)
        for which in range(lows.size):
            low, span, place, count = lows[which], spans[which], found[which], counts[which]
            less = np.int32(0)
            for i in range(TILE):
                less += np.int32(tile[i] < low)
            below[which] += less
            for i in range(TILE):
                hits[i] = np.uint32(tile[i] - low) < span
            # Few are found: eights without any are passed over, and within the others nothing is to be guessed by the processor.
            for eight in range(eights.size):
                if eights[eight]:
                    for i in range(eight * 8, eight * 8 + 8):
                        place[count] = tile[i]
                        count += hits[i]
            counts[which] = count


@kernel
def keys(base, model, shift, flip, found):
    """Fill `found` with a task vector's keys."""
    base_tile = np.empty(TILE, np.uint32)
    for begin in range(0, model.size, TILE):
        end = min(begin + TILE, model.size)
        tile = found[begin:end]
        read_task_vector(base[begin:end], model[begin:end], shift, base_tile, tile)
        for i in range(tile.size):
            tile[i] = (tile[i] & MAGNITUDE) ^ flip


@kernel
def tally(keys, counts, low, span, step, table):
    """Add to table[(key - low) >> step] the count of each key that is from `low` on and below `low` + `span`; 1 where `counts` is (0,)."""
    for i in range(keys.size):
        place = np.int64(keys[i]) - low
        if 0 <= place < span:
            table[place >> step] += counts[i] if counts.size else 1


# ---- random choices


@kernel
def philox(key0, key1, first, numbers):
    """Fill (n, 4, 256) with the upper 24 bits, as fp32 in [0, 1), of the Philox4x32-10 words of the counters from `first` * 256 on."""
    low = np.uint64(0xFFFFFFFF)
    for group in range(numbers.shape[0]):
        counter = np.uint64(first + group) * np.uint64(numbers.shape[2])
        for lane in range(numbers.shape[2]):
            place = counter + np.uint64(lane)
            a, b, c, d = place & low, place >> np.uint64(32), np.uint64(0), np.uint64(0)
            k, m = np.uint64(key0), np.uint64(key1)
            for _ in range(10):
                p, q = np.uint64(0xD2511F53) * a, np.uint64(0xCD9E8D57) * c
                a, b, c, d = (q >> np.uint64(32)) ^ b ^ k, q & low, (p >> np.uint64(32)) ^ d ^ m, p & low
                k, m = (k + np.uint64(0x9E3779B9)) & low, (m + np.uint64(0xBB67AE85)) & low
            numbers[group, 0, lane] = np.float32(np.uint32(a) >> np.uint32(8)) * np.float32(2.0**-24)
            numbers[group, 1, lane] = np.float32(np.uint32(b) >> np.uint32(8)) * np.float32(2.0**-24)
            numbers[group, 2, lane] = np.float32(np.uint32(c) >> np.uint32(8)) * np.float32(2.0**-24)
            numbers[group, 3, lane] = np.float32(np.uint32(d) >> np.uint32(8)) * np.float32(2.0**-24)


@kernel
def drop(base, model, shift, numbers, row, low, step, add_up, chosen):
    """Choose which weights of a task vector to keep: those whose number is below low + step * (rank by magnitude in the row).

    Args:
        row: length of a row; 0 where the probability of all is `low`.
        add_up: whether to return the sums of the magnitudes, of all and of those that are kept, and not 0.
        chosen: (size,) bool, filled.
    """
    length = row if row else TILE
    room = -(-length // TILE) * TILE
    base_tile, tile, kept = np.empty(room, np.uint32), np.zeros(room, np.uint32), np.zeros(room, np.uint32)
    places, ranks, bins = np.empty(length, np.uint16), np.empty(length, np.int32), np.empty(BINS, np.uint32)
    probability = np.empty(length, np.float32)
    probability[:] = low
    before, after = 0.0, 0.0
    for begin in range(0, model.size, length):
        end = min(begin + length, model.size)
        n = end - begin
        if row or add_up:
            read_task_vector(base[begin:end], model[begin:end], shift, base_tile, tile)
        if row:
            by_rank(tile, n, places, ranks, bins, low, step, probability)
        number, choice = numbers[begin:end], chosen[begin:end]
        for i in range(n):
            choice[i] = number[i] < probability[i]
        if add_up:
            for i in range(n):
                tile[i] &= MAGNITUDE
                kept[i] = tile[i] if choice[i] else np.uint32(0)
            tile[n:] = 0
            kept[n:] = 0
            for part in range(0, room, TILE):
                before += fold(tile[part : part + TILE].view(np.float32))
                after += fold(kept[part : part + TILE].view(np.float32))
    return before, after


BINS = 1024


@kernel
def by_rank(bits, n, places, ranks, bins, low, step, probability):
    """low + step * rank by magnitude, by a counting sort: bins are 64 to a power of two, below the largest magnitude."""
    largest = np.uint32(0)
    for i in range(n):
        largest = max(largest, bits[i] & MAGNITUDE)
    lowest = np.int32(largest >> np.uint32(17)) - np.int32(BINS - 1)
    for i in range(n):
        places[i] = max(np.int32((bits[i] & MAGNITUDE) >> np.uint32(17)) - lowest, np.int32(0))
    bins[:] = 0
    for i in range(n):
        bins[places[i]] += np.uint32(1)
    first = np.uint32(0)
    for i in range(BINS):
        count = bins[i]
        bins[i] = first
        first += count
    for i in range(n):
        rank = bins[places[i]]
        bins[places[i]] = rank + np.uint32(1)
        ranks[i] = np.int32(rank)
    for i in range(n):
        probability[i] = low + step * np.float32(ranks[i])


# ---- one more method


@kernel
def nearswap(base, other, shift, t, bits, out_shift):
    """theta_b + clamp(t / max(|tau|, 1e-6), 0, 1) tau; returns what `combine` does."""
    base_bits, other_bits, total_bits = np.empty(TILE, np.uint32), np.empty(TILE, np.uint32), np.empty(TILE, np.uint32)
    for begin in range(0, base.size, TILE):
        end = min(begin + TILE, base.size)
        if widen(base[begin:end], shift, base_bits) >= NOT_FINITE:
            return 0
        if widen(other[begin:end], shift, other_bits) >= NOT_FINITE:
            return 1
        b, x, total = base_bits.view(np.float32), other_bits.view(np.float32), total_bits.view(np.float32)
        for i in range(end - begin):
            # t times a reciprocal, as torch divides: to mergekit's bit. Not b + share * (x - b): so that a share of 1 gives x to the bit.
            share = min(np.float32(1) / max(abs(x[i] - b[i]), np.float32(1e-6)) * t, np.float32(1))
            total[i] = share * x[i] + (np.float32(1) - share) * b[i]
        if narrow(total_bits, out_shift, bits[begin:end]) >= NOT_FINITE:
            return 2
    return -1
