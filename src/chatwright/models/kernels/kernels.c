/* Products and attention for a few rows, as decoding has them: each reads its matrix once, as fast as memory gives it.

   Plain C with vectors of GCC and Clang, which become AVX, NEON or whatever the processor has; intrinsics stand only where
   a processor multiplies small numbers. Every row of a result is computed in the same order whatever rows stand beside it.
   Shapes: N rows, `in` and `out` features; B rows of a cache, H query heads, S key-value heads, K keys, D channels. */

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

/* ---- products: y = x W' + b */

typedef struct Product Product;
struct Product {
    const void *x; /* (N, width): fp32, or what `narrowed` made of it */
    const void *w; /* (out, in) */
    const float *scale, *bias; /* (out,) or null */
    float *y; /* (N, out) */
    int64_t rows, in, out, width;
    const float *steps; /* (N, in / GROUP): what x's groups are multiplied with */
    const int32_t *offsets; /* (N, in / GROUP): what their sums begin with */
    void (*tile)(const Product *, int64_t row, int rows, int64_t out, int outs);
    int64_t next, some;
};

/* a b + c rounded once where the processor can; left to the compiler, it would be once here and twice there. */
INLINE float times_plus(float a, float b, float c) {
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
    return __builtin_fmaf(a, b, c);
#else
    return a * b + c;
#endif
}

INLINE void put(const Product *p, int64_t row, int64_t out, int outs, const Vector *totals) {
    float found[OUTS];
    if (outs == OUTS) sums(totals, found);
    else
        UNROLLED
        for (int j = 0; j < outs; j++) found[j] = sum(totals[j]);
    UNROLLED
    for (int j = 0; j < outs; j++) {
        float bias = p->bias ? p->bias[out + j] : 0.0f;
        p->y[row * p->out + out + j] = times_plus(found[j], p->scale ? p->scale[out + j] : 1.0f, bias);
    }
}

/* What one kind of numbers needs: the sums of `rows` times `outs` products from here on, in vectors that are yet to be
   summed up. Sizes are constants where it is called, so that all sums stay in registers. A matrix comes fastest when it
   is read from front to back: with one or two rows each output reads its own numbers alone; with more, what the next
   outputs need is asked for in that order. */
#define SUMS(KIND)                                                                                                     \
    INLINE void KIND##_sums(const Product *p, int64_t row, const int rows, int64_t out, const int outs,                \
                            Vector (*to)[OUTS], const int place)

INLINE void keep(const int rows, const int outs, Vector (*from)[OUTS], Vector (*to)[OUTS], const int place) {
    UNROLLED
    for (int i = 0; i < rows; i++) {
        UNROLLED
        for (int j = 0; j < outs; j++) to[i][place + j] = from[i][j];
    }
}

/* KIND(p, row, rows, out, outs): a tile of the result. */
#define TILE(KIND)                                                                                                     \
    INLINE void KIND##_tile(const Product *p, int64_t row, const int rows, int64_t out) {                              \
        Vector totals[ROWS][OUTS];                                                                                     \
        if (rows <= 2) {                                                                                               \
            UNROLLED                                                                                                   \
            for (int j = 0; j < OUTS; j++) KIND##_sums(p, row, rows, out + j, 1, totals, j);                           \
        } else                                                                                                         \
            KIND##_sums(p, row, rows, out, OUTS, totals, 0);                                                           \
        UNROLLED                                                                                                       \
        for (int i = 0; i < rows; i++) put(p, row + i, out, OUTS, totals[i]);                                          \
    }                                                                                                                  \
    static void KIND(const Product *p, int64_t row, int rows, int64_t out, int outs) {                                 \
        if (outs < OUTS)                                                                                               \
            for (int i = 0; i < rows; i++)                                                                             \
                for (int j = 0; j < outs; j++) {                                                                       \
                    Vector totals[ROWS][OUTS];                                                                         \
                    KIND##_sums(p, row + i, 1, out + j, 1, totals, 0);                                                 \
                    put(p, row + i, out + j, 1, totals[0]);                                                            \
                }                                                                                                      \
        else if (rows == 4) KIND##_tile(p, row, 4, out);                                                               \
        else if (rows == 3) KIND##_tile(p, row, 3, out);                                                               \
        else if (rows == 2) KIND##_tile(p, row, 2, out);                                                               \
        else KIND##_tile(p, row, 1, out);                                                                              \
    }

