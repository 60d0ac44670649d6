/* Hadamard blocks and one-hot runs in one precision, for one generation of processor. The includer
   gives KIND; REAL; BITS, an unsigned integer of its size; W, the numbers of a vector; REGISTERS,
   how many vectors are worked on at once; and STREAM, which writes one past the caches. */

typedef REAL NAME(vec) __attribute__((vector_size(W * sizeof(REAL))));
typedef BITS NAME(bits) __attribute__((vector_size(W * sizeof(REAL))));
typedef REAL NAME(loose) __attribute__((vector_size(W * sizeof(REAL)), aligned(sizeof(REAL)),
                                        may_alias)); /* anywhere in memory */
#define VEC NAME(vec)
#define UINTS NAME(bits)
#define LOOSE NAME(loose)
#define TOP ((BITS)1 << (8 * sizeof(BITS) - 1))
#define T(lane) ((lane) ? TOP : 0)
#define ROOM(block) (4 * (block) * (int64_t)sizeof(REAL))
#define PARTS_OF(block) (NAME(in_pairs)(block) ? PARTS / 2 : PARTS)
#ifdef __clang__
#define SHUFFLE(v, ...) __builtin_shufflevector(v, v, __VA_ARGS__)
#else
#define SHUFFLE(v, ...) __builtin_shuffle(v, (UINTS){__VA_ARGS__})
#endif
/* One thing a lane: f(0), f(1) ... */
#if W == 16
#define EACH(f)                                                                                    \
    f(0), f(1), f(2), f(3), f(4), f(5), f(6), f(7), f(8), f(9), f(10), f(11), f(12), f(13), f(14), \
        f(15)
#elif W == 8
#define EACH(f) f(0), f(1), f(2), f(3), f(4), f(5), f(6), f(7)
#elif W == 4
#define EACH(f) f(0), f(1), f(2), f(3)
#else
#define EACH(f) f(0), f(1)
#endif

/* The W signs from the i-th on, as the low bits of a word. No byte after their last is read. */
INLINE uint32_t NAME(word)(const uint8_t *signs, int64_t i)
{
    const uint8_t *byte = signs + i / 8;
    uint32_t word = byte[0];
    if (i % 8 + W > 8)
        word |= (uint32_t)byte[1] << 8;
    if (i % 8 + W > 16)
        word |= (uint32_t)byte[2] << 16;
    return word >> (i % 8);
}

/* x where bit l of the word is 0, -x where it is 1, lane by lane. */
INLINE VEC NAME(signed_by)(VEC x, uint32_t word)
{
#if W == 16
    return (VEC)_mm512_mask_xor_ps((__m512)x, (__mmask16)word, (__m512)x,
                                   (__m512)((UINTS){0} + TOP));
#elif W == 8
#define AWAY(lane) 31 - (lane)
    const UINTS away = {EACH(AWAY)};
#undef AWAY
    return (VEC)((UINTS)x ^ ((((UINTS){0} + (BITS)word) << away) & TOP));
#else
#define BIT(lane) (BITS)1 << (lane)
    const UINTS bit = {EACH(BIT)};
#undef BIT
    return (VEC)((UINTS)x ^ ((UINTS)((((UINTS){0} + (BITS)word) & bit) == bit) & TOP));
#endif
}

/* The levels of strides below W, within a vector. */
INLINE VEC NAME(narrow)(VEC v)
{
/* s x + y with signs s: a product with 1 or -1 is exact, so one instruction rounds as two do. */
#if W == 16
#define SUM(x, minus, y)                                                                           \
    (VEC) _mm512_fmadd_ps((__m512)(x), (__m512)((UINTS)((VEC){0} + 1) ^ (minus)), (__m512)(y))
#else
#define SUM(x, minus, y) (y) + (VEC)((UINTS)(x) ^ (minus))
#endif
#define LEVEL(stride)                                                                              \
    {                                                                                              \
        const UINTS minus = {EACH(MINUS)};                                                         \
        v = SUM(v, minus, SHUFFLE(v, EACH(OTHER)));                                                \
    }
#define OTHER(lane) (lane) ^ 1
#define MINUS(lane) T((lane) & 1)
    LEVEL(1)
#undef OTHER
#undef MINUS
#if W > 2
#define OTHER(lane) (lane) ^ 2
#define MINUS(lane) T((lane) & 2)
    LEVEL(2)
#undef OTHER
#undef MINUS
#endif
#if W > 4
#define OTHER(lane) (lane) ^ 4
#define MINUS(lane) T((lane) & 4)
    LEVEL(4)
#undef OTHER
#undef MINUS
#endif
#if W > 8
#define OTHER(lane) (lane) ^ 8
#define MINUS(lane) T((lane) & 8)
    LEVEL(8)
#undef OTHER
#undef MINUS
#endif
#undef LEVEL
#undef SUM
    return v;
}

