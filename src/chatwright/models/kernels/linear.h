/* ---- y = x W' + b for any matrix: x in fewer bits, its rows filled up with zeros */

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
    int64_t kind; /* 0: fp32, 1: bf16, 2: int8, 3: NF4, whose `in` is a multiple of its blocks */
    int64_t in, out;
    const void *w; /* (out, in) */
    const float *scale; /* (out,) of int8, (out, in / BLOCK) of NF4, or null */
    const float *bias;  /* (out,), or null */
} Matrix;

/* Bytes that x takes as such a matrix with so many inputs wants it. */
static size_t narrowed(int64_t kind, int64_t rows, int64_t in) {
    int64_t groups = (in + GROUP - 1) / GROUP;
    switch (kind) {
    case 0: return 0;
    case 1: return (size_t)(rows * groups * GROUP * 2);
    case 2: return (size_t)(rows * groups * (GROUP + 8));
    default: return (size_t)(rows * in * 4);
    }
}

/* (N, in) x -> (N, out) y, both fp32; `room` has `narrowed` bytes. */
static void linear(const Matrix *m, const float *x, float *y, int64_t rows, void *room, int64_t threads) {
    int64_t groups = (m->in + GROUP - 1) / GROUP;
    Product p = {.x = x, .w = m->w, .bias = m->bias, .y = y, .rows = rows, .in = m->in, .out = m->out, .width = m->in, .tile = fp32};
    if (m->kind == 3) {
        for (int64_t row = 0; row < rows; row++) spread(x + row * m->in, (float *)room + row * m->in, m->in);
        p.x = room, p.blocks = m->scale, p.tile = nf4;
    } else if (m->kind != 0) {
        p.width = groups * GROUP;
        int8_t *codes = room;
        float *steps = (float *)(codes + rows * p.width);
        int32_t *offsets = (int32_t *)(steps + rows * groups);
        Narrowing n = {x, rows, m->in, p.width, 0, m->kind == 1 ? room : 0, codes, steps, offsets};
        share(narrowing_work, &n, rows, rows < 8 ? 1 : threads);
        p.x = room, p.scale = m->scale, p.steps = steps, p.offsets = offsets, p.tile = m->kind == 1 ? bf16 : int8;
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