/* Asks for the weights of the next outputs while these are used: the piece that as many steps from their front. */
INLINE void ask(const void *next, int64_t step, const int outs) {
    if (outs > 1) __builtin_prefetch((const char *)next + step * 64);
}

SUMS(fp32) {
    const float *x = (const float *)p->x + row * p->width, *w = (const float *)p->w + out * p->in;
    int64_t in = p->in, k = 0;
    Vector totals[ROWS][OUTS] = {{{0}}};
    for (; k + LANES <= in; k += LANES) {
        UNROLLED
        for (int j = 0; j < outs; j++) {
            Vector weights = wide(w + j * in + k);
            ask(w + OUTS * in, k / LANES * OUTS + j, outs);
            UNROLLED
            for (int i = 0; i < rows; i++) totals[i][j] += weights * wide(x + i * p->width + k);
        }
    }
    if (k < in) {
        UNROLLED
        for (int j = 0; j < outs; j++) {
            Vector weights = wide_part(w + j * in + k, in - k);
            UNROLLED
            for (int i = 0; i < rows; i++) totals[i][j] += weights * wide_part(x + i * p->width + k, in - k);
        }
    }
    keep(rows, outs, totals, to, place);
}
TILE(fp32)

#if defined(__AVX512BF16__) && defined(__AVX512BW__)
#define PAIRED (2 * LANES)

INLINE Vector pairs(Vector total, __m512i weights, const uint16_t *x) {
    return (Vector)_mm512_dpbf16_ps((__m512)total, (__m512bh)weights, (__m512bh)_mm512_loadu_si512(x));
}

INLINE __m512i halves(const uint16_t *from, int64_t count) {
    return count >= PAIRED ? _mm512_loadu_si512(from) : _mm512_maskz_loadu_epi16((1u << count) - 1, from);
}
#else
#define PAIRED LANES

INLINE Vector pairs(Vector total, Vector weights, const uint16_t *x) { return total + weights * of_bf16(x); }

INLINE Vector halves(const uint16_t *from, int64_t count) {
    return count >= PAIRED ? of_bf16(from) : of_bf16_part(from, count);
}
#endif

SUMS(bf16) {
    const uint16_t *x = (const uint16_t *)p->x + row * p->width, *w = (const uint16_t *)p->w + out * p->in;
    int64_t in = p->in, k = 0;
    Vector totals[ROWS][OUTS] = {{{0}}};
    for (; k + PAIRED <= in; k += PAIRED) {
        UNROLLED
        for (int j = 0; j < outs; j++) {
            __auto_type weights = halves(w + j * in + k, PAIRED);
            ask(w + OUTS * in, k / PAIRED * OUTS + j, outs);
            UNROLLED
            for (int i = 0; i < rows; i++) totals[i][j] = pairs(totals[i][j], weights, x + i * p->width + k);
        }
    }
    if (k < in) {
        UNROLLED
        for (int j = 0; j < outs; j++) {
            __auto_type weights = halves(w + j * in + k, in - k);
            UNROLLED
            for (int i = 0; i < rows; i++) totals[i][j] = pairs(totals[i][j], weights, x + i * p->width + k);
        }
    }
    keep(rows, outs, totals, to, place);
}
TILE(bf16)