/* The levels across count vectors. */
INLINE void NAME(butterflies)(VEC *v, int count)
{
#pragma GCC unroll 4
    for (int h = 1; h < count; h *= 2) {
#pragma GCC unroll 16
        for (int i = 0; i < count; i++)
            if (!(i & h)) {
                VEC a = v[i], b = v[i + h];
                v[i] = a + b, v[i + h] = a - b;
            }
    }
}

/* Numbers in a line of the caches. */
#define LINE (64 / (int64_t)sizeof(REAL))

/* y = H (diagonal x) for count * W numbers, all levels in registers. The diagonal is packed signs,
   or numbers, or neither. */
INLINE void NAME(chunk)(const REAL *x, const uint8_t *signs, const REAL *weights, int64_t at,
                        REAL *y, int count)
{
    VEC v[REGISTERS];
#pragma GCC unroll 16
    for (int i = 0; i < count; i++) {
        v[i] = *(const LOOSE *)(x + at + W * i);
        if (signs)
            v[i] = NAME(signed_by)(v[i], NAME(word)(signs, at + W * i));
        if (weights) {
            if (W * i % (2 * LINE) == 0) /* `near` asks for the lines between */
                __builtin_prefetch(weights + at + W * i + NEAR, 0, 2);
            v[i] *= *(const LOOSE *)(weights + at + W * i);
        }
        v[i] = NAME(narrow)(v[i]);
    }
    NAME(butterflies)(v, count);
#pragma GCC unroll 16
    for (int i = 0; i < count; i++)
        *(LOOSE *)(y + at + W * i) = v[i];
}

/* The levels of strides h to h * count / 2 of y, in place. Meanwhile memory is asked for every
   second line from `soon` on, where there is one. */
INLINE void NAME(pass)(REAL *y, int64_t n, int64_t h, int count, const REAL *soon)
{
    for (int64_t i = 0; i < n; i += count * h)
        for (int64_t j = i; j < i + h; j += W) {
            VEC v[8];
            if (soon)
                __builtin_prefetch(soon, 0, 2), soon += 2 * LINE;
#pragma GCC unroll 8
            for (int k = 0; k < count; k++)
                v[k] = *(const LOOSE *)(y + j + k * h);
            NAME(butterflies)(v, count);
#pragma GCC unroll 8
            for (int k = 0; k < count; k++)
                *(LOOSE *)(y + j + k * h) = v[k];
        }
}

/* The last pass, into `to`, past the caches: several vectors of each stride in turn, because memory
   takes neighbours faster. */
INLINE void NAME(last_pass)(const REAL *y, int64_t n, int64_t h, int count, REAL *to)
{
    enum { IN_TURN = 4 };
    for (int64_t i = 0; i < n; i += count * h)
        for (int64_t j = i; j < i + h; j += W * IN_TURN) {
            VEC v[IN_TURN][8];
#pragma GCC unroll 4
            for (int m = 0; m < IN_TURN; m++) {
#pragma GCC unroll 8
                for (int k = 0; k < count; k++)
                    v[m][k] = *(const LOOSE *)(y + j + m * W + k * h);
                NAME(butterflies)(v[m], count);
            }
#pragma GCC unroll 8
            for (int k = 0; k < count; k++)
#pragma GCC unroll 4
                for (int m = 0; m < IN_TURN; m++)
                    STREAM(to + j + m * W + k * h, v[m][k]);
        }
}

/* The levels of strides h to n / 2 of y, in place, in as few passes as there can be.

   to: where the last pass writes, or NULL.
   soon: what is asked for up to `end`, or NULL. */
INLINE void NAME(levels)(REAL *y, int64_t n, int64_t h, REAL *to, const REAL *soon, const REAL *end)
{
#define PASS(count)                                                                                \
    {                                                                                              \
        if (to && h * count == n)                                                                  \
            NAME(last_pass)(y, n, h, count, to);                                                   \
        else if (soon && soon < end) {                                                             \
            NAME(pass)(y, n, h, count, soon);                                                      \
            soon += 2 * LINE * (n / count / W);                                                    \
        } else                                                                                     \
            NAME(pass)(y, n, h, count, NULL);                                                      \
        h *= count;                                                                                \
    }
    while (8 * h <= n && 16 * h != n)
        PASS(8)
    while (4 * h <= n)
        PASS(4)
    if (2 * h <= n)
        PASS(2)
#undef PASS
}

static __attribute__((noinline)) void NAME(near)(REAL *y, int64_t n, int64_t h, const REAL *weights)
{
    /* Every second line of the weights that come NEAR numbers later: `chunk` asks for the rest. */
    if (weights)
        NAME(levels)(y, n, h, NULL, weights + NEAR + LINE, weights + 2 * NEAR);
    else
        NAME(levels)(y, n, h, NULL, NULL, NULL);
}

static __attribute__((noinline)) void NAME(far)(REAL *y, int64_t n, int64_t h, REAL *to)
{
    NAME(levels)(y, n, h, to, NULL, NULL);
}

