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
    const float *blocks; /* (out, in / BLOCK): the scales of NF4 */
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
   is read from front to back: with one or two rows each output reads its own numbers alone; and what comes later is
   asked for in that order, without which half of what the memory can give is left there. */
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

/* Where what is asked for while a tile is made begins: behind the tile, and far enough ahead to be there in time. */
INLINE const char *ahead(const void *tile, int64_t bytes) { return (const char *)tile + (bytes > FAR ? bytes : FAR); }

INLINE void ask(const char *next, int64_t place) { __builtin_prefetch(next + place); }

SUMS(fp32) {
    const float *x = (const float *)p->x + row * p->width, *w = (const float *)p->w + out * p->in;
    int64_t in = p->in, k = 0;
    const char *next = ahead(w, outs * in * 4);
    Vector totals[ROWS][OUTS] = {{{0}}};
    for (; k + LANES <= in; k += LANES) {
        UNROLLED
        for (int j = 0; j < outs; j++) {
            Vector weights = wide(w + j * in + k);
            ask(next, (k * outs + j * LANES) * 4);
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
    const char *next = ahead(w, outs * in * 2);
    Vector totals[ROWS][OUTS] = {{{0}}};
    for (; k + PAIRED <= in; k += PAIRED) {
        UNROLLED
        for (int j = 0; j < outs; j++) {
            __auto_type weights = halves(w + j * in + k, PAIRED);
            ask(next, (k * outs + j * PAIRED) * 2);
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
    const char *next = ahead(w, outs * in);
    Vector totals[ROWS][OUTS] = {{{0}}};
    for (; (g + 1) * GROUP <= in; g++) {
        UNROLLED
        for (int j = 0; j < 2 * outs; j++) ask(next, g * GROUP * outs + j * GROUP / 2);
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
