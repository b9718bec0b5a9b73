/* The arena: one region that holds the values of all series of a registry.
 *
 * Blocks are found by their offset and hold no pointers, so that the region may move when it
 * grows, and may lie in a file that outlives the process (arena_file.h; arena_layout.py says
 * what such a file holds, so blocks are laid out as it says). Rules:
 *   1. The GIL is the lock; nothing here calls back into Python.
 *   2. A pointer into the region is dead after arena_allocate().
 *   3. Offset 0 is the sink: what finds no room writes there, is never read, and is counted.
 */

#ifndef NILOMETER_MEASURE_ARENA_H
#define NILOMETER_MEASURE_ARENA_H

#include "native.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

/* A timer with all its 1,000 series is 2 MiB: room for thirty that are full. */
#define ARENA_BYTES_MAX (64u << 20)
#define ARENA_BYTES_FIRST (16u << 10) /* a small service's instruments fit without growing */

#define ARENA_FILE_AT 65536 /* where the region lies in a file: whole pages of any size */

#define BUCKETS_PER_OCTAVE 32 /* scale 5, see model/distribution.py */
#define HOUR_NS UINT64_C(3600000000000)
#define OCTAVES 43 /* 0 holds bucket -1, the value 1; an hour lies in the last */
#define BLOCK_KINDS 3 /* sums and gauges; distributions; the counts of an octave */

typedef struct Arena {
    PyObject_HEAD
    unsigned char *base; /* owned; moves when the region grows, unless it is mapped */
    uint32_t bytes;      /* how large the region is */
    uint32_t bytes_used;
    uint32_t bytes_max;
    uint32_t free[BLOCK_KINDS]; /* of each size, the first block given back; it names the next */
    unsigned long long refused; /* allocations that found no room */
    unsigned long long errors_missed; /* errors of bodies that could not be counted */
    int file;           /* the descriptor of the file it lies in, owned; -1 for memory */
    dev_t device;       /* which file that is: a daemon that closes all its descriptors may */
    ino_t inode;        /* have given the number to another file meanwhile */
    char is_mapped;     /* base has room for bytes_max and stays where it is */
    void *copy;         /* for the child, while the process forks */
    struct Arena *next; /* of those that lie in files */
} Arena;

typedef struct {
    uint64_t low, high; /* one number of 128 bits: no sum of 64-bit values ever wraps */
} Sum;

typedef struct {
    uint64_t samples;
    uint64_t zeros;
    uint64_t minimum; /* UINT64_MAX while there are no samples */
    uint64_t maximum;
    Sum total;
    uint32_t octaves[OCTAVES]; /* offsets of 32 counts each; 0 until a value falls there */
} Distribution;

typedef struct {
    int64_t kind; /* one of the three below */
    union {
        int64_t integer;
        double real;
    };
} GaugeValue;

enum { VALUE_NONE, VALUE_INTEGER, VALUE_REAL };

/* BOUNDARIES_63 of model/distribution.py; a test compares them. */
static const uint64_t BOUNDARIES_63[BUCKETS_PER_OCTAVE] = {
    UINT64_C(0x8000000000000000), UINT64_C(0x82cd8698ac2ba000), UINT64_C(0x85aac367cc487800),
    UINT64_C(0x88980e8092da8800), UINT64_C(0x8b95c1e3ea8bd800), UINT64_C(0x8ea4398b45cd5000),
    UINT64_C(0x91c3d373ab11c000), UINT64_C(0x94f4efa8fef70800), UINT64_C(0x9837f0518db8a800),
    UINT64_C(0x9b8d39b9d54e5800), UINT64_C(0x9ef5326091a11000), UINT64_C(0xa27043030c496800),
    UINT64_C(0xa5fed6a9b1513800), UINT64_C(0xa9a15ab4ea7c1000), UINT64_C(0xad583eea42a14800),
    UINT64_C(0xb123f581d2ac2800), UINT64_C(0xb504f333f9de6800), UINT64_C(0xb8fbaf4762fba000),
    UINT64_C(0xbd08a39f580c3800), UINT64_C(0xc12c4cca66709800), UINT64_C(0xc5672a115506d800),
    UINT64_C(0xc9b9bd866e2f2800), UINT64_C(0xce248c151f848000), UINT64_C(0xd2a81d91f12ae800),
    UINT64_C(0xd744fccad69d6800), UINT64_C(0xdbfbb797daf23800), UINT64_C(0xe0ccdeec2a94e000),
    UINT64_C(0xe5b906e77c834800), UINT64_C(0xeac0c6e7dd243800), UINT64_C(0xefe4b99bdcdaf800),
    UINT64_C(0xf5257d152486d000), UINT64_C(0xfa83b2db722a0000),
};

