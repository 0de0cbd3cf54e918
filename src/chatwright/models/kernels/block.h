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
    float *room = malloc(numbers * 4 + narrowed(1, rows, most) + narrowed(3, rows, most) + 64);
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