/* int8: whole numbers, exact within a group, whose sum is then multiplied with the group's step. */
#if defined(__AVX512VNNI__) && defined(__AVX512BW__)
INLINE __m512i unsigned_codes(const int8_t *from, int64_t count) { /* 64 of them, + 128: the instruction wants that */
    __m512i codes = count >= 64 ? _mm512_loadu_si512(from)
                                : _mm512_maskz_loadu_epi8(count > 0 ? (1ull << count) - 1 : 0, from);
    return _mm512_xor_si512(codes, _mm512_set1_epi8(-128));
}

INLINE void group_sums(const Product *p, int64_t row, const int rows, const int outs, int64_t g, const int8_t *w,
                       Vector (*totals)[OUTS], int64_t count) {
    int64_t groups = p->width / GROUP;
    __m512i low[OUTS], high[OUTS];
    UNROLLED
    for (int j = 0; j < outs; j++) {
        low[j] = unsigned_codes(w + j * p->in, count), high[j] = unsigned_codes(w + j * p->in + 64, count - 64);
    }
    UNROLLED
    for (int i = 0; i < rows; i++) {
        int64_t group = (row + i) * groups + g;
        const int8_t *x = (const int8_t *)p->x + group * GROUP;
        __m512i first = _mm512_loadu_si512(x), second = _mm512_loadu_si512(x + 64);
        /* + 128 adds 128 times the sum of x, so the sum begins that much lower: a 16th of it in each lane */
        __m512i begin = _mm512_set1_epi32(p->offsets[group]);
        __m512 step = _mm512_set1_ps(p->steps[group]);
        UNROLLED
        for (int j = 0; j < outs; j++) {
            __m512i total = _mm512_dpbusd_epi32(_mm512_dpbusd_epi32(begin, low[j], first), high[j], second);
            totals[i][j] = (Vector)_mm512_fmadd_ps(_mm512_cvtepi32_ps(total), step, (__m512)totals[i][j]);
        }
    }
}
#else
INLINE int32_t whole_product(const int8_t *a, const int8_t *b, int64_t count) {
    int32_t total = 0;
    int64_t k = 0;
#if defined(__AVX2__)
    __m256i totals = _mm256_setzero_si256();
    for (; k + 16 <= count; k += 16) {
        __m256i left = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(a + k)));
        __m256i right = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(b + k)));
        totals = _mm256_add_epi32(totals, _mm256_madd_epi16(left, right));
    }
    int32_t parts[8];
    memcpy(parts, &totals, sizeof parts);
    for (int i = 0; i < 8; i++) total += parts[i];
#endif
    for (; k < count; k++) total += a[k] * b[k];
    return total;
}

INLINE void group_sums(const Product *p, int64_t row, const int rows, const int outs, int64_t g, const int8_t *w,
                       Vector (*totals)[OUTS], int64_t count) {
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < outs; j++) {
            int64_t group = (row + i) * (p->width / GROUP) + g;
            int32_t total = whole_product((const int8_t *)p->x + group * GROUP, w + j * p->in, count);
            totals[i][j][0] += (float)total * p->steps[group];
        }
}
#endif

SUMS(int8) {
    const int8_t *w = (const int8_t *)p->w + out * p->in;
    int64_t in = p->in, g = 0;
    Vector totals[ROWS][OUTS] = {{{0}}};
    for (; (g + 1) * GROUP <= in; g++) {
        UNROLLED
        for (int j = 0; j < 2 * outs; j++) ask(w + OUTS * in, g * 2 * OUTS + j, outs);
        group_sums(p, row, rows, outs, g, w + g * GROUP, totals, GROUP);
    }
    if (g * GROUP < in) group_sums(p, row, rows, outs, g, w + g * GROUP, totals, in - g * GROUP);
    keep(rows, outs, totals, to, place);
}
TILE(int8)

