/* SHA-1 and SHA-256 (FIPS 180-4), a block at a time, from a state that is given.
 *
 * For HMAC's of a hundred bytes: OpenSSL's way through its providers, with a context to be
 * allocated and copied for each hash and each digest, takes three times what they take.
 * Where the processor has instructions for both they are used: a block takes a quarter.
 */

#ifndef NILOMETER_TRACE_HASHES_H
#define NILOMETER_TRACE_HASHES_H

#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__)
#define HAS_X86_HASHES 1
#include <cpuid.h>
#include <immintrin.h>
#endif

#define HASH_BLOCK_BYTES 64
#define HASH_WORDS_MAX 8

/* What takes so many blocks into a state. */
typedef void (*take_blocks)(uint32_t *state, const unsigned char *from, size_t blocks);

static const uint32_t SHA1_START[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476,
                                       0xc3d2e1f0};
static const uint32_t SHA256_START[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                         0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
static const uint32_t SHA1_ADDED[4] = {0x5a827999, 0x6ed9eba1, 0x8f1bbcdc, 0xca62c1d6};
static const uint32_t SHA256_ADDED[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static inline uint32_t
left(uint32_t x, int k)
{
    return x << k | x >> (32 - k);
}

static inline uint32_t
right(uint32_t x, int k)
{
    return x >> k | x << (32 - k);
}

static inline uint32_t
word_at(const unsigned char *from)
{
    return (uint32_t)from[0] << 24 | (uint32_t)from[1] << 16 | (uint32_t)from[2] << 8 | from[3];
}

static void
sha1_blocks(uint32_t *state, const unsigned char *from, size_t blocks)
{
    for (; blocks; blocks--, from += HASH_BLOCK_BYTES) {
        uint32_t a = state[0], b = state[1], c = state[2], d = state[3], e = state[4], w[80];

        for (int i = 0; i < 80; i++) {
            w[i] = i < 16 ? word_at(from + 4 * i)
                          : left(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
            uint32_t f = i < 20   ? (b & c) | (~b & d)
                         : i < 40 ? b ^ c ^ d
                         : i < 60 ? (b & c) | (b & d) | (c & d)
                                  : b ^ c ^ d;
            uint32_t next = left(a, 5) + f + e + SHA1_ADDED[i / 20] + w[i];
            e = d;
            d = c;
            c = left(b, 30);
            b = a;
            a = next;
        }
        state[0] += a;
        state[1] += b;
        state[2] += c;
        state[3] += d;
        state[4] += e;
    }
}

static void
sha256_blocks(uint32_t *state, const unsigned char *from, size_t blocks)
{
    for (; blocks; blocks--, from += HASH_BLOCK_BYTES) {
        uint32_t a = state[0], b = state[1], c = state[2], d = state[3], w[64];
        uint32_t e = state[4], f = state[5], g = state[6], h = state[7];

        for (int i = 0; i < 64; i++) {
            if (i < 16)
                w[i] = word_at(from + 4 * i);
            else {
                uint32_t far = w[i - 15], near = w[i - 2];
                w[i] = w[i - 16] + (right(far, 7) ^ right(far, 18) ^ far >> 3) + w[i - 7] +
                       (right(near, 17) ^ right(near, 19) ^ near >> 10);
            }
            uint32_t first = h + (right(e, 6) ^ right(e, 11) ^ right(e, 25)) +
                             ((e & f) ^ (~e & g)) + SHA256_ADDED[i] + w[i];
            uint32_t second = (right(a, 2) ^ right(a, 13) ^ right(a, 22)) +
                              ((a & b) ^ (a & c) ^ (b & c));
            h = g;
            g = f;
            f = e;
            e = d + first;
            d = c;
            c = b;
            b = a;
            a = first + second;
        }
        state[0] += a;
        state[1] += b;
        state[2] += c;
        state[3] += d;
        state[4] += e;
        state[5] += f;
        state[6] += g;
        state[7] += h;
    }
}

#ifdef HAS_X86_HASHES
#define WITH_X86_HASHES __attribute__((target("sha,sse4.1")))

/* Whether the processor has the instructions below: CPUID's leaf 7, bit 29 of EBX. */
static int
has_x86_hashes(void)
{
    unsigned a, b, c, d;

    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b >> 29 & 1) &&
           __get_cpuid(1, &a, &b, &c, &d) && (c & bit_SSE4_1) && (c & bit_SSSE3);
}

/* Four rounds of SHA-1: which function they are by must stand in the instruction itself. */
#define SHA1_ROUNDS(from, by)                                                                 \
    for (int i = from; i < from + 5; i++) {                                                   \
        if (i >= 4)                                                                           \
            w[i & 3] = _mm_sha1msg2_epu32(                                                    \
                _mm_xor_si128(_mm_sha1msg1_epu32(w[i & 3], w[(i + 1) & 3]), w[(i + 2) & 3]),  \
                w[(i + 3) & 3]);                                                              \
        added = i ? _mm_sha1nexte_epu32(last, w[i & 3]) : _mm_add_epi32(e, w[0]);             \
        last = abcd;                                                                          \
        abcd = _mm_sha1rnds4_epu32(abcd, added, by);                                          \
    }

WITH_X86_HASHES static void
sha1_blocks_x86(uint32_t *state, const unsigned char *from, size_t blocks)
{
    const __m128i swap = _mm_set_epi64x(0x0001020304050607, 0x08090a0b0c0d0e0f);
    __m128i abcd = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)state), 0x1b);
    __m128i e = _mm_set_epi32((int)state[4], 0, 0, 0);

    for (; blocks; blocks--, from += HASH_BLOCK_BYTES) {
        __m128i before = abcd, last = abcd, added, w[4];
        for (int i = 0; i < 4; i++)
            w[i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)from + i), swap);
        SHA1_ROUNDS(0, 0)
        SHA1_ROUNDS(5, 1)
        SHA1_ROUNDS(10, 2)
        SHA1_ROUNDS(15, 3)
        e = _mm_sha1nexte_epu32(last, e);
        abcd = _mm_add_epi32(abcd, before);
    }
    _mm_storeu_si128((__m128i *)state, _mm_shuffle_epi32(abcd, 0x1b));
    state[4] = (uint32_t)_mm_extract_epi32(e, 3);
}