/* y = H (diagonal x) of `block` numbers, a power of two of at least 8. The levels go in the order
   of their stride, so that no machine rounds another way. x is 0 from `used` on. With `to`, for
   blocks above NEAR alone, the result goes there past the caches, and y is scratch. */
INLINE void NAME(transform)(const REAL *x, int64_t used, const uint8_t *signs, const REAL *weights,
                            REAL *y, int64_t block, REAL *to)
{
    if (block < W) {
        for (int i = 0; i < block; i++)
            y[i] = (signs && signs[0] >> i & 1 ? -x[i] : x[i]) * (weights ? weights[i] : 1);
        for (int h = 1; h < block; h *= 2)
            for (int i = 0; i < block; i++)
                if (!(i & h)) {
                    REAL a = y[i], b = y[i + h];
                    y[i] = a + b, y[i + h] = a - b;
                }
        return;
    }
    if (block < W * REGISTERS) {
        /* In memory, because so short a transform is not worth an unrolled form of its own. */
        for (int64_t i = 0; i < block; i += W)
            NAME(chunk)(x, signs, weights, i, y, 1);
        NAME(near)(y, block, W, NULL);
        return;
    }
    for (int64_t near = 0; near < block; near += NEAR) {
        int64_t n = least(NEAR, block - near);
        if (near >= used) {
            memset(y + near, 0, n * sizeof(REAL));
            continue;
        }
        for (int64_t i = near; i < near + n; i += W * REGISTERS)
            NAME(chunk)(x, signs, weights, i, y, REGISTERS);
        NAME(near)(y + near, n, W * REGISTERS, weights ? weights + near : NULL);
    }
    if (block > NEAR)
        NAME(far)(y, block, NEAR, to);
}

/* Loops that read at random are unrolled. As short loops, some builds laid them out so that they
   took half as long again. */
INLINE void NAME(gather)(const REAL *restrict x, const int32_t *restrict order, REAL *restrict row,
                         int64_t n)
{
#pragma GCC unroll 8
    for (int64_t i = 0; i < n; i++)
        row[i] = x[order[i]];
}

/* Whether two rows are gathered together, number beside number. Where a row is larger than a
   first-level cache, the lines that are read take the time, and a line then serves both. */
INLINE int NAME(in_pairs)(int64_t block) { return block > NEAR; }

/* x[2 i] = a[i], x[2 i + 1] = b[i] */
INLINE void NAME(interleave)(const REAL *a, const REAL *b, REAL *x, int64_t n)
{
#if W == 2
    for (int64_t i = 0; i < n; i++)
        x[2 * i] = a[i], x[2 * i + 1] = b[i];
#else
    for (int64_t i = 0; i < n; i += 4) {
        const FOUR p = *(const FOUR_LOOSE *)(a + i), q = *(const FOUR_LOOSE *)(b + i);
        *(FOUR_LOOSE *)(x + 2 * i) = FOUR_OF(p, q, 0, 4, 1, 5);
        *(FOUR_LOOSE *)(x + 2 * i + 4) = FOUR_OF(p, q, 2, 6, 3, 7);
    }
#endif
}

/* a[i] = x[2 order[i]], b[i] = x[2 order[i] + 1] */
INLINE void NAME(gather_pairs)(const REAL *restrict x, const int32_t *restrict order,
                               REAL *restrict a, REAL *restrict b, int64_t n)
{
#if W == 2
    for (int64_t i = 0; i < n; i++)
        a[i] = x[2 * order[i]], b[i] = x[2 * order[i] + 1];
#else
    const PAIR *pairs = (const PAIR *)x;
#pragma GCC unroll 2
    for (int64_t i = 0; i < n; i += 4) {
        const FOUR p = (FOUR)(TWO_PAIRS){pairs[order[i]], pairs[order[i + 1]]},
                   q = (FOUR)(TWO_PAIRS){pairs[order[i + 2]], pairs[order[i + 3]]};
        *(FOUR_LOOSE *)(a + i) = FOUR_OF(p, q, 0, 2, 4, 6);
        *(FOUR_LOOSE *)(b + i) = FOUR_OF(p, q, 1, 3, 5, 7);
    }
#endif
}

/* What first halves are made of. */
typedef struct {
    const REAL *theta;
    const uint8_t *signs;
    const int32_t *order;
    int64_t used; /* numbers of theta up to its last that is not 0 */
} NAME(First);

static NAME(First) NAME(first)(const REAL *theta, const uint8_t *signs, const int32_t *order,
                               int64_t block)
{
    while (theta && block && !theta[block - 1])
        block--;
    return (NAME(First)){theta, signs, order, block};
}

/* rows[k] = Pi H B_(j + k) theta, for one k, or for two. The rows may be the first of the four
   blocks of scratch if there are two. */