static void product_work(void *job) {
    Product *p = job;
    int64_t across = (p->out + p->some - 1) / p->some, down = (p->rows + SOME_ROWS - 1) / SOME_ROWS;
    for (int64_t piece; (piece = taken(&p->next)) < across * down;) {
        int64_t first = piece / across * SOME_ROWS, last = least(first + SOME_ROWS, p->rows);
        int64_t left = piece % across * p->some, right = least(left + p->some, p->out);
        for (int64_t out = left; out < right; out += OUTS)
            for (int64_t row = first; row < last; row += ROWS)
                p->tile(p, row, (int)least(ROWS, last - row), out, (int)least(OUTS, right - out));
    }
}

static void multiply(Product *p, int64_t threads) {
    int64_t some = p->out / (threads * PIECES) / OUTS * OUTS;
    p->some = some > SOME_OUTS ? some : SOME_OUTS;
    int64_t across = (p->out + p->some - 1) / p->some, down = (p->rows + SOME_ROWS - 1) / SOME_ROWS;
    p->next = 0;
    share(product_work, p, across * down, threads);
}

/* ---- x in fewer bits, its rows filled up with zeros */

typedef struct {
    const float *x; /* (N, in) */
    int64_t rows, in, width, next;
    uint16_t *halves; /* (N, width), or null where it is codes that are wanted: */
    int8_t *codes;    /* (N, width) */
    float *steps;     /* (N, width / GROUP) */
    int32_t *offsets;
} Narrowing;

/* -127 ... 127 times a step. */
static void group_codes(const float *x, int8_t *to, float *step, int32_t *offset) {
    int32_t largest = 0, total = 0, whole[GROUP];
    for (int k = 0; k < GROUP; k++) {
        int32_t bits; /* without their sign, bits are in the order of the numbers */
        memcpy(&bits, x + k, 4);
        bits &= 0x7fffffff;
        largest = bits > largest ? bits : largest;
    }
    float most;
    memcpy(&most, &largest, 4);
    int fits = largest < 0x7f800000 && most > 1e-30f;
    float per = fits ? 127 / most : 0;
    for (int k = 0; k < GROUP; k++) {
        float nearest = (fits ? x[k] * per : 0.0f) + 12582912.0f; /* 1.5 * 2^23: what follows the point is rounded off */
        whole[k] = (int32_t)(nearest - 12582912.0f);
        total += whole[k];
    }
    for (int k = 0; k < GROUP; k++) to[k] = (int8_t)whole[k];
    *step = most / 127; /* not finite where x is not: then so is the product, as 0 times it */
    *offset = -8 * total;
}

static void narrowing_work(void *job) {
    Narrowing *n = job;
    for (int64_t row; (row = taken(&n->next)) < n->rows;) {
        const float *x = n->x + row * n->in;
        if (n->halves) {
            uint16_t *to = n->halves + row * n->width;
            int64_t k = 0;
#if defined(__AVX512BF16__)
            for (; k + LANES <= n->in; k += LANES) {
                __m256bh halves = _mm512_cvtneps_pbh((__m512)wide(x + k));
                memcpy(to + k, &halves, sizeof halves);
            }
#endif
            for (; k < n->in; k++) to[k] = to_bf16(x[k]);
            memset(to + n->in, 0, (size_t)(n->width - n->in) * 2);
        } else
            for (int64_t g = 0; g < n->width / GROUP; g++) {
                float part[GROUP] = {0};
                int64_t place = row * (n->width / GROUP) + g, count = least(GROUP, n->in - g * GROUP);
                if (count < GROUP) memcpy(part, x + g * GROUP, (size_t)count * 4);
                const float *from = count < GROUP ? part : x + g * GROUP;
                group_codes(from, n->codes + place * GROUP, n->steps + place, n->offsets + place);
            }
    }
}

/* A matrix and what belongs to it, as Python fills it in. */
typedef struct {
    int64_t kind; /* 0: fp32, 1: bf16, 2: int8 */
    int64_t in, out;
    const void *w; /* (out, in) */
    const float *scale, *bias; /* (out,): of int8; or null */
} Matrix;