WITH_X86_HASHES static void
sha256_blocks_x86(uint32_t *state, const unsigned char *from, size_t blocks)
{
    const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
    __m128i front = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)state), 0xb1);
    __m128i back = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)state + 1), 0x1b);
    __m128i abef = _mm_alignr_epi8(front, back, 8);
    __m128i cdgh = _mm_blend_epi16(back, front, 0xf0);

    for (; blocks; blocks--, from += HASH_BLOCK_BYTES) {
        __m128i abef_before = abef, cdgh_before = cdgh, w[4];
        for (int i = 0; i < 16; i++) {
            __m128i *now = &w[i & 3];
            if (i < 4)
                *now = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)from + i), swap);
            else {
                __m128i far = _mm_sha256msg1_epu32(*now, w[(i + 1) & 3]), near = w[(i + 3) & 3];
                __m128i between = _mm_alignr_epi8(near, w[(i + 2) & 3], 4);
                *now = _mm_sha256msg2_epu32(_mm_add_epi32(far, between), near);
            }
            __m128i added = _mm_add_epi32(
                *now, _mm_loadu_si128((const __m128i *)SHA256_ADDED + i));
            cdgh = _mm_sha256rnds2_epu32(cdgh, abef, added);
            abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(added, 0x0e));
        }
        abef = _mm_add_epi32(abef, abef_before);
        cdgh = _mm_add_epi32(cdgh, cdgh_before);
    }
    front = _mm_shuffle_epi32(abef, 0x1b);
    back = _mm_shuffle_epi32(cdgh, 0xb1);
    _mm_storeu_si128((__m128i *)state, _mm_blend_epi16(front, back, 0xf0));
    _mm_storeu_si128((__m128i *)state + 1, _mm_alignr_epi8(back, front, 8));
}
#endif

