/* ---- a whole block, for one new token in each row */

typedef struct {
    int64_t channels, inner; /* C, and those between the two matrices of the feed-forward layer */
    int64_t root;            /* the norms: 1 for RMS, 0 for layer norms */
    int64_t gated;           /* act(gate) * up, not act(up) */
    int64_t act;             /* 0: GELU by tanh, 1: SiLU, 2: GELU, 3: ReLU */
    int64_t joined;          /* `query` gives keys and values as well: 1: all queries first, 2: head by head; 0: it does not */
    int64_t parallel;        /* the feed-forward layer reads x, not what attention made of it */
    int64_t turned;          /* R: channels of a head that positions turn, or 0 */
    float epsilon, scale;    /* of the norms, and of the products of queries and keys */
    const float *norm[2], *norm_bias[2];
    const float *head_norm[2]; /* (D,): RMS norms of queries and keys, or null */
    Matrix query, key, value, mixed;
    Matrix up, gate, down;
} Block;

/* The step of a block: what the rows are, and the rotation of their positions, if there is one. */
typedef struct {
    const float *x; /* (B, C) */
    float *y;       /* (B, C) */
    void *keys, *values;
    const uint8_t *mask;
    const int64_t *places;
    const float *cos, *sin; /* (B, R), or null */
    Sizes sizes;            /* strides of the query are not looked at */
    int64_t threads;
} Step;

/* Queries, keys or values: (B, `count`, D) numbers with these strides. */
typedef struct {
    float *at;
    int64_t count, row, head;
} Heads;

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

/* e to the minus |x|. */
INLINE Vector decay(Vector x) {
    Vector most = (Vector){0} + 87.0f, size = (Vector)((Whole)x & 0x7fffffff);
    return exponential(-chosen(size > most, most, size));
}

/* GELU by tanh is x times the sigmoid of 2 sqrt(2 / pi) (x + 0.044715 x^3); SiLU is x times the sigmoid of x. GELU is x
   times the normal distribution's sum up to x, here by formula 7.1.26 of Abramowitz and Stegun, right to 2e-7. */