static void NAME(halve)(const NAME(First) * f, int64_t block, int64_t j, int two, REAL *scratch,
                        REAL *rows)
{
    const uint8_t *signs = f->signs + j * most(block / 8, 1);
    REAL *x = scratch + 2 * block;
    if (two) {
        NAME(transform)(f->theta, f->used, signs, NULL, scratch, block, NULL);
        NAME(transform)(f->theta, f->used, signs + block / 8, NULL, scratch + block, block, NULL);
        NAME(interleave)(scratch, scratch + block, x, block);
        NAME(gather_pairs)(x, f->order, rows, rows + block, block);
    } else {
        NAME(transform)(f->theta, f->used, signs, NULL, x, block, NULL);
        NAME(gather)(x, f->order, rows, block);
    }
}

typedef struct {
    int64_t block, halves;
    const REAL *half; /* all first halves; NULL where each is made on the way, of `first` */
    NAME(First) first;
    const uint8_t *signs;
    const REAL *weights;
    REAL *buckets;
    const Ranges *ranges;
    int64_t count;
    double *inner; /* (groups, parts): of <v, P theta> */
} NAME(Blocks);

/* to = v, past the caches: a result that is larger than they are would push all else out. */
INLINE void NAME(stream)(REAL *to, const REAL *v, int64_t n)
{
    int64_t i = 0;
    for (; i < n && (uintptr_t)(to + i) % sizeof(VEC); i++)
        to[i] = v[i];
    for (; i + W <= n; i += W)
        STREAM(to + i, *(const LOOSE *)(v + i));
    for (; i < n; i++)
        to[i] = v[i];
}

/* P theta, or origin + factor * P theta, on one range, in the blocks whose first halves are lo to
   hi - 1.

   first: the first half lo, and the others after it.
   made: a block of scratch. `have` is the number of the block that lies in it, or -1. */
static void NAME(form_range)(const NAME(Blocks) * p, const Ranges *x, int64_t r, int64_t lo,
                             int64_t hi, const REAL *first, REAL *made, int64_t *have)
{
    int64_t block = p->block, J = p->halves, bits = __builtin_ctzll(block), start = place(x, r),
            stop = start + x->length, last = (stop + block - 1) >> bits;
    int far = !x->origin && x->length * (int64_t)sizeof(REAL) >= FAR;
    REAL factor = (REAL)x->factor;
    for (int64_t b = next_in_turn(start >> bits, J, lo, hi); b < last;
         b = next_in_turn(b + 1, J, lo, hi)) {
        int64_t from = most(start, b * block), n = least(stop, b * block + block) - from, i = 0;
        const REAL *move = made + from - b * block, *origin = x->origin;
        REAL *out = (REAL *)x->memory + offset(x, r) + from - start;
        if (b != *have) {
            /* A whole block may go to its place straight away. */
            int straight = far && block > NEAR && n == block && (uintptr_t)out % sizeof(VEC) == 0;
            const REAL *half = first + (modulo(b, J) - lo) * block;
            REAL *to = straight ? out : NULL;
            if (p->signs)
                NAME(transform)(half, block, p->signs + b * (block / 8), NULL, made, block, to);
            else
                NAME(transform)(half, block, NULL, p->weights + b * block, made, block, to);
            *have = straight ? -1 : b;
            if (straight)
                continue;
        }
        if (origin) {
            origin += offset(x, r) + from - start;
            for (; i + W <= n; i += W)
                *(LOOSE *)(out + i) =
                    *(const LOOSE *)(origin + i) + factor * *(const LOOSE *)(move + i);
            for (; i < n; i++)
                out[i] = origin[i] + factor * move[i];
        } else if (far)
            NAME(stream)(out, move, n);
        else
            memcpy(out, move, n * sizeof(REAL));
    }
}

/* The same on all ranges. Neighbours in one block share its transform. */
static void NAME(form_part)(const Task *task, int64_t part, void *scratch)
{
    const NAME(Blocks) *p = task->call;
    int64_t block = p->block, J = p->halves, have = -1;
    REAL *own = scratch, *made = own + 2 * block;
    for (const Ranges *x = p->ranges; x < p->ranges + p->count; x++) {
        /* A part takes some of many ranges, or some blocks of one range. */
        int many = x->count > 1;
        int64_t first = many ? x->count * part / task->parts : 0,
                end = many ? x->count * (part + 1) / task->parts : x->count;
        int64_t lo = many ? 0 : J * part / task->parts,
                hi = many ? J : J * (part + 1) / task->parts;
        if (p->half) {
            for (int64_t r = first; r < end && lo < hi; r++)
                NAME(form_range)(p, x, r, lo, hi, p->half + lo * block, made, &have);
            continue;
        }
        for (int64_t j = lo, next; j < hi; j = next) {
            next = j + 1 + (NAME(in_pairs)(block) && j + 1 < hi);
            NAME(halve)(&p->first, block, j, next - j == 2, scratch, own);
            for (int64_t r = first; r < end; r++)
                NAME(form_range)(p, x, r, j, next, own, made, &have);
        }
    }
    FENCE();
}

