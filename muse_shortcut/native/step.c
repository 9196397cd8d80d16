/* One cached decoding step of the core, for B candidates at once, in the order of core.py:

       h_0 = sum_k E_k[x_k]                              blocks 1 .. L-1 are ordinary pre-norm causal blocks
       F_s = M_s(norm(h_s))        for s in S            feature map of depth s
       Q = W_Q norm(h_{L-1});  K_s = W_K F_s;  V_s = W_V F_s      rotary positions on Q and on every K_s
       A(s, j) = softmax over all (s, j) jointly of Q . K_s,j / sqrt(C)       with `norm`, Q and K of unit RMS
       u = h_{L-1} + W_O sum_{s,j} A(s, j) V_s,j;  y = u + FFN(norm(u));  logits_k = head_k(norm(y))

   A step reads every weight once and computes little with it, so its time is that of reading memory. A row of weights
   is therefore read once for all candidates, and so are the keys and values that they share.

   Weights, keys and values are torch's own memory, in float32; nothing is copied. A matrix W of a linear layer is
   (rows, columns), and computes W x. There is no global state: any number of threads may step at once. Rounding mode and
   treatment of denormal numbers are those of the caller, and nothing here changes them.

   The file is compiled once for each instruction set, with MUSE_STEP as the name of its one function. It needs no C
   library. The structures below are mirrored in library.py. */

#include "vectors.h"

#define ROWS 4     /* rows of a matrix that are read together */
#define AHEAD 3072 /* floats: how far ahead memory is fetched, where the processor does not do it by itself */

#ifdef _WIN32
#define EXPORT __declspec(dllexport)
#ifdef MUSE_ENTRY
int DllMainCRTStartup(void *library, unsigned reason, void *reserved) { /* Windows calls it on loading */
    (void)library, (void)reason, (void)reserved;
    return 1;
}
#endif
#else
#define EXPORT __attribute__((visibility("default")))
#endif

/* ---- Structures. ---- */

struct feed_forward { /* W_down gelu(W_up x) */
    const float *up, *down;
    ptrdiff_t hidden;
};

struct attention {
    const float *query, *key_value, *output;
    ptrdiff_t norm; /* whether each head's queries and keys have unit RMS */
};

struct block {
    const float *attention_norm;
    struct attention attention;
    const float *feed_forward_norm;
    struct feed_forward feed_forward;
};

struct feature { /* M_s: of the norm x, `linear` x or MLP(x), whichever there is, and x itself if `keep` */
    ptrdiff_t depth;
    const float *norm, *linear;
    struct feed_forward mlp;
    ptrdiff_t keep;
};

struct core {
    ptrdiff_t vocabulary, streams, context, layers, width, heads, features, widest; /* widest: of all hidden widths */
    const float *const *embeddings, *const *head_weights; /* K of each */
    const struct block *blocks;                           /* L - 1 */
    const struct feature *feature;                        /* n */
    struct block last;                                    /* its attention_norm is that of the query */
    const float *norm, *cos_sin;                          /* (2, context, C / 2) */
};

struct rows { /* keys and values of n layers or depths, (n, B, H, capacity, C); shared ones have B = 1 */
    float *keys, *values;
    ptrdiff_t batch, capacity, length; /* `length` of the positions are filled, but for the own one of this step */
};

struct cache {
    struct rows shared, own, shared_taps, own_taps;
};

/* ---- Products. ---- */