/* Bytes that x takes in fewer bits, for a matrix with so many inputs. */
static size_t narrowed(int64_t kind, int64_t rows, int64_t in) {
    int64_t groups = (in + GROUP - 1) / GROUP;
    return (size_t)(kind == 0 ? 0 : kind == 1 ? rows * groups * GROUP * 2 : rows * groups * (GROUP + 8));
}

/* (N, in) x -> (N, out) y, both fp32; `room` is for x in fewer bits. */
static void linear(const Matrix *m, const float *x, float *y, int64_t rows, void *room, int64_t threads) {
    int64_t groups = (m->in + GROUP - 1) / GROUP, width = m->kind == 0 ? m->in : groups * GROUP;
    Product p = {x, m->w, m->scale, m->bias, y, rows, m->in, m->out, width, 0, 0, fp32, 0, 0};
    if (m->kind != 0) {
        int8_t *codes = room;
        float *steps = (float *)(codes + rows * width);
        int32_t *offsets = (int32_t *)(steps + rows * groups);
        Narrowing n = {x, rows, m->in, width, 0, m->kind == 1 ? room : 0, codes, steps, offsets};
        share(narrowing_work, &n, rows, rows < 8 ? 1 : threads);
        p.x = room, p.steps = steps, p.offsets = offsets, p.tile = m->kind == 1 ? bf16 : int8;
    }
    multiply(&p, threads);
}

/* 1 if there is no memory. */
int cw_linear(const Matrix *m, const float *x, float *y, int64_t rows, int64_t threads) {
    void *room = malloc(narrowed(m->kind, rows, m->in) + 1);
    if (!room) return 1;
    linear(m, x, y, rows, room, threads);
    free(room);
    return 0;
}

/* ---- a cache, and attention of one new token in each row */

typedef struct {
    const float *query; /* (B, H, D) */
    void *keys, *values; /* (B, S, K, D) */
    const uint8_t *mask; /* (B, K): which keys are seen, or null: all */
    float *y; /* (B, H, D) */
    int64_t rows, heads, shared, seen, channels;
    int64_t query_row, query_head; /* how many numbers are between one row or head and the next */
    int64_t row, head, mask_row;
    int64_t narrow; /* keys and values are bf16, not fp32 */
    float scale;
    int64_t next;
} Looking;

INLINE Vector exponential(Vector x) { /* of numbers from -87 to 0; the polynomial of Cephes' expf, right to 2e-7 */
    Vector n = x * 1.44269504f + 12582912.0f - 12582912.0f;
    Vector r = x - n * 0.693359375f + n * 2.12194440e-4f, p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    Whole power = (__builtin_convertvector(n, Whole) + 127) << 23;
    return p * (Vector)power;
}

INLINE Vector stored(const void *from, int64_t place, int64_t count, const int narrow) {
    if (narrow) {
        const uint16_t *halves = (const uint16_t *)from + place;
        return count >= LANES ? of_bf16(halves) : of_bf16_part(halves, count);
    }
    const float *numbers = (const float *)from + place;
    return count >= LANES ? wide(numbers) : wide_part(numbers, count);
}