/* bucket += factor * M H v. Returns <M H v, half>, or 0 without a half. y is a block of scratch. */
static __attribute__((noinline)) double NAME(pour)(const NAME(Blocks) * p, int64_t b, const REAL *v,
                                                   REAL factor, REAL *y)
{
    int64_t block = p->block, j = modulo(b, p->halves), i = 0;
    REAL *bucket = p->buckets + j * block;
    const REAL *half = p->half ? p->half + j * block : NULL,
               *weights = p->weights ? p->weights + b * block : NULL;
    const uint8_t *signs = p->signs ? p->signs + b * (block / 8) : NULL;
    VEC inner[LANES / W] = {{0}};
    REAL rest = 0;
    NAME(transform)(v, block, NULL, NULL, y, block, NULL);
    for (; i + LANES <= block; i += LANES)
#pragma GCC unroll 8
        for (int k = 0; k < LANES / W; k++) {
            int64_t at = i + k * W;
            VEC x = *(const LOOSE *)(y + at);
            x = signs ? NAME(signed_by)(x, NAME(word)(signs, at))
                      : x * *(const LOOSE *)(weights + at);
            if (half)
                inner[k] += x * *(const LOOSE *)(half + at);
            *(LOOSE *)(bucket + at) += factor * x;
        }
    for (; i < block; i++) {
        REAL x = signs ? (signs[0] >> i & 1 ? -y[i] : y[i]) : y[i] * weights[i];
        rest += half ? x * half[i] : 0;
        bucket[i] += factor * x;
    }
    for (int k = 0; half && k < LANES; k++)
        rest += inner[k / W][k % W];
    return rest;
}

INLINE void NAME(add)(REAL *to, const REAL *v, int64_t n)
{
    int64_t i = 0;
    for (; i + W <= n; i += W)
        *(LOOSE *)(to + i) += *(const LOOSE *)(v + i);
    for (; i < n; i++)
        to[i] += v[i];
}

/* buckets[b mod J] += factor * M_b H v_b for the blocks b that hold the ranges, which may repeat.
   With halves, inner[group] gains <v, P theta> of the group's ranges. Neighbours of one group in
   one block are put together first. */
static void NAME(fold_part)(const Task *task, int64_t part, void *scratch)
{
    const NAME(Blocks) *p = task->call;
    int64_t block = p->block, J = p->halves, lo = J * part / task->parts,
            hi = J * (part + 1) / task->parts, have = -1, bits = __builtin_ctzll(block);
    REAL *gathered = scratch, *spare = gathered + block, factor = 0;
    double *inner = NULL, none = 0;
    if (lo == hi)
        return;
    for (const Ranges *x = p->ranges; x <= p->ranges + p->count; x++) {
        int ended = x == p->ranges + p->count;
        double *of_group = ended      ? NULL
                           : p->inner ? p->inner + x->group * task->parts + part
                                      : &none;
        if (have >= 0 && (ended || of_group != inner || (REAL)x->factor != factor)) {
            *inner += NAME(pour)(p, have, gathered, factor, spare);
            have = -1;
        }
        if (ended)
            break;
        inner = of_group, factor = (REAL)x->factor;
        for (int64_t r = 0; r < x->count; r++) {
            int64_t start = place(x, r), stop = start + x->length,
                    last = (stop + block - 1) >> bits;
            const REAL *v = (const REAL *)x->memory + offset(x, r);
            for (int64_t b = next_in_turn(start >> bits, J, lo, hi); b < last;
                 b = next_in_turn(b + 1, J, lo, hi)) {
                if (start <= b * block && b * block + block <= stop) {
                    *inner += NAME(pour)(p, b, v + b * block - start, factor, spare);
                    continue;
                }
                if (b != have) {
                    if (have >= 0)
                        *inner += NAME(pour)(p, have, gathered, factor, spare);
                    memset(gathered, 0, block * sizeof(REAL));
                    have = b;
                }
                int64_t from = most(start, b * block), n = least(stop, b * block + block) - from;
                NAME(add)(gathered + from - b * block, v + from - start, n);
            }
        }
    }
}

/* Each of these four takes scratch of (threads, 4, block). */

void NAME(idim_form)(int64_t block, int64_t halves, const REAL *half, const REAL *theta,
                     const uint8_t *theta_signs, const int32_t *order, const uint8_t *signs,
                     const REAL *weights, const Ranges *ranges, int64_t count, REAL *scratch,
                     int64_t threads)
{
    NAME(Blocks)
    p = {.block = block,
         .halves = halves,
         .half = half,
         .first = NAME(first)(theta, theta_signs, order, block),
         .signs = signs,
         .weights = weights,
         .ranges = ranges,
         .count = count};
    Task task = {NAME(form_part), half ? PARTS : PARTS_OF(block), &p, (char *)scratch, ROOM(block)};
    run(&task, threads);
}