/* y[b][r] (+)= W[r] . x[b] for R rows and N candidates; constants, so that all sums are in registers. */
INLINE void tile(const int R, const int N, const float *w, ptrdiff_t columns, const float *x, ptrdiff_t x_stride, float *y,
                 ptrdiff_t y_stride, const int add) {
    floats total[ROWS][WIDEST] = {{{0}}};
    ptrdiff_t c = 0;
    for (; c + LANES <= columns; c += LANES)
        for (int r = 0; r < R; r++) {
            const floats row = load(w + r * columns + c);
            __builtin_prefetch(w + r * columns + c + AHEAD);
            for (int b = 0; b < N; b++) total[r][b] += row * load(x + b * x_stride + c);
        }
    const ptrdiff_t rest = columns - c;
    for (int r = 0; rest && r < R; r++)
        for (int b = 0; b < N; b++)
            total[r][b] += load_part(w + r * columns + c, rest, 0.0f) * load_part(x + b * x_stride + c, rest, 0.0f);
    for (int b = 0; b < N; b++) {
        float *to = y + b * y_stride;
        if (R == ROWS) {
            const quad four = sums(total[0][b], total[1][b], total[2][b], total[3][b]);
            if (add) *(loose_quad *)to += four;
            else *(loose_quad *)to = four;
        } else {
            *to = add ? *to + sum(total[0][b]) : sum(total[0][b]);
        }
    }
}

/* y[b] = W x[b], or y[b] += W x[b], for B vectors: W (rows, columns) is read from memory once. */
INLINE void product_(const float *w, ptrdiff_t rows, ptrdiff_t columns, const float *x, ptrdiff_t x_stride, float *y,
                     ptrdiff_t y_stride, ptrdiff_t batch, const int add) {
    ptrdiff_t r = 0;
#define ALL_CANDIDATES(R)                                                                                     \
    do {                                                                                                      \
        ptrdiff_t b = 0;                                                                                      \
        for (; b + WIDEST <= batch; b += WIDEST)                                                              \
            tile(R, WIDEST, w + r * columns, columns, x + b * x_stride, x_stride, y + b * y_stride + r, y_stride, add); \
        for (; b < batch; b++)                                                                                \
            tile(R, 1, w + r * columns, columns, x + b * x_stride, x_stride, y + b * y_stride + r, y_stride, add); \
    } while (0)
    for (; r + ROWS <= rows; r += ROWS) ALL_CANDIDATES(ROWS);
    for (; r < rows; r++) ALL_CANDIDATES(1);
}

static void product(const float *w, ptrdiff_t rows, ptrdiff_t columns, const float *x, ptrdiff_t x_stride, float *y,
                    ptrdiff_t y_stride, ptrdiff_t batch) {
    product_(w, rows, columns, x, x_stride, y, y_stride, batch, 0);
}

static void add_product(const float *w, ptrdiff_t rows, ptrdiff_t columns, const float *x, float *y, ptrdiff_t batch) {
    product_(w, rows, columns, x, columns, y, rows, batch, 1);
}

/* y[b] += sum_t p[b][t] v[t] for M vectors of columns and N candidates. */
INLINE void weighted_tile(const int M, const int N, const float *v, ptrdiff_t length, ptrdiff_t columns, const float *p,
                          ptrdiff_t p_stride, float *y, ptrdiff_t y_stride) {
    floats total[WIDEST][4];
    for (int b = 0; b < N; b++)
        for (int m = 0; m < M; m++) total[b][m] = load(y + b * y_stride + m * LANES);
    for (ptrdiff_t t = 0; t < length; t++)
        for (int m = 0; m < M; m++) {
            const floats value = load(v + t * columns + m * LANES);
            if (N > 1) __builtin_prefetch(v + t * columns + m * LANES + AHEAD);
            for (int b = 0; b < N; b++) total[b][m] += p[b * p_stride + t] * value;
        }
    for (int b = 0; b < N; b++)
        for (int m = 0; m < M; m++) store(y + b * y_stride + m * LANES, total[b][m]);
}

/* y[b] += sum_t p[b][t] v[t] for values v (length, columns), which are read once. */
static void add_weighted(const float *v, ptrdiff_t length, ptrdiff_t columns, const float *p, ptrdiff_t p_stride, float *y,
                         ptrdiff_t y_stride, ptrdiff_t batch) {
    for (ptrdiff_t b = 0; b < batch;) {
        const int wide = batch - b >= WIDEST;
        const float *weight = p + b * p_stride;
        float *to = y + b * y_stride;
        ptrdiff_t c = 0;
#define EVERY(M)                                                                                   \
    for (; c + M * LANES <= columns; c += M * LANES)                                               \
        if (wide) weighted_tile(M, WIDEST, v + c, length, columns, weight, p_stride, to + c, y_stride); \
        else weighted_tile(M, 1, v + c, length, columns, weight, p_stride, to + c, y_stride)
        EVERY(4);
        EVERY(2);
        EVERY(1);
        for (int one = 0; one < (wide ? WIDEST : 1); one++) {
            /* Columns beyond the last whole vector. */
            floats total = load_part(to + one * y_stride + c, columns - c, 0.0f);
            for (ptrdiff_t t = 0; c < columns && t < length; t++)
                total += weight[one * p_stride + t] * load_part(v + t * columns + c, columns - c, 0.0f);
            store_part(to + one * y_stride + c, total, columns - c);
        }
        b += wide ? WIDEST : 1;
    }
}