/* What one head of one row sees, for D channels in `parts` vectors. */
INLINE void look(const Looking *l, int64_t row, int64_t head, const int64_t D, const int64_t parts, const int narrow) {
    int64_t place = row * l->row + head / (l->heads / l->shared) * l->head;
    const float *query = l->query + row * l->query_row + head * l->query_head;
    Vector asked[MOST_CHANNELS / LANES], found[MOST_CHANNELS / LANES];
    UNROLLED
    for (int64_t c = 0; c < parts; c++) {
        asked[c] = stored(query, c * LANES, D - c * LANES, 0) * l->scale;
        found[c] = (Vector){0};
    }
    float most = -INFINITY, whole = 0;
    for (int64_t first = 0; first < l->seen; first += KEYS) {
        float odds[KEYS] __attribute__((aligned(64)));
        int64_t count = least(KEYS, l->seen - first), k = 0;
        const uint8_t *mask = l->mask ? l->mask + row * l->mask_row + first : 0;
        for (; k < count; k += OUTS) { /* beyond the last key its product is made again, and not used */
            Vector totals[OUTS];
            UNROLLED
            for (int64_t j = 0; j < OUTS; j++) {
                int64_t key = place + (first + least(k + j, count - 1)) * D;
                totals[j] = (Vector){0};
                UNROLLED
                for (int64_t c = 0; c < parts; c++) {
                    totals[j] += asked[c] * stored(l->keys, key + c * LANES, D - c * LANES, narrow);
                    __builtin_prefetch((const char *)l->values + (key + c * LANES) * (narrow ? 2 : 4));
                    __builtin_prefetch((const char *)l->keys + (key + AHEAD * D + c * LANES) * (narrow ? 2 : 4));
                }
            }
            sums(totals, odds + k);
        }
        float before = most;
        for (k = 0; k < KEYS; k++) odds[k] = k < count && (!mask || mask[k]) ? odds[k] : -INFINITY;
        for (k = 0; k < count; k++) most = odds[k] > most ? odds[k] : most;
        if (most == -INFINITY) continue; /* nothing seen yet */
        Vector total = {0};
        for (k = 0; k < KEYS; k += LANES) {
            Vector x = wide(odds + k) - most;
            Vector e = (Vector)((Whole)exponential(x) & ~(x < -87.0f)); /* NaN stays NaN */
            *(Loose *)(odds + k) = e;
            total += e;
        }
        float shrink = before == most ? 1.0f : expf(before - most);
        whole = whole * shrink + sum(total);
        UNROLLED
        for (int64_t c = 0; c < parts; c++) found[c] *= shrink;
        for (k = 0; k < count; k++) {
            UNROLLED
            for (int64_t c = 0; c < parts; c++)
                found[c] += odds[k] * stored(l->values, place + (first + k) * D + c * LANES, D - c * LANES, narrow);
        }
    }
    float *y = l->y + (row * l->heads + head) * D;
    UNROLLED
    for (int64_t c = 0; c < parts; c++) {
        Vector result = found[c] / whole;
        memcpy(y + c * LANES, &result, (size_t)least(LANES, D - c * LANES) * 4);
    }
}

/* The usual sizes as constants, so that what is found stays in registers. */
INLINE void look_at(const Looking *l, int64_t row, int64_t head, const int narrow) {
    int64_t D = l->channels;
    if (D == 32) look(l, row, head, 32, 2, narrow);
    else if (D == 64) look(l, row, head, 64, 4, narrow);
    else if (D == 128) look(l, row, head, 128, 8, narrow);
    else look(l, row, head, D, (D + LANES - 1) / LANES, narrow);
}

static void looking_work(void *job) {
    Looking *l = job;
    for (int64_t piece; (piece = taken(&l->next)) < l->rows * l->heads;) {
        if (l->narrow) look_at(l, piece / l->heads, piece % l->heads, 1);
        else look_at(l, piece / l->heads, piece % l->heads, 0);
    }
}

/* B, H, S, K, D; the strides of the query's rows and heads, the cache's rows and heads, the mask's rows; and 1 where the
   cache is bf16, 0 where it is fp32 */
typedef struct {
    int64_t rows, heads, shared, seen, channels, query_row, query_head, row, head, mask_row, narrow;
} Sizes;

static void attend(Looking *l, int64_t threads) {
    share(looking_work, l, l->rows * l->heads, l->seen * l->rows < 64 ? 1 : threads);
}

INLINE Looking looking(const float *query, void *keys, void *values, const uint8_t *mask, float *y, const Sizes *s) {
    Looking l = {query, keys, values, mask, y, s->rows, s->heads, s->shared, s->seen, s->channels,
                 s->query_row, s->query_head, s->row, s->head, s->mask_row, s->narrow, 0, 0};
    return l;
}