/* inner: (groups, PARTS) zeros, or NULL. */
void NAME(idim_fold)(int64_t block, int64_t halves, const REAL *half, const uint8_t *signs,
                     const REAL *weights, const Ranges *ranges, int64_t count, REAL *buckets,
                     double *inner, REAL *scratch, int64_t threads)
{
    NAME(Blocks)
    p = {.block = block,
         .halves = halves,
         .half = half,
         .signs = signs,
         .weights = weights,
         .ranges = ranges,
         .count = count,
         .buckets = buckets,
         .inner = inner};
    Task task = {NAME(fold_part), PARTS, &p, (char *)scratch, ROOM(block)};
    run(&task, threads);
}

typedef struct {
    int64_t block, halves;
    NAME(First) first;
    REAL *rows, *out;
    int64_t parts; /* of the rows, each with a total in its first */
} NAME(Halves);

static void NAME(halves_part)(const Task *task, int64_t part, void *scratch)
{
    const NAME(Halves) *p = task->call;
    int64_t block = p->block, last = p->halves * (part + 1) / task->parts;
    for (int64_t j = p->halves * part / task->parts, next; j < last; j = next) {
        next = j + 1 + (NAME(in_pairs)(block) && j + 1 < last);
        NAME(halve)(&p->first, block, j, next - j == 2, scratch, p->rows + j * block);
    }
}

/* rows[j] = Pi H B_j theta. */
void NAME(idim_halves)(int64_t block, int64_t halves, const REAL *theta, const uint8_t *signs,
                       const int32_t *gather, REAL *rows, REAL *scratch, int64_t threads)
{
    NAME(Halves) p = {block, halves, NAME(first)(theta, signs, gather, block), rows, NULL, 0};
    Task task = {NAME(halves_part), PARTS_OF(block), &p, (char *)scratch, ROOM(block)};
    run(&task, threads);
}

/* to = B v, or to += B v. */
INLINE void NAME(add_signed)(REAL *to, const REAL *v, const uint8_t *signs, int64_t n, int fresh)
{
    int64_t i = 0;
    for (; i + W <= n; i += W) {
        VEC x = NAME(signed_by)(*(const LOOSE *)(v + i), NAME(word)(signs, i));
        *(LOOSE *)(to + i) = fresh ? x : x + *(const LOOSE *)(to + i);
    }
    for (; i < n; i++) {
        REAL x = signs[0] >> i & 1 ? -v[i] : v[i];
        to[i] = fresh ? x : x + to[i];
    }
}

static void NAME(unhalve_part)(const Task *task, int64_t part, void *scratch)
{
    const NAME(Halves) *p = task->call;
    int64_t block = p->block, bytes = most(block / 8, 1), first = p->halves * part / task->parts,
            last = p->halves * (part + 1) / task->parts;
    REAL *x = scratch, *near = x + 2 * block, *total = p->rows + first * block;
    for (int64_t j = first, next; j < last; j = next) {
        REAL *row = p->rows + j * block;
        int two = NAME(in_pairs)(block) && j + 1 < last;
        next = j + 1 + two;
        /* In order, because the row need not lie in cache. To read at random takes half as long as
           to write at random. */
        if (two)
            NAME(interleave)(row, row + block, near, block);
        else
            memcpy(near, row, block * sizeof(REAL));
        memset(row, 0, (next - j) * block * sizeof(REAL));
        if (two)
            NAME(gather_pairs)(near, p->first.order, x, x + block, block);
        else
            NAME(gather)(near, p->first.order, x, block);
        for (int64_t k = j; k < next; k++) {
            REAL *y = x + (k - j) * block;
            NAME(transform)(y, block, NULL, NULL, y, block, NULL);
            NAME(add_signed)(total, y, p->first.signs + k * bytes, block, k == first);
        }
    }
}

/* Adds columns of the parts' totals, always in the order of the parts, and leaves them 0. */
static void NAME(total_part)(const Task *task, int64_t part, void *scratch)
{
    const NAME(Halves) *p = task->call;
    int64_t from = p->block * part / task->parts, n = p->block * (part + 1) / task->parts - from;
    (void)scratch;
    memcpy(p->out + from, p->rows + from, n * sizeof(REAL));
    memset(p->rows + from, 0, n * sizeof(REAL));
    for (int64_t k = 1; k < p->parts; k++) {
        REAL *row = p->rows + p->halves * k / p->parts * p->block + from;
        NAME(add)(p->out + from, row, n);
        memset(row, 0, n * sizeof(REAL));
    }
}

/* out = the sum over j of B_j H Pi^T rows[j], with Pi^T as a gather. Leaves the rows 0, which costs
   little while they are in cache: the next sums begin with them. */
void NAME(idim_unhalve)(int64_t block, int64_t halves, REAL *rows, const uint8_t *signs,
                        const int32_t *place, REAL *out, REAL *scratch, int64_t threads)
{
    /* Where rows are long, to add up the parts' totals takes as long as a part does. */
    NAME(Halves)
    p = {.block = block,
         .halves = halves,
         .first = {NULL, signs, place},
         .rows = rows,
         .out = out,
         .parts = least(block > NEAR ? PARTS / 4 : PARTS, halves)};
    Task task = {NAME(unhalve_part), p.parts, &p, (char *)scratch, ROOM(block)},
         total = {NAME(total_part), least(PARTS, most(1, block / LANES)), &p};
    run(&task, threads);
    run(&total, threads);
}