/* ---- Layers. ---- */

/* y = (x - mean) / sqrt(variance + 1e-5) * weight, for `count` vectors. */
static void layer_norm(const float *x, const float *weight, float *y, ptrdiff_t width, ptrdiff_t count) {
    for (; count--; x += width, y += width) {
        floats total = {0}, square = {0};
        const ptrdiff_t whole = width - width % LANES;
        for (ptrdiff_t c = 0; c < whole; c += LANES) total += load(x + c);
        const float mean = sum(total + load_part(x + whole, width - whole, 0.0f)) / (float)width;
        for (ptrdiff_t c = 0; c < whole; c += LANES) square += (load(x + c) - mean) * (load(x + c) - mean);
        const floats last = load_part(x + whole, width - whole, mean) - mean;
        const float scale = 1.0f / __builtin_sqrtf(sum(square + last * last) / (float)width + 1e-5f);
        for (ptrdiff_t c = 0; c < whole; c += LANES) store(y + c, (load(x + c) - mean) * scale * load(weight + c));
        for (ptrdiff_t c = whole; c < width; c++) y[c] = (x[c] - mean) * scale * weight[c];
    }
}

/* The softmax of `count` scores, in place. */
static void softmax(float *scores, ptrdiff_t count) {
    const ptrdiff_t whole = count - count % LANES, rest = count % LANES;
    floats most = load_part(scores + whole, rest, scores[0]), total = {0};
    for (ptrdiff_t t = 0; t < whole; t += LANES) {
        const floats score = load(scores + t);
        most = choose(most > score, most, score);
    }
    float largest = most[0];
    for (int i = 1; i < LANES; i++) largest = most[i] > largest ? most[i] : largest;
    for (ptrdiff_t t = 0; t < whole; t += LANES) {
        const floats power = exponential(load(scores + t) - largest);
        store(scores + t, power);
        total += power;
    }
    const floats last = exponential(load_part(scores + whole, rest, largest - 1000.0f) - largest);
    const float scale = 1.0f / sum(total + last);
    for (ptrdiff_t t = 0; t < whole; t += LANES) store(scores + t, load(scores + t) * scale);
    store_part(scores + whole, last * scale, rest);
}

/* A head's query or key (C,): unit RMS if `norm`, then rotary positions, which turn the pairs (x_i, x_{i + C/2}). */
static void rotate(float *x, ptrdiff_t head_width, ptrdiff_t norm, const float *cosine, const float *sine) {
    const ptrdiff_t half = head_width / 2;
    float scale = 1.0f;
    if (norm) {
        floats square = {0};
        ptrdiff_t c = 0;
        for (; c + LANES <= head_width; c += LANES) square += load(x + c) * load(x + c);
        const floats rest = load_part(x + c, head_width - c, 0.0f);
        scale = 1.0f / __builtin_sqrtf(sum(square + rest * rest) / (float)head_width + 1e-6f);
    }
    for (ptrdiff_t c = 0; c < half; c++) {
        const float first = x[c] * scale, second = x[c + half] * scale;
        x[c] = first * cosine[c] - second * sine[c];
        x[c + half] = second * cosine[c] + first * sine[c];
    }
}

