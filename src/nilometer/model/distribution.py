"""What a timer keeps: count, sum and extremes, exact, and buckets for any quantile.

Buckets are OpenTelemetry's base-2 exponential ones: at scale *s* bucket *i* holds the values
*v* with ``base**i < v <= base**(i+1)`` where ``base = 2**(2**-s)``. At our scale 5 neighbouring
boundaries lie 2.19 % apart, so a value told from its bucket is at most 1.09 % off (the estimate
is the one with the same relative error to both ends, 2ab/(a+b), as in DDSketch).
Sources: OpenTelemetry metrics data model, "ExponentialHistogram"; Masson et al., "DDSketch",
VLDB 2019.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from math import frexp
from sys import float_info
from typing import Final, NamedTuple

SCALE: Final = 5
BUCKETS_PER_OCTAVE: Final = 1 << SCALE

BOUNDARIES: Final = tuple(2.0 ** (j / BUCKETS_PER_OCTAVE) for j in range(BUCKETS_PER_OCTAVE))
"""The lower bounds of one octave's buckets, in [1, 2)."""

BOUNDARIES_63: Final = tuple(int(boundary * 2**63) for boundary in BOUNDARIES)
"""The same, scaled by 2**63, exact: whole numbers are compared as whole numbers, in C too."""

MAX_EXP: Final = float_info.max_exp
"""At 2 to the power of this a float is infinite."""

_NONE: Final[Mapping[int, int]] = {}  # never written to


def bucket_of(value: float) -> int:
    """The index, at our scale, of the bucket that holds a value above zero.

    >>> [bucket_of(v) for v in (1, 2, 3, 1000, 1024, 0.5, 1.5)]
    [-1, 31, 50, 318, 319, -33, 18]
    """
    if isinstance(value, int):
        length = value.bit_length()
        normalised = value << (64 - length) if length <= 64 else value >> (length - 64)
        return (length - 1) * BUCKETS_PER_OCTAVE + bisect_left(BOUNDARIES_63, normalised) - 1
    mantissa, exponent = frexp(value)
    return (exponent - 1) * BUCKETS_PER_OCTAVE + bisect_left(BOUNDARIES, mantissa * 2) - 1