/* For each 64th of an octave, how many boundaries lie below its start: boundaries are at
 * least 1.4 of these apart, so at most one more lies within, and one comparison finds it. */
static const uint8_t BOUNDARIES_BELOW[64] = {
    0, 1, 2, 3, 3, 4, 5, 5, 6, 7, 7, 8, 8, 9, 10, 10,
    11, 11, 12, 13, 13, 14, 14, 15, 15, 16, 16, 17, 17, 18, 18, 19,
    19, 20, 20, 21, 21, 22, 22, 22, 23, 23, 24, 24, 25, 25, 26, 26,
    26, 27, 27, 28, 28, 28, 29, 29, 30, 30, 30, 31, 31, 31, 32, 32,
};

static inline void *
arena_at(const Arena *arena, uint32_t offset)
{
    return arena->base + offset;
}

static inline void
sum_add(Sum *sum, uint64_t n)
{
    sum->low += n;
    sum->high += sum->low < n;
}

static int
arena_has_its_file(const Arena *arena)
{
    struct stat found;

    return arena->file >= 0 && fstat(arena->file, &found) == 0
           && found.st_dev == arena->device && found.st_ino == arena->inode;
}

/* Room in a file for bytes up to here: a full disk says so now, not when it is written to. */
static int
arena_reserve(int file, uint32_t bytes)
{
#ifdef __linux__
    int error = 0;

    do
        error = posix_fallocate(file, ARENA_FILE_AT, (off_t)bytes);
    while (error == EINTR);
    errno = error;
    return error == 0 ? 0 : -1;
#else
    (void)file, (void)bytes;
    return -1;
#endif
}

static int
arena_grow(Arena *arena, uint32_t bytes_needed)
{
    uint64_t bytes = arena->bytes ? arena->bytes : ARENA_BYTES_FIRST;

    while (bytes < bytes_needed)
        bytes *= 2;
    if (bytes > arena->bytes_max)
        bytes = arena->bytes_max;
    if (bytes < bytes_needed)
        return -1;
    if (arena->is_mapped) {
        if (arena->file >= 0
            && (!arena_has_its_file(arena) || arena_reserve(arena->file, (uint32_t)bytes) < 0))
            return -1;
    } else {
        unsigned char *moved = PyMem_RawRealloc(arena->base, bytes);
        if (moved == NULL)
            return -1;
        arena->base = moved;
    }
    arena->bytes = (uint32_t)bytes;
    return 0;
}

#define OCTAVE_BYTES (BUCKETS_PER_OCTAVE * (uint32_t)sizeof(uint64_t))

static inline uint32_t *
arena_free_of(Arena *arena, uint32_t size)
{
    return &arena->free[size <= sizeof(Sum) ? 0 : size == OCTAVE_BYTES ? 2 : 1];
}

/* Take a block back, to be given out again to who asks for one of this size. */
static void
arena_release(Arena *arena, uint32_t offset, uint32_t size)
{
    uint32_t *first = arena_free_of(arena, size);

    if (offset == 0)
        return; /* the sink is everybody's */
    memcpy(arena_at(arena, offset), first, sizeof(*first));
    *first = offset;
}

/* The offset of a zeroed block, or 0, counted, if there is no room. Sizes are whole words. */
static uint32_t
arena_allocate(Arena *arena, uint32_t size)
{
    uint32_t *first = arena_free_of(arena, size);
    uint32_t offset = *first;

    if (offset != 0) {
        memcpy(first, arena_at(arena, offset), sizeof(*first));
        memset(arena_at(arena, offset), 0, size);
        return offset;
    }
    offset = arena->bytes_used;
    if (size > arena->bytes_max - offset
        || (offset + size > arena->bytes && arena_grow(arena, offset + size) < 0)) {
        arena->refused++;
        return 0;
    }
    arena->bytes_used += size;
    memset(arena_at(arena, offset), 0, size);
    return offset;
}

/* Where a value above zero is counted: 32 times the octave's place, plus the bucket in it. */
static inline unsigned
bucket_place(uint64_t value)
{
    if (value > HOUR_NS)
        value = HOUR_NS; /* sum and extremes know better; see pure.py */
    int zeros_leading = __builtin_clzll(value);
    uint64_t normalised = value << zeros_leading;
    unsigned below = BOUNDARIES_BELOW[(normalised >> 57) & 63];

    below += below < BUCKETS_PER_OCTAVE && normalised > BOUNDARIES_63[below];
    return (unsigned)(63 - zeros_leading + 1) * BUCKETS_PER_OCTAVE + below - 1;
}