/* y = W_down gelu(W_up x), or y += it, for `count` vectors; `hidden` has room for their hidden layer. */
static void feed_forward(const struct feed_forward *layer, const float *x, float *y, ptrdiff_t width, ptrdiff_t count,
                         float *hidden) {
    product(layer->up, layer->hidden, width, x, width, hidden, layer->hidden, count);
    /* The room is a multiple of LANES. */
    for (ptrdiff_t i = 0; i < layer->hidden * count; i += LANES) store(hidden + i, gelu(load(hidden + i)));
    add_product(layer->down, width, layer->hidden, hidden, y, count);
}

/* The positions of layer or depth s, candidate b and head h. */
INLINE float *place(const struct core *core, const struct rows *rows, float *x, ptrdiff_t s, ptrdiff_t b, ptrdiff_t h) {
    const ptrdiff_t head_width = core->width / core->heads;
    return x + ((s * rows->batch + b) * core->heads + h) * rows->capacity * head_width;
}

/* Appends keys and values (B, 2 D) of one position to the rows of s, keys with rotary positions. */
static void append(const struct core *core, const struct rows *own, ptrdiff_t s, ptrdiff_t norm, const float *cosine,
                   const float *sine, float *key_value) {
    const ptrdiff_t head_width = core->width / core->heads;
    for (ptrdiff_t b = 0; b < own->batch; b++)
        for (ptrdiff_t h = 0; h < core->heads; h++) {
            float *key = key_value + b * 2 * core->width + h * head_width;
            float *to_key = place(core, own, own->keys, s, b, h) + own->length * head_width;
            float *to_value = place(core, own, own->values, s, b, h) + own->length * head_width;
            rotate(key, head_width, norm, cosine, sine);
            for (ptrdiff_t c = 0; c < head_width; c++) to_key[c] = key[c], to_value[c] = key[core->width + c];
        }
}

/* seen[b] = sum over n sets of rows, from `first` on, and all their positions, of weights times values.

   Args:
       query: (B, D), with rotary positions.
       weights: Room for the weights of candidate b and head h, (n, T) each, at b * weights_batch + h * weights_head. */
static void attend(const struct core *core, const struct rows *shared, const struct rows *own, ptrdiff_t first,
                   ptrdiff_t n, float *query, float *weights, ptrdiff_t weights_batch, ptrdiff_t weights_head,
                   float *seen) {
    const ptrdiff_t width = core->width, head_width = width / core->heads, batch = own->batch;
    const ptrdiff_t past = shared->length, later = own->length + 1, length = past + later;
    const float scale = 1.0f / __builtin_sqrtf((float)head_width);
    for (ptrdiff_t i = 0; i < batch * width; i++) query[i] *= scale, seen[i] = 0.0f;
    for (ptrdiff_t h = 0; h < core->heads; h++) {
        float *q = query + h * head_width, *out = seen + h * head_width, *p = weights + h * weights_head;
        for (ptrdiff_t s = 0; s < n; s++) {
            if (past)
                product(place(core, shared, shared->keys, first + s, 0, h), past, head_width, q, width, p + s * length,
                        weights_batch, batch);
            for (ptrdiff_t b = 0; b < batch; b++)
                product(place(core, own, own->keys, first + s, b, h), later, head_width, q + b * width, width,
                        p + b * weights_batch + s * length + past, 0, 1);
        }
        for (ptrdiff_t b = 0; b < batch; b++) softmax(p + b * weights_batch, n * length);
        for (ptrdiff_t s = 0; s < n; s++) {
            if (past)
                add_weighted(place(core, shared, shared->values, first + s, 0, h), past, head_width, p + s * length,
                             weights_batch, out, width, batch);
            for (ptrdiff_t b = 0; b < batch; b++)
                add_weighted(place(core, own, own->values, first + s, b, h), later, head_width,
                             p + b * weights_batch + s * length + past, 0, out + b * width, width, 1);
        }
    }
}

/* ---- The step. ---- */

INLINE float *take(float **room, ptrdiff_t count) {
    float *taken = *room;
    *room += (count + 15) / 16 * 16;
    return taken;
}

/* Computes one step, and appends it to the cache.

   Args:
       ids: (B, K).
       logits: (B, K, V), written.
       weights: (B, H, n, T), written: the attention weights of the last layer.
       room: Scratch memory; `_scratch_floats` in decoding.py says how much.

   Returns 0, or 1 if an id is not in the vocabulary; nothing is written then. */