class Distribution(NamedTuple):
    """Values of one series over one interval, summed up.

    `minimum` and `maximum` are None where nobody kept them (other systems may not). `zeros`
    counts the zeros, `buckets` the values above zero, `negatives` those below, by the index of
    their absolute value. With explicit `bounds` (classic histograms), bucket *i* of `buckets`
    holds ``bounds[i-1] < v <= bounds[i]``; `zeros`, `negatives` and `scale` then mean nothing.
    """

    samples: int
    total: int | float
    minimum: int | float | None
    maximum: int | float | None
    buckets: Mapping[int, int] = _NONE
    zeros: int = 0
    negatives: Mapping[int, int] = _NONE
    scale: int = SCALE
    bounds: tuple[float, ...] = ()

    @classmethod
    def of(cls, values: Iterable[float], *, weight: int = 1) -> "Distribution":
        """The distribution of these values, each counted `weight` times.

        >>> Distribution.of([3, 1000, 700])
        Distribution(samples=3, total=1703, minimum=3, maximum=1000, \
buckets={50: 1, 302: 1, 318: 1}, zeros=0, negatives={}, scale=5, bounds=())
        """
        samples = zeros = 0
        total: float = 0
        low: float | None = None
        high: float | None = None
        buckets: dict[int, int] = {}
        negatives: dict[int, int] = {}
        for value in values:
            samples += weight
            total += value * weight
            low = value if low is None or value < low else low
            high = value if high is None or value > high else high
            if value == 0:
                zeros += weight
            else:
                side = buckets if value > 0 else negatives
                index = bucket_of(abs(value))
                side[index] = side.get(index, 0) + weight
        return cls(samples, total, low, high, _sorted(buckets), zeros, _sorted(negatives))

    @property
    def average(self) -> float | None:
        """Sum by count; None while there are no samples."""
        return self.total / self.samples if self.samples else None

    def merged(self, other: "Distribution") -> "Distribution":
        """Both together. Associative and commutative, so readings may be merged in any order.

        Different scales meet at the coarser one, which loses nothing but resolution; where one
        has no buckets its scale means nothing. Explicit bounds merge only with equal bounds.

        >>> Distribution.of([1, 2]).merged(Distribution.of([5])) == Distribution.of([1, 2, 5])
        True
        """
        if self.bounds != other.bounds:
            raise ValueError("distributions with different explicit bounds cannot be merged")
        scales = [one.scale for one in (self, other) if one.buckets or one.negatives]
        scale = min(scales or [self.scale, other.scale])
        ours, theirs = self.at_scale(scale), other.at_scale(scale)
        return Distribution(
            self.samples + other.samples,
            self.total + other.total,
            _lesser(self.minimum, other.minimum),
            _greater(self.maximum, other.maximum),
            _added(ours.buckets, theirs.buckets),
            self.zeros + other.zeros,
            _added(ours.negatives, theirs.negatives),
            scale,
            self.bounds,
        )

    def joined(self, other: "Distribution") -> "Distribution":
        """Both together whatever their buckets are: of different bounds in our own buckets.

        >>> explicit = Distribution(4, 9, None, None, {1: 4}, bounds=(1, 5))
        >>> Distribution.of([3]).joined(explicit).samples
        5
        """
        if self.bounds == other.bounds:
            return self.merged(other)
        if not (self.samples and other.samples):
            return self if self.samples else other
        return self.in_our_buckets().merged(other.in_our_buckets())

    def in_our_buckets(self) -> "Distribution":
        """Explicit buckets as exponential ones, by estimates: at most 1.1 % further off."""
        return self._rebuilt(1) if self.bounds else self

    def times(self, factor: float) -> "Distribution":
        """Each value times a factor above zero, as another unit has it.

        Explicit bounds stay as exact as they were; of exponential buckets the estimates move,
        which is at most 1.1 % further off.

        >>> Distribution.of([3, 500]).times(1000)[:4]
        (2, 503000, 3000, 500000)
        """
        if factor == 1:
            return self
        if self.bounds:
            made = self._replace(bounds=tuple(bound * factor for bound in self.bounds))
        else:
            made = self._rebuilt(factor)
        return made._replace(
            total=self.total * factor,
            minimum=None if self.minimum is None else self.minimum * factor,
            maximum=None if self.maximum is None else self.maximum * factor,
        )

    def _rebuilt(self, factor: float) -> "Distribution":
        """With each bucket's estimate, times this, in the bucket of ours that has it."""
        zeros = 0
        buckets: dict[int, int] = {}
        negatives: dict[int, int] = {}
        for estimate, count in self._ascending():
            value = self._clamped(estimate) * factor
            if value == 0:
                zeros += count
            elif count:
                side = buckets if value > 0 else negatives
                index = bucket_of(abs(value))
                side[index] = side.get(index, 0) + count
        return self._replace(
            buckets=_sorted(buckets),
            zeros=zeros,
            negatives=_sorted(negatives),
            scale=SCALE,
            bounds=(),
        )

    def since(self, earlier: "Distribution") -> "Distribution":
        """What was recorded after `earlier`, where both count from one start.

        Extremes are exact where they moved, else what the buckets tell of them: of all that was
        recorded in between nobody kept them. Raises ValueError where bounds differ.

        >>> Distribution.of([1, 2, 500]).since(Distribution.of([1, 500])).samples
        1
        """
        if self.bounds != earlier.bounds:
            raise ValueError("distributions with different explicit bounds cannot be compared")
        scale = min(self.scale, earlier.scale)
        ours, before = self.at_scale(scale), earlier.at_scale(scale)
        left = self._replace(
            samples=self.samples - earlier.samples,
            total=self.total - earlier.total,
            buckets=_less(ours.buckets, before.buckets),
            zeros=max(0, self.zeros - earlier.zeros),
            negatives=_less(ours.negatives, before.negatives),
            scale=ours.scale,
        )
        if left.samples <= 0:
            return left._replace(minimum=None, maximum=None)
        low, high = left.extent()
        is_lower = earlier.minimum is None or (self.minimum or 0) < earlier.minimum
        is_higher = earlier.maximum is None or (self.maximum or 0) > earlier.maximum
        return left._replace(
            minimum=low if self.minimum is None or not is_lower else self.minimum,
            maximum=high if self.maximum is None or not is_higher else self.maximum,
        )

    def extent(self) -> tuple[float | None, float | None]:
        """The bounds of the outermost buckets that hold anything, within the known extremes.

        A bucket without an end is told by its one bound, and without any buckets it is the
        average on both sides; None without samples.

        >>> Distribution(3, 30, None, None, {1: 2, 2: 1}, bounds=(0, 5, 25)).extent()
        (0, 25)
        """
        if not self.samples:
            return None, None
        edges = [edge for bucket in self._edges() for edge in bucket]
        if not edges:
            return self.average, self.average
        return self._clamped(min(edges)), self._clamped(max(edges))

    def with_extremes(self) -> "Distribution":
        """With what the buckets and the average tell of extremes that nobody kept.

        To be asked for before merging: those of one part are not those of the whole.
        """
        if not self.samples or (self.minimum is not None and self.maximum is not None):
            return self
        low, high = self.extent()
        middle = self.total / self.samples
        return self._replace(
            minimum=_lesser(low, middle) if self.minimum is None else self.minimum,
            maximum=_greater(high, middle) if self.maximum is None else self.maximum,
        )

    def _edges(self) -> Iterator[tuple[float, float]]:
        """From where to where each bucket goes that holds anything."""
        held = [index for index, count in self.buckets.items() if count]
        if self.bounds:
            last = len(self.bounds) - 1
            for index in held:
                yield self.bounds[max(index - 1, 0)], self.bounds[min(index, last)]
            return
        step = 2.0**-self.scale
        for index in held:
            yield _power(index * step), _power((index + 1) * step)
        if self.zeros:
            yield 0, 0
        for index in (index for index, count in self.negatives.items() if count):
            yield -_power((index + 1) * step), -_power(index * step)

    def at_scale(self, scale: int) -> "Distribution":
        """The same values in coarser buckets: halving the scale merges neighbours."""
        shift = self.scale - scale
        if shift == 0 or self.bounds:
            return self
        if not (self.buckets or self.negatives):
            return self._replace(scale=scale)
        if shift < 0:
            raise ValueError(f"buckets of scale {self.scale} cannot be split to scale {scale}")
        return self._replace(
            buckets=_coarser(self.buckets, shift),
            negatives=_coarser(self.negatives, shift),
            scale=scale,
        )

    def quantile(self, q: float) -> float | None:
        """The value below which a share `q` (0..1) of the samples lies; None without samples.

        Within 1.09 % of the true sample at scale 5, and never outside [minimum, maximum].

        >>> round(Distribution.of(range(1, 101)).quantile(0.5))
        50
        """
        if not self.samples:
            return None
        rank = max(1, -(-q * self.samples // 1))  # the smallest rank that covers the share
        seen = 0
        for estimate, count in self._ascending():
            seen += count
            if seen >= rank:
                return self._clamped(estimate)
        return self.maximum  # fewer in the buckets than counted: a sender kept no buckets

    @property
    def deviation(self) -> float:
        """The standard deviation of the samples, estimated; 0 with fewer than two.

        Squares are not kept: each sample is taken to be its bucket's estimate, so it is off by
        1.09 % of a sample's value at most, which is much where all are nearly the same.

        >>> round(Distribution.of(range(1, 101)).deviation, 1)
        29.1
        """
        if self.samples < 2 or self.minimum == self.maximum is not None:
            return 0.0
        told = [(self._clamped(value), count) for value, count in self._ascending() if count]
        kept = sum(count for _, count in told)
        if kept < 2:
            return 0.0
        mean = sum(value * count for value, count in told) / kept
        return float(
            (sum(count * (value - mean) ** 2 for value, count in told) / (kept - 1)) ** 0.5
        )

    def _clamped(self, value: float) -> float:
        low = value if self.minimum is None else self.minimum
        high = value if self.maximum is None else self.maximum
        return min(max(value, low), high)

    def _ascending(self) -> Iterator[tuple[float, int]]:
        """Estimated value and count of each bucket, lowest value first."""
        if self.bounds:
            for index in sorted(self.buckets):
                yield _between(self.bounds, index), self.buckets[index]
            return
        base = 2.0 ** (2.0**-self.scale)
        middle = 2 * base / (1 + base)  # of the bucket (1, base]
        for index in sorted(self.negatives, reverse=True):
            yield -middle * base**index, self.negatives[index]
        yield 0.0, self.zeros
        for index in sorted(self.buckets):
            yield middle * base**index, self.buckets[index]


def _between(bounds: tuple[float, ...], index: int) -> float:
    """The middle of an explicit bucket; an open end is told by its one bound."""
    low = bounds[max(index - 1, 0)]
    high = bounds[min(index, len(bounds) - 1)]
    return (low + high) / 2


def _sorted(buckets: dict[int, int]) -> dict[int, int]:
    return dict(sorted(buckets.items()))


def _added(one: Mapping[int, int], other: Mapping[int, int]) -> dict[int, int]:
    return {i: one.get(i, 0) + other.get(i, 0) for i in sorted({*one, *other})}


def _less(one: Mapping[int, int], other: Mapping[int, int]) -> dict[int, int]:
    left = {i: count - other.get(i, 0) for i, count in one.items()}
    return {i: count for i, count in left.items() if count > 0}


def _power(exponent: float) -> float:
    """2 to the power of it, at most the greatest float."""
    return 2.0**exponent if exponent < MAX_EXP else float_info.max


def _coarser(buckets: Mapping[int, int], shift: int) -> dict[int, int]:
    merged: dict[int, int] = {}
    for index in sorted(buckets):
        merged[index >> shift] = merged.get(index >> shift, 0) + buckets[index]
    return merged


def _lesser(one: float | None, other: float | None) -> float | None:
    """The lesser extreme; one that nobody kept does not count."""
    return other if one is None else one if other is None else min(one, other)


def _greater(one: float | None, other: float | None) -> float | None:
    return other if one is None else one if other is None else max(one, other)