/* One-hot. */

typedef struct {
    int64_t run, bytes, width;
    const REAL *values;
    const uint8_t *signs;
    const int64_t *shifts;
    REAL *sums; /* (parts, width) */
    const Ranges *ranges;
    int64_t count;
    double *inner; /* (groups, parts) */
} NAME(Runs);

/* The weights of one range that lie in one run. */
typedef struct {
    const uint8_t *signs;
    int64_t inside; /* the first one's place in the run */
    int64_t shift;  /* what it reads */
    int64_t n;      /* how many there are */
    int64_t at;     /* where they lie in memory */
} NAME(Piece);

INLINE NAME(Piece) NAME(piece)(const NAME(Runs) * p, const Ranges *x, int64_t r, int64_t run)
{
    int64_t start = place(x, r), from = most(start, run * p->run), inside = from - run * p->run;
    return (NAME(Piece)){p->signs + run * p->bytes, inside, p->shifts[run] + inside,
                         least(start + x->length, run * p->run + p->run) - from,
                         offset(x, r) + from - start};
}

/* s x for W weights of a piece from its k-th on, or for one. */
INLINE VEC NAME(signed_at)(const NAME(Piece) * q, const REAL *x, int64_t k)
{
    return NAME(signed_by)(*(const LOOSE *)(x + k), NAME(word)(q->signs, q->inside + k));
}

INLINE REAL NAME(one_signed_at)(const NAME(Piece) * q, const REAL *x, int64_t k)
{
    return q->signs[(q->inside + k) / 8] >> ((q->inside + k) % 8) & 1 ? -x[k] : x[k];
}

static void NAME(read_part)(const Task *task, int64_t part, void *scratch)
{
    const NAME(Runs) *p = task->call;
    int64_t L = p->run, turn = most(1, A_TURN / L);
    (void)scratch;
    for (const Ranges *x = p->ranges; x < p->ranges + p->count; x++) {
        int many = x->count > 1; /* as in form_part */
        int64_t begin = many ? x->count * part / task->parts : 0,
                stop = many ? x->count * (part + 1) / task->parts : x->count;
        int64_t lo = many ? 0 : turn * part, hi = many ? turn : lo + turn,
                round = many ? turn : turn * task->parts;
        for (int64_t r = begin; r < stop; r++) {
            int64_t start = place(x, r), end = (start + x->length + L - 1) / L;
            for (int64_t run = next_in_turn(start / L, round, lo, hi); run < end;
                 run = next_in_turn(run + 1, round, lo, hi)) {
                NAME(Piece) q = NAME(piece)(p, x, r, run);
                REAL factor = (REAL)x->factor, *y = (REAL *)x->memory + q.at;
                const REAL *v = p->values + q.shift,
                           *origin = x->origin ? (const REAL *)x->origin + q.at : NULL;
                int64_t k = 0, whole = q.n / LANES * LANES;
                if (origin)
                    for (; k < whole; k += W)
                        *(LOOSE *)(y + k) =
                            *(const LOOSE *)(origin + k) + factor * NAME(signed_at)(&q, v, k);
                else
                    for (; k < whole; k += W)
                        *(LOOSE *)(y + k) = NAME(signed_at)(&q, v, k);
                for (; k < q.n; k++)
                    y[k] = origin ? origin[k] + factor * NAME(one_signed_at)(&q, v, k)
                                  : NAME(one_signed_at)(&q, v, k);
            }
        }
    }
}

static void NAME(add_part)(const Task *task, int64_t part, void *scratch)
{
    const NAME(Runs) *p = task->call;
    int64_t L = p->run, turn = most(1, A_TURN / L), round = turn * task->parts, lo = turn * part,
            hi = lo + turn;
    (void)scratch;
    for (const Ranges *x = p->ranges; x < p->ranges + p->count; x++) {
        REAL factor = (REAL)x->factor;
        for (int64_t r = 0; r < x->count; r++) {
            int64_t start = place(x, r), end = (start + x->length + L - 1) / L;
            for (int64_t run = next_in_turn(start / L, round, lo, hi); run < end;
                 run = next_in_turn(run + 1, round, lo, hi)) {
                NAME(Piece) q = NAME(piece)(p, x, r, run);
                const REAL *v = (const REAL *)x->memory + q.at,
                           *values = p->values ? p->values + q.shift : NULL;
                REAL *sums = p->sums + part * p->width + q.shift, rest = 0;
                int64_t k = 0, whole = q.n / LANES * LANES;
                VEC inner[LANES / W] = {{0}};
                for (; k < whole; k += LANES)
#pragma GCC unroll 8
                    for (int i = 0; i < LANES / W; i++) {
                        VEC s = NAME(signed_at)(&q, v, k + i * W);
                        if (values)
                            inner[i] += s * *(const LOOSE *)(values + k + i * W);
                        *(LOOSE *)(sums + k + i * W) += factor * s;
                    }
                for (; k < q.n; k++) {
                    REAL s = NAME(one_signed_at)(&q, v, k);
                    rest += values ? s * values[k] : 0;
                    sums[k] += factor * s;
                }
                for (int i = 0; values && i < LANES; i++)
                    rest += inner[i / W][i % W];
                if (p->inner)
                    p->inner[x->group * task->parts + part] += rest;
            }
        }
    }
}