EXPORT int MUSE_STEP(const struct core *core, const struct cache *cache, const long long *ids, float *logits,
                     float *weights, float *room) {
    const ptrdiff_t width = core->width, heads = core->heads, head_width = width / heads, n = core->features;
    const ptrdiff_t batch = cache->own.batch, streams = core->streams, vocabulary = core->vocabulary;
    const ptrdiff_t length = cache->own.length + cache->shared.length + 1;
    const float *cosine = core->cos_sin + (length - 1) * (head_width / 2);
    const float *sine = cosine + core->context * (head_width / 2);
    for (ptrdiff_t i = 0; i < batch * streams; i++)
        if (ids[i] < 0 || ids[i] >= vocabulary) return 1;

    float *h = take(&room, batch * width), *x = take(&room, batch * width), *query = take(&room, batch * width);
    float *seen = take(&room, batch * width), *key_value = take(&room, n * batch * 2 * width);
    float *depths = take(&room, n * batch * width), *features = take(&room, n * batch * width);
    float *hidden = take(&room, batch * core->widest), *scores = take(&room, batch * core->context);

    for (ptrdiff_t b = 0; b < batch; b++)
        for (ptrdiff_t c = 0; c < width; c++) {
            float total = 0.0f;
            for (ptrdiff_t k = 0; k < streams; k++) total += core->embeddings[k][ids[b * streams + k] * width + c];
            h[b * width + c] = total;
        }

    for (ptrdiff_t depth = 0; depth < core->layers; depth++) {
        for (ptrdiff_t s = 0; s < n; s++)
            for (ptrdiff_t i = 0; core->feature[s].depth == depth && i < batch * width; i++)
                depths[s * batch * width + i] = h[i];
        const int is_last = depth == core->layers - 1;
        const struct block *block = is_last ? &core->last : core->blocks + depth;
        const struct attention *attention = &block->attention;
        layer_norm(h, block->attention_norm, x, width, batch);
        product(attention->query, width, width, x, width, query, width, batch);
        for (ptrdiff_t i = 0; i < batch * heads; i++)
            rotate(query + i * head_width, head_width, attention->norm, cosine, sine);
        if (!is_last) {
            product(attention->key_value, 2 * width, width, x, width, key_value, 2 * width, batch);
            append(core, &cache->own, depth, attention->norm, cosine, sine, key_value);
            attend(core, &cache->shared, &cache->own, depth, 1, query, scores, core->context, 0, seen);
        } else {
            for (ptrdiff_t s = 0; s < n; s++) {
                const struct feature *feature = core->feature + s;
                float *mapped = features + s * batch * width;
                layer_norm(depths + s * batch * width, feature->norm, x, width, batch);
                const int keep = feature->keep || (!feature->linear && !feature->mlp.up);
                for (ptrdiff_t i = 0; i < batch * width; i++) mapped[i] = keep ? x[i] : 0.0f;
                if (feature->linear) add_product(feature->linear, width, width, x, mapped, batch);
                if (feature->mlp.up) feed_forward(&feature->mlp, x, mapped, width, batch, hidden);
            }
            product(attention->key_value, 2 * width, width, features, width, key_value, 2 * width, n * batch);
            for (ptrdiff_t s = 0; s < n; s++)
                append(core, &cache->own_taps, s, attention->norm, cosine, sine, key_value + s * batch * 2 * width);
            attend(core, &cache->shared_taps, &cache->own_taps, 0, n, query, weights, heads * n * length, n * length,
                   seen);
        }
        add_product(attention->output, width, width, seen, h, batch);
        layer_norm(h, block->feed_forward_norm, x, width, batch);
        feed_forward(&block->feed_forward, x, h, width, batch, hidden);
    }

    layer_norm(h, core->norm, x, width, batch);
    for (ptrdiff_t k = 0; k < streams; k++)
        product(core->head_weights[k], vocabulary, width, x, width, logits + k * vocabulary, streams * vocabulary, batch);
    return 0;
}