void cw_attention(const float *query, void *keys, void *values, const uint8_t *mask, float *y, const Sizes *sizes,
                  float scale, int64_t threads) {
    Looking l = looking(query, keys, values, mask, y, sizes);
    l.scale = scale;
    attend(&l, threads);
}

/* Puts (B, S, D) new keys or values, whose strides are the query's, at the (B,) places of the rows. */
void cw_store(const float *from, void *to, const int64_t *places, const Sizes *s) {
    for (int64_t row = 0; row < s->rows; row++)
        for (int64_t head = 0; head < s->shared; head++) {
            const float *new = from + row * s->query_row + head * s->query_head;
            int64_t place = row * s->row + head * s->head + places[row] * s->channels;
            if (!s->narrow) memcpy((float *)to + place, new, (size_t)s->channels * 4);
            else
                for (int64_t c = 0; c < s->channels; c++) ((uint16_t *)to)[place + c] = to_bf16(new[c]);
        }
}

/* ---- a whole block, for one new token in each row */

typedef struct {
    int64_t channels, inner; /* C, and those between the two matrices of the feed-forward layer */
    int64_t root;            /* the norms: 1 for RMS, 0 for layer norms */
    int64_t gated;           /* act(gate) * up, not act(up) */
    int64_t act;             /* 0: GELU by tanh, 1: SiLU */
    float epsilon, scale;    /* of the norms, and of the products of queries and keys */
    const float *norm[2], *norm_bias[2];
    Matrix query, key, value, mixed; /* `query` gives all three where `key` and `value` have no matrix */
    Matrix up, gate, down;
} Block;

/* The step of a block: what the rows are, and the rotation of their positions, if there is one. */
typedef struct {
    const float *x; /* (B, C) */
    float *y;       /* (B, C) */
    void *keys, *values;
    const uint8_t *mask;
    const int64_t *places;
    const float *cos, *sin; /* (B, D), or null */
    Sizes sizes;            /* strides of the query are not looked at */
    int64_t threads;
} Step;

static void normed(const Block *b, int which, const float *x, float *y, int64_t rows) {
    int64_t C = b->channels;
    const float *weight = b->norm[which], *bias = b->norm_bias[which];
    for (int64_t row = 0; row < rows; row++, x += C, y += C) {
        Vector total = {0};
        int64_t c = 0, whole = C / LANES * LANES;
        for (; c < whole; c += LANES) total += wide(x + c);
        float mean = b->root ? 0 : (sum(total + wide_part(x + whole, C - whole))) / (float)C;
        Vector squares = {0};
        for (c = 0; c < whole; c += LANES) {
            Vector far = wide(x + c) - mean;
            squares += far * far;
        }
        float rest = 0;
        for (; c < C; c++) rest += (x[c] - mean) * (x[c] - mean);
        float by = 1.0f / sqrtf((sum(squares) + rest) / (float)C + b->epsilon);
        for (c = 0; c < C; c++) y[c] = (x[c] - mean) * by * weight[c] + (bias ? bias[c] : 0.0f);
    }
}

/* GELU by tanh is x times the sigmoid of 2 sqrt(2 / pi) (x + 0.044715 x^3); SiLU is x times the sigmoid of x. */
INLINE Vector activated(Vector x, int64_t act) {
    Vector inside = act ? x : (x + 0.044715f * x * x * x) * 1.5957691216f;
    Vector most = (Vector){0} + 87.0f, size = (Vector)((Whole)inside & 0x7fffffff);
    Vector e = exponential(-chosen(size > most, most, size)), positive = 1.0f / (1.0f + e); /* e is at most 1 */
    return x * chosen(inside < 0.0f, e * positive, positive);
}

typedef struct {
    const Block *block;
    float *up;
    const float *gate;
    int64_t rows, next;
} Acting;