/* Weight i of run r is s_i values[shift_r + i]. Runs have `length` weights and `bytes` of signs. */
void NAME(idim_read)(int64_t length, int64_t bytes, const REAL *values, const uint8_t *signs,
                     const int64_t *shifts, const Ranges *ranges, int64_t count, int64_t threads)
{
    NAME(Runs)
    p = {.run = length,
         .bytes = bytes,
         .values = values,
         .signs = signs,
         .shifts = shifts,
         .ranges = ranges,
         .count = count};
    Task task = {NAME(read_part), PARTS, &p};
    run(&task, threads);
}

/* The transpose, into sums (parts, width). With values, inner (groups, parts) gains <v, P theta> of
   each group's ranges; it is NULL without. */
void NAME(idim_add)(int64_t length, int64_t bytes, const REAL *values, const uint8_t *signs,
                    const int64_t *shifts, const Ranges *ranges, int64_t count, REAL *sums,
                    int64_t parts, int64_t width, double *inner, int64_t threads)
{
    NAME(Runs) p = {length, bytes, width, values, signs, shifts, sums, ranges, count, inner};
    Task task = {NAME(add_part), parts, &p};
    run(&task, threads);
}

typedef struct {
    int64_t d, rounds;
    const REAL *from, *norm;
    const int32_t *order;
    REAL *to;
} NAME(Rounds);

static void NAME(deal_part)(const Task *task, int64_t part, void *scratch)
{
    const NAME(Rounds) *p = task->call;
    int64_t d = p->d, first = d * part / task->parts, last = d * (part + 1) / task->parts;
    const int32_t *restrict order = p->order;
    REAL *restrict to = p->to;
    (void)scratch;
#pragma GCC unroll 8
    for (int64_t i = first; i < last; i++)
        to[i] = p->norm[i] * p->from[order[i]];
    for (int64_t round = 1; round < p->rounds; round++)
        memcpy(to + round * d + first, to + first, (last - first) * sizeof(REAL));
}

/* Sums n columns over the rounds, into the first round. In double, because a small d has thousands
   of rounds. */
INLINE void NAME(columns)(REAL *at, int64_t d, int64_t rounds, int n)
{
    double sum[LANES] = {0};
    for (int64_t round = 0; round < rounds; round++)
        for (int k = 0; k < n; k++)
            sum[k] += at[round * d + k];
    for (int k = 0; k < n; k++)
        at[k] = (REAL)sum[k];
}

static void NAME(columns_part)(const Task *task, int64_t part, void *scratch)
{
    const NAME(Rounds) *p = task->call;
    int64_t i = p->d * part / task->parts, last = p->d * (part + 1) / task->parts;
    (void)scratch;
    for (; i + LANES <= last; i += LANES)
        NAME(columns)(p->to + i, p->d, p->rounds, LANES);
    NAME(columns)(p->to + i, p->d, p->rounds, (int)(last - i));
}

/* values[round d + i] = norm[i] theta[order[i]]. */
void NAME(idim_deal)(int64_t d, int64_t rounds, const REAL *theta, const REAL *norm,
                     const int32_t *order, REAL *values, int64_t threads)
{
    NAME(Rounds) p = {d, rounds, theta, norm, order, values};
    Task task = {NAME(deal_part), PARTS, &p};
    run(&task, threads);
}

/* out[c] = norm[c] times the sum over the rounds of sums[round d + place[c]]. Overwrites the sums.
 */
void NAME(idim_collect)(int64_t d, int64_t rounds, REAL *sums, const REAL *norm,
                        const int32_t *place, REAL *out, int64_t threads)
{
    NAME(Rounds) total = {.d = d, .rounds = rounds, .to = sums}, p = {d, 1, sums, norm, place, out};
    Task adding = {NAME(columns_part), PARTS, &total}, dealing = {NAME(deal_part), PARTS, &p};
    run(&adding, threads);
    run(&dealing, threads);
}

#undef VEC
#undef UINTS
#undef LOOSE
#undef TOP
#undef T
#undef ROOM
#undef LINE
#undef PARTS_OF
#undef KIND
#undef REAL
#undef BITS
#undef W
#undef REGISTERS
#undef STREAM
#undef EACH
#undef SHUFFLE