static inline void
distribution_record(Arena *arena, uint32_t offset, uint64_t value)
{
    Distribution *values = arena_at(arena, offset);

    values->samples++;
    sum_add(&values->total, value);
    if (value < values->minimum)
        values->minimum = value;
    if (value > values->maximum)
        values->maximum = value;
    if (value == 0) {
        values->zeros++;
        return;
    }
    unsigned place = bucket_place(value);
    uint32_t octave = values->octaves[place / BUCKETS_PER_OCTAVE];
    if (octave == 0) {
        octave = arena_allocate(arena, OCTAVE_BYTES);
        if (octave == 0)
            return; /* counted as refused; samples, sum and extremes stay exact */
        values = arena_at(arena, offset); /* the region may have moved */
        values->octaves[place / BUCKETS_PER_OCTAVE] = octave;
    }
    ((uint64_t *)arena_at(arena, octave))[place % BUCKETS_PER_OCTAVE]++;
}

/* Back to no samples. The octaves' blocks are kept: they will be needed again. */
static void
distribution_clear(Arena *arena, uint32_t offset)
{
    Distribution *values = arena_at(arena, offset);

    values->samples = values->zeros = values->maximum = 0;
    values->minimum = UINT64_MAX;
    values->total = (Sum){0, 0};
    for (int i = 0; i < OCTAVES; i++)
        if (values->octaves[i] != 0)
            memset(arena_at(arena, values->octaves[i]), 0, OCTAVE_BYTES);
}

#define DISTRIBUTION_BYTES (((uint32_t)sizeof(Distribution) + 7) & ~7u)

static void
distribution_release(Arena *arena, uint32_t offset)
{
    const Distribution *values = arena_at(arena, offset);

    for (int i = 0; offset != 0 && i < OCTAVES; i++)
        arena_release(arena, values->octaves[i], OCTAVE_BYTES);
    arena_release(arena, offset, DISTRIBUTION_BYTES);
}

static PyObject *
sum_object(const Sum *sum)
{
    PyObject *low = PyLong_FromUnsignedLongLong(sum->low);

    if (sum->high == 0 || low == NULL)
        return low;
    PyObject *high = PyLong_FromUnsignedLongLong(sum->high);
    PyObject *bits = PyLong_FromLong(64);
    PyObject *shifted = high && bits ? PyNumber_Lshift(high, bits) : NULL;
    PyObject *whole = shifted ? PyNumber_Or(shifted, low) : NULL;
    Py_XDECREF(high);
    Py_XDECREF(bits);
    Py_XDECREF(shifted);
    Py_DECREF(low);
    return whole;
}

/* Put the counts by index into a dict, the lowest first. */
static int
distribution_buckets(const Arena *arena, uint32_t offset, PyObject *buckets)
{
    const Distribution *values = arena_at(arena, offset);

    for (int octave = 0; octave < OCTAVES; octave++) {
        if (values->octaves[octave] == 0)
            continue;
        const uint64_t *counts = arena_at(arena, values->octaves[octave]);
        for (int i = 0; i < BUCKETS_PER_OCTAVE; i++) {
            if (counts[i] == 0)
                continue;
            PyObject *index = PyLong_FromLong((octave - 1) * BUCKETS_PER_OCTAVE + i);
            PyObject *count = PyLong_FromUnsignedLongLong(counts[i]);
            int failed = !index || !count || PyDict_SetItem(buckets, index, count) < 0;
            Py_XDECREF(index);
            Py_XDECREF(count);
            if (failed)
                return -1;
        }
    }
    return 0;
}

/* (samples, total, minimum, maximum, buckets, zeros), as model.Distribution begins.
 *
 * What the collector of garbage watches is made first: were it to run between reading and
 * clearing, a finalizer might record a value that is then cleared unread. */
static PyObject *
distribution_object(const Arena *arena, uint32_t offset)
{
    PyObject *taken = PyTuple_New(6);
    PyObject *buckets = taken ? PyDict_New() : NULL;
    const Distribution *values = arena_at(arena, offset);

    if (buckets == NULL) {
        Py_XDECREF(taken);
        return NULL;
    }
    PyTuple_SET_ITEM(taken, 0, PyLong_FromUnsignedLongLong(values->samples));
    PyTuple_SET_ITEM(taken, 1, sum_object(&values->total));
    PyTuple_SET_ITEM(taken, 2, PyLong_FromUnsignedLongLong(values->minimum));
    PyTuple_SET_ITEM(taken, 3, PyLong_FromUnsignedLongLong(values->maximum));
    PyTuple_SET_ITEM(taken, 4, buckets);
    PyTuple_SET_ITEM(taken, 5, PyLong_FromUnsignedLongLong(values->zeros));
    if (distribution_buckets(arena, offset, buckets) < 0 || PyErr_Occurred())
        Py_CLEAR(taken);
    return taken;
}

#endif
