/* ---- NF4: 16 levels, two in a byte, the first in its upper half; 64 of them share a scale */

#define BLOCK 64

typedef uint8_t Bytes __attribute__((vector_size(LANES), aligned(1), may_alias));

static const float LEVELS[LANES] __attribute__((aligned(64))) = {
    -1.0f, -0.6961928009986877f, -0.5250730514526367f, -0.39491748809814453f,
    -0.28444138169288635f, -0.18477343022823334f, -0.09105003625154495f, 0.0f,
    0.07958029955625534f, 0.16093020141124725f, 0.24611230194568634f, 0.33791524171829224f,
    0.44070982933044434f, 0.5626170039176941f, 0.7229568362236023f, 1.0f};

/* The levels that the lower four bits of each code stand for. */
INLINE Vector levels(Whole code) {
#if defined(__AVX512F__)
    return (Vector)_mm512_permutexvar_ps((__m512i)code, _mm512_load_ps(LEVELS));
#elif defined(__AVX2__)
    __m256 low = _mm256_load_ps(LEVELS), high = _mm256_load_ps(LEVELS + 8), found[2];
    UNROLLED
    for (int i = 0; i < 2; i++) {
        __m256i which = _mm256_loadu_si256((const __m256i *)&code + i);
        found[i] = _mm256_blendv_ps(_mm256_permutevar8x32_ps(low, which), _mm256_permutevar8x32_ps(high, which),
                                    _mm256_castsi256_ps(_mm256_slli_epi32(which, 28)));
    }
    Vector all;
    memcpy(&all, found, sizeof all);
    return all;
#else
    Vector all;
    for (int i = 0; i < LANES; i++) all[i] = LEVELS[code[i] & 15];
    return all;
#endif
}

INLINE Whole widened(const uint8_t *from) { /* compilers take bytes apart one by one if they are not told */
#if defined(__AVX512F__)
    return (Whole)_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)from));
#elif defined(__AVX2__)
    __m256i halves[2] = {_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)from)),
                         _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(from + 8)))};
    Whole all;
    memcpy(&all, halves, sizeof all);
    return all;
#else
    return __builtin_convertvector(*(const Bytes *)from, Whole);
#endif
}

/* The levels of 32 weights: every other one from the first on, and those between. */
INLINE void decoded(const uint8_t *codes, Vector *even, Vector *odd) {
    Whole both = widened(codes);
    *even = levels(both >> 4), *odd = levels(both);
}

/* x is in the order of `decoded`, as `spread` puts it. */
SUMS(nf4) {
    int64_t in = p->in, blocks = in / BLOCK;
    const float *x = (const float *)p->x + row * p->width, *scales = p->blocks + out * blocks;
    const uint8_t *w = (const uint8_t *)p->w + out * in / 2;
    const char *next = ahead(w, outs * in / 2);
    Vector totals[ROWS][OUTS] = {{{0}}};
    for (int64_t b = 0; b < blocks; b++) {
        UNROLLED
        for (int j = 0; j < outs; j++) {
            const uint8_t *codes = w + j * in / 2 + b * BLOCK / 2;
            Vector level[4];
            decoded(codes, level, level + 1), decoded(codes + LANES, level + 2, level + 3);
            if (b % 2 == 0) ask(next, (b * outs + 2 * j) * BLOCK / 2);
            UNROLLED
            for (int i = 0; i < rows; i++) {
                Vector part = {0};
                UNROLLED
                for (int k = 0; k < 4; k++) part += level[k] * wide(x + i * p->width + b * BLOCK + k * LANES);
                totals[i][j] += part * scales[j * blocks + b];
            }
        }
    }
    keep(rows, outs, totals, to, place);
}
TILE(nf4)

/* Of every 32 numbers those with even places first, then the others. */
static void spread(const float *x, float *to, int64_t count) {
    for (int64_t k = 0; k < count; k += 2 * LANES)
        for (int64_t i = 0; i < LANES; i++) to[k + i] = x[k + 2 * i], to[k + LANES + i] = x[k + 2 * i + 1];
}

typedef struct {
    const uint8_t *codes; /* (blocks, 32) */
    const float *scales;  /* (blocks,) */
    void *to;             /* (blocks, 64) */
    int64_t blocks, narrow, next;
} Decoding;

#define AT_ONCE 256 /* blocks that a thread takes at a time */

INLINE void in_turns(Vector even, Vector odd, Vector *first, Vector *second) {
#if defined(__AVX512F__)
    __m512i low = _mm512_set_epi32(23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    __m512i high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
    *first = (Vector)_mm512_permutex2var_ps((__m512)even, low, (__m512)odd);
    *second = (Vector)_mm512_permutex2var_ps((__m512)even, high, (__m512)odd);
#else
    for (int i = 0; i < LANES / 2; i++) {
        (*first)[2 * i] = even[i], (*first)[2 * i + 1] = odd[i];
        (*second)[2 * i] = even[i + LANES / 2], (*second)[2 * i + 1] = odd[i + LANES / 2];
    }
#endif
}

INLINE void put_dense(Vector numbers, void *to, int64_t place, const int narrow) {
    if (narrow) {
        Bits bits = (Bits)numbers;
        bits = (bits + 0x7fff + (bits >> 16 & 1)) >> 16; /* to the nearest, to the even one of two */
#if defined(__AVX512F__)
        _mm256_storeu_si256((__m256i *)((uint16_t *)to + place), _mm512_cvtepi32_epi16((__m512i)bits));
#else
        *(Halves *)((uint16_t *)to + place) = __builtin_convertvector(bits, Halves);
#endif
    } else
        *(Loose *)((float *)to + place) = numbers;
}

INLINE void dense(const Decoding *d, int64_t block, const int narrow) {
    UNROLLED
    for (int half = 0; half < 2; half++) {
        Vector even, odd, first, second;
        decoded(d->codes + block * BLOCK / 2 + half * LANES, &even, &odd);
        even *= d->scales[block], odd *= d->scales[block];
        in_turns(even, odd, &first, &second);
        put_dense(first, d->to, block * BLOCK + half * 2 * LANES, narrow);
        put_dense(second, d->to, block * BLOCK + half * 2 * LANES + LANES, narrow);
    }
}

static void decoding_work(void *job) {
    Decoding *d = job;
    for (int64_t piece; (piece = taken(&d->next)) * AT_ONCE < d->blocks;) {
        int64_t last = least((piece + 1) * AT_ONCE, d->blocks);
        for (int64_t block = piece * AT_ONCE; block < last; block++) {
            if (d->narrow) dense(d, block, 1);
            else dense(d, block, 0);
        }
    }
}

/* The weights themselves, in fp32 or bf16. */
void cw_nf4(const uint8_t *codes, const float *scales, void *to, int64_t blocks, int64_t narrow, int64_t threads) {
    Decoding d = {codes, scales, to, blocks, narrow, 0};
    share(decoding_work, &d, (blocks + AT_ONCE - 1) / AT_ONCE, threads);
}