static void acting_work(void *job) {
    Acting *a = job;
    int64_t inner = a->block->inner, act = a->block->act;
    for (int64_t row; (row = taken(&a->next)) < a->rows;) {
        float *up = a->up + row * inner;
        const float *from = a->gate ? a->gate + row * inner : up;
        for (int64_t c = 0; c < inner; c += LANES) {
            int64_t left = inner - c;
            Vector found = activated(left < LANES ? wide_part(from + c, left) : wide(from + c), act);
            if (a->gate) found *= left < LANES ? wide_part(up + c, left) : wide(up + c);
            if (left < LANES) memcpy(up + c, &found, (size_t)left * 4);
            else *(Loose *)(up + c) = found;
        }
    }
}

/* The first R channels of every head: c turns with c + R / 2 (R is D here, and sines are signed). */
static void turn(const Step *s, float *x, int64_t heads, int64_t row_step) {
    int64_t D = s->sizes.channels, half = D / 2;
    for (int64_t row = 0; row < s->sizes.rows; row++)
        for (int64_t head = 0; head < heads; head++) {
            float *here = x + row * row_step + head * D;
            const float *cos = s->cos + row * D, *sin = s->sin + row * D;
            for (int64_t c = 0; c < half; c++) {
                float low = here[c], high = here[c + half];
                here[c] = low * cos[c] + high * sin[c];
                here[c + half] = high * cos[c + half] + low * sin[c + half];
            }
        }
}

/* 1 if there is no memory. */
int cw_block(const Block *b, const Step *s) {
    int64_t rows = s->sizes.rows, C = b->channels, D = s->sizes.channels, threads = s->threads;
    int64_t heads = s->sizes.heads * D, shared = s->sizes.shared * D, wide_one = heads + 2 * shared;
    int64_t most = b->inner > heads ? b->inner : heads;
    most = most > C ? most : C;
    size_t numbers = (size_t)(rows * (C + wide_one + heads + 2 * b->inner));
    float *room = malloc(numbers * 4 + narrowed(1, rows, most) + 64);
    if (!room) return 1;
    float *h = room, *asked = h + rows * C, *found = asked + rows * wide_one, *up = found + rows * heads;
    float *gate = up + rows * b->inner;
    void *narrow = room + numbers;

    normed(b, 0, s->x, h, rows);
    int split = b->key.w != 0;
    float *key = split ? asked + rows * heads : asked + heads, *value = split ? key + rows * shared : key + shared;
    linear(&b->query, h, asked, rows, narrow, threads);
    if (split) linear(&b->key, h, key, rows, narrow, threads), linear(&b->value, h, value, rows, narrow, threads);
    int64_t query_row = split ? heads : wide_one, key_row = split ? shared : wide_one;
    if (s->cos) turn(s, asked, s->sizes.heads, query_row), turn(s, key, s->sizes.shared, key_row);
    Sizes sizes = s->sizes;
    sizes.query_row = key_row, sizes.query_head = D;
    cw_store(key, s->keys, s->places, &sizes);
    cw_store(value, s->values, s->places, &sizes);
    sizes.query_row = query_row;
    cw_attention(asked, s->keys, s->values, s->mask, found, &sizes, b->scale, threads);
    linear(&b->mixed, found, s->y, rows, narrow, threads);
    for (int64_t c = 0; c < rows * C; c++) s->y[c] += s->x[c];

    normed(b, 1, s->y, h, rows);
    linear(&b->up, h, up, rows, narrow, threads);
    if (b->gated) linear(&b->gate, h, gate, rows, narrow, threads);
    Acting a = {b, up, b->gated ? gate : 0, rows, 0};
    share(acting_work, &a, rows, threads);
    linear(&b->down, up, h, rows, narrow, threads);
    for (int64_t c = 0; c < rows * C; c++) s->y[c] += h[c];
    free(room);
    return 0;
}
