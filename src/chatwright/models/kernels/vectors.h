/* Vectors of 16 numbers, and threads. */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define LANES 16  /* numbers of a vector */
#define GROUP 128 /* numbers of x that share a scale when they are rounded to 8 bits */
#define ROWS 4    /* a tile of the result is ROWS x OUTS */
#define OUTS 4
#define PIECES 2      /* of the outputs for each thread: few, since reading a matrix has to get going each time */
#define SOME_OUTS 32  /* outputs of a piece at least, */
#define SOME_ROWS 128 /* for so many rows, whose numbers then stay in the cache */
#define FAR 8192      /* bytes of a matrix from where it is used to where it is asked for */
#define KEYS 64       /* keys between two looks at the largest product */
#define AHEAD 12      /* so many keys before it is used, one is asked for */
#define MOST_CHANNELS 256
#define INLINE static inline __attribute__((always_inline))
#define UNROLLED _Pragma("GCC unroll 8") /* without it, sums are stored in memory at every step */

typedef float Vector __attribute__((vector_size(4 * LANES)));
typedef int32_t Whole __attribute__((vector_size(4 * LANES)));
typedef float Loose __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef uint16_t Halves __attribute__((vector_size(2 * LANES), aligned(2), may_alias));
typedef uint32_t Bits __attribute__((vector_size(4 * LANES)));

/* ---- threads: those of the OpenMP library that PyTorch has loaded, since two libraries' threads wait in each other's way */

typedef void (*Parallel)(void (*work)(void *), void *job, unsigned threads, unsigned flags); /* GOMP_parallel */
static Parallel parallel;

void cw_threads(void *function) { parallel = (Parallel)function; }

/* Runs `work` in so many threads; each takes the next piece of the job until none is left. */
static void share(void (*work)(void *), void *job, int64_t pieces, int64_t threads) {
    if (threads > pieces) threads = pieces;
    if (parallel && threads > 1) parallel(work, job, (unsigned)threads, 0);
    else work(job);
}

INLINE int64_t taken(int64_t *next) { return __atomic_fetch_add(next, 1, __ATOMIC_RELAXED); }
INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* ---- vectors */

INLINE Vector wide(const float *from) { return (Vector) * (const Loose *)from; }

INLINE Vector wide_part(const float *from, int64_t count) {
    Vector part = {0};
    memcpy(&part, from, (size_t)count * 4);
    return part;
}

INLINE Vector of_halves(Halves halves) { /* bf16 is the upper half of fp32 */
    Bits bits = __builtin_convertvector(halves, Bits) << 16;
    return (Vector)bits;
}

INLINE Vector of_bf16(const uint16_t *from) { return of_halves(*(const Halves *)from); }

INLINE Vector of_bf16_part(const uint16_t *from, int64_t count) {
    Halves part = {0};
    memcpy(&part, from, (size_t)count * 2);
    return of_halves(part);
}

INLINE Vector chosen(Whole which, Vector yes, Vector no) { return (Vector)(((Whole)yes & which) | ((Whole)no & ~which)); }

INLINE float sum(Vector v) { /* always in the same order */
    for (int step = LANES / 2; step; step /= 2)
        for (int i = 0; i < step; i++) v[i] += v[i + step];
    return v[0];
}

#if defined(__AVX512F__) && defined(__AVX512DQ__)
/* The sums of four vectors: a third of the instructions of four sums. */
INLINE void sums(const Vector *v, float *to) {
    __m512 a = (__m512)v[0], b = (__m512)v[1], c = (__m512)v[2], d = (__m512)v[3];
    __m512 ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
    __m512 cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
    __m512 all = _mm512_add_ps(
        _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(ab), _mm512_castps_pd(cd))),
        _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(ab), _mm512_castps_pd(cd))));
    __m256 half = _mm256_add_ps(_mm512_castps512_ps256(all), _mm512_extractf32x8_ps(all, 1));
    _mm_storeu_ps(to, _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1)));
}
#else
INLINE void sums(const Vector *v, float *to) {
    UNROLLED
    for (int i = 0; i < OUTS; i++) to[i] = sum(v[i]);
}
#endif

INLINE uint16_t to_bf16(float x) { /* to the nearest, to the even one of two */
    uint32_t bits;
    memcpy(&bits, &x, 4);
    if ((bits & 0x7fffffff) > 0x7f800000) return (uint16_t)((bits >> 16) | 64); /* stays NaN */
    return (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}