INLINE Vector activated(Vector x, int64_t act) {
    if (act == 3) return chosen(x < 0.0f, (Vector){0}, x); /* NaN stays NaN */
    if (act == 2) {
        Vector z = x * 0.70710678f, t = 1.0f / (1.0f + 0.3275911f * (Vector)((Whole)z & 0x7fffffff));
        Vector p = t * 1.061405429f - 1.453152027f;
        p = p * t + 1.421413741f;
        p = p * t - 0.284496736f;
        p = p * t + 0.254829592f;
        Vector beyond = 0.5f * p * t * decay(z * z);
        return x * chosen(x < 0.0f, beyond, 1.0f - beyond);
    }
    Vector inside = act ? x : (x + 0.044715f * x * x * x) * 1.5957691216f;
    Vector e = decay(inside), positive = 1.0f / (1.0f + e); /* e is at most 1 */
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

/* The first R channels of every head: c turns with c + R / 2; the first half of the sines is negated. */
static void turn(const Step *s, Heads x, int64_t R) {
    int64_t half = R / 2;
    for (int64_t row = 0; row < s->sizes.rows; row++)
        for (int64_t head = 0; head < x.count; head++) {
            float *here = x.at + row * x.row + head * x.head;
            const float *cos = s->cos + row * R, *sin = s->sin + row * R;
            for (int64_t c = 0; c < half; c++) {
                float low = here[c], high = here[c + half];
                here[c] = low * cos[c] + high * sin[c];
                here[c + half] = high * cos[c + half] + low * sin[c + half];
            }
        }
}

static void normed_heads(Heads x, const float *weight, float epsilon, int64_t rows, int64_t D) {
    for (int64_t row = 0; row < rows; row++)
        for (int64_t head = 0; head < x.count; head++) {
            float *here = x.at + row * x.row + head * x.head, squares = 0;
            for (int64_t c = 0; c < D; c++) squares += here[c] * here[c];
            float by = 1.0f / sqrtf(squares / (float)D + epsilon);
            for (int64_t c = 0; c < D; c++) here[c] *= by * weight[c];
        }
}

/* Memory for what is between x and y. */
typedef struct {
    float *h, *asked, *found, *up, *gate;
    void *narrow;
} Room;

/* Queries, keys and values of h, where they are wanted: turned, and the new ones in the cache; gives the queries. */
static Heads looked_for(const Block *b, const Step *s, const Room *r) {
    int64_t rows = s->sizes.rows, D = s->sizes.channels, H = s->sizes.heads, S = s->sizes.shared;
    int64_t all = (H + 2 * S) * D, apart = b->joined == 2 ? 3 * D : D;
    Heads query = {r->asked, H, all, apart}, key = {r->asked + (b->joined == 2 ? D : H * D), S, all, apart};
    Heads value = {key.at + (b->joined == 2 ? D : S * D), S, all, apart};
    linear(&b->query, r->h, r->asked, rows, r->narrow, s->threads);
    if (!b->joined) {
        query.row = H * D, key.row = value.row = S * D;
        key.at = r->asked + rows * H * D, value.at = key.at + rows * S * D;
        linear(&b->key, r->h, key.at, rows, r->narrow, s->threads);
        linear(&b->value, r->h, value.at, rows, r->narrow, s->threads);
    }
    if (b->head_norm[0]) normed_heads(query, b->head_norm[0], b->epsilon, rows, D);
    if (b->head_norm[1]) normed_heads(key, b->head_norm[1], b->epsilon, rows, D);
    if (b->turned) turn(s, query, b->turned), turn(s, key, b->turned);
    Sizes sizes = s->sizes;
    sizes.query_row = key.row, sizes.query_head = key.head;
    cw_store(key.at, s->keys, s->places, &sizes);
    cw_store(value.at, s->values, s->places, &sizes);
    return query;
}

/* What the feed-forward layer makes of h, in h. */
static void fed_forward(const Block *b, const Step *s, const Room *r) {
    int64_t rows = s->sizes.rows;
    linear(&b->up, r->h, r->up, rows, r->narrow, s->threads);
    if (b->gated) linear(&b->gate, r->h, r->gate, rows, r->narrow, s->threads);
    Acting a = {b, r->up, b->gated ? r->gate : 0, rows, 0};
    share(acting_work, &a, rows, s->threads);
    linear(&b->down, r->up, r->h, rows, r->narrow, s->threads);
}

/* 1 if there is no memory. */
int cw_block(const Block *b, const Step *s) {
    int64_t rows = s->sizes.rows, C = b->channels, heads = s->sizes.heads * s->sizes.channels;
    int64_t asked = heads + 2 * s->sizes.shared * s->sizes.channels, most = b->inner > heads ? b->inner : heads;
    most = most > C ? most : C;
    size_t numbers = (size_t)(rows * (C + asked + heads + 2 * b->inner));
    float *room = malloc(numbers * 4 + narrowed(1, rows, most) + narrowed(3, rows, most) + 64);
    if (!room) return 1;
    Room r = {.h = room, .asked = room + rows * C, .narrow = room + numbers};
    r.found = r.asked + rows * asked, r.up = r.found + rows * heads, r.gate = r.up + rows * b->inner;

    normed(b, 0, s->x, r.h, rows);
    Heads query = looked_for(b, s, &r);
    Sizes sizes = s->sizes;
    sizes.query_row = query.row, sizes.query_head = query.head;
    cw_attention(query.at, s->keys, s->values, s->mask, r.found, &sizes, b->scale, s->threads);
    linear(&b->mixed, r.found, s->y, rows, r.narrow, s->threads);
    for (int64_t c = 0; c < rows * C; c++) s->y[c] += s->x[c];

    normed(b, 1, b->parallel ? s->x : s->y, r.h, rows);
    fed_forward(b, s, &r);
    for (int64_t c = 0; c < rows * C; c++) s->y[c] += r.h[c];
    free(room);
    return 0;
}