/* A hash: of a message of any length, or its last part after a first one of whole blocks. */
typedef struct {
    take_blocks take;
    const uint32_t *start;
    int words;
} Hash;

static Hash sha1_hash = {sha1_blocks, SHA1_START, 5};
static Hash sha256_hash = {sha256_blocks, SHA256_START, 8};

/* Take the instructions that are made for it, or not; whether there are any. */
static int
hash_in_hardware(int wanted)
{
    int has_them = 0;

#ifdef HAS_X86_HASHES
    has_them = has_x86_hashes();
    sha1_hash.take = wanted && has_them ? sha1_blocks_x86 : sha1_blocks;
    sha256_hash.take = wanted && has_them ? sha256_blocks_x86 : sha256_blocks;
#endif
    return has_them && wanted;
}

/* Finish a state that has taken so many bytes before: with what is left, and its padding. */
static void
hash_end(const Hash *hash, uint32_t *state, uint64_t before, const unsigned char *from, size_t size)
{
    unsigned char last[2 * HASH_BLOCK_BYTES] = {0};
    size_t whole = size / HASH_BLOCK_BYTES, left_over = size % HASH_BLOCK_BYTES;
    size_t blocks = left_over + 9 > HASH_BLOCK_BYTES ? 2 : 1; /* a one bit, and the length */
    uint64_t bits = (before + size) * 8;

    hash->take(state, from, whole);
    if (left_over)
        memcpy(last, from + whole * HASH_BLOCK_BYTES, left_over);
    last[left_over] = 0x80;
    for (unsigned char *to = last + blocks * HASH_BLOCK_BYTES; bits; bits >>= 8)
        *--to = (unsigned char)bits;
    hash->take(state, last, blocks);
}

static void
hash_bytes(const Hash *hash, const uint32_t *state, unsigned char *to)
{
    for (int i = 0; i < hash->words; i++, to += 4) {
        to[0] = (unsigned char)(state[i] >> 24);
        to[1] = (unsigned char)(state[i] >> 16);
        to[2] = (unsigned char)(state[i] >> 8);
        to[3] = (unsigned char)state[i];
    }
}

/* === HMAC, RFC 2104 === */

/* Both hashes of a key, each after its first block. */
typedef struct {
    uint32_t inner[HASH_WORDS_MAX], outer[HASH_WORDS_MAX];
} Begun;

static void
hmac_begin(const Hash *hash, Begun *begun, const unsigned char *secret, size_t size)
{
    unsigned char block[HASH_BLOCK_BYTES] = {0}, padded[HASH_BLOCK_BYTES];
    size_t state_bytes = (size_t)hash->words * sizeof(uint32_t);

    if (size > HASH_BLOCK_BYTES) {
        uint32_t state[HASH_WORDS_MAX];
        memcpy(state, hash->start, state_bytes);
        hash_end(hash, state, 0, secret, size);
        hash_bytes(hash, state, block);
    }
    else if (size) {
        memcpy(block, secret, size);
    }
    for (int i = 0; i < HASH_BLOCK_BYTES; i++)
        padded[i] = block[i] ^ 0x36;
    memcpy(begun->inner, hash->start, state_bytes);
    hash->take(begun->inner, padded, 1);
    for (int i = 0; i < HASH_BLOCK_BYTES; i++)
        padded[i] = block[i] ^ 0x5c;
    memcpy(begun->outer, hash->start, state_bytes);
    hash->take(begun->outer, padded, 1);
}

/* The MAC of a message, of as many bytes as the hash has. */
static void
hmac_of(const Hash *hash, const Begun *begun, const unsigned char *message, size_t size,
        unsigned char *to)
{
    uint32_t state[HASH_WORDS_MAX];

    memcpy(state, begun->inner, sizeof(state));
    hash_end(hash, state, HASH_BLOCK_BYTES, message, size);
    hash_bytes(hash, state, to);
    memcpy(state, begun->outer, sizeof(state));
    hash_end(hash, state, HASH_BLOCK_BYTES, to, (size_t)hash->words * 4);
    hash_bytes(hash, state, to);
}

#endif
