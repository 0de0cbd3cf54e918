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
