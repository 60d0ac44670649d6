/* Hadamard blocks and one-hot runs in one precision, for one generation of processor. The includer
   gives KIND, REAL and BITS, an unsigned integer of REAL's size. */

typedef REAL NAME(vec) __attribute__((vector_size(W * sizeof(REAL))));
typedef BITS NAME(bits) __attribute__((vector_size(W * sizeof(REAL))));
typedef REAL NAME(loose) __attribute__((vector_size(W * sizeof(REAL)), aligned(sizeof(REAL)),
                                        may_alias)); /* anywhere in memory */
#define VEC NAME(vec)
#define UINTS NAME(bits)
#define LOOSE NAME(loose)
#define TOP ((BITS)1 << (8 * sizeof(BITS) - 1))
#define T(lane) ((lane) ? TOP : 0)
#define ROOM(block) (2 * (block) * (int64_t)sizeof(REAL))
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
#define BIT(lane) (BITS)1 << (lane)
    const UINTS bit = {EACH(BIT)};
#undef BIT
    return (VEC)((UINTS)x ^ ((UINTS)((((UINTS){0} + (BITS)word) & bit) == bit) & TOP));
}

/* The levels of strides below W, within a vector. */
INLINE VEC NAME(narrow)(VEC v)
{
#define LEVEL(stride)                                                                              \
    {                                                                                              \
        const UINTS minus = {EACH(MINUS)};                                                         \
        v = SHUFFLE(v, EACH(OTHER)) + (VEC)((UINTS)v ^ minus);                                     \
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
        if (weights)
            v[i] *= *(const LOOSE *)(weights + at + W * i);
        v[i] = NAME(narrow)(v[i]);
    }
    NAME(butterflies)(v, count);
#pragma GCC unroll 16
    for (int i = 0; i < count; i++)
        *(LOOSE *)(y + at + W * i) = v[i];
}

/* The levels of strides h to h * count / 2 of y, in place. */
INLINE void NAME(pass)(REAL *y, int64_t n, int64_t h, int count)
{
    for (int64_t i = 0; i < n; i += count * h)
        for (int64_t j = i; j < i + h; j += W) {
            VEC v[8];
#pragma GCC unroll 8
            for (int k = 0; k < count; k++)
                v[k] = *(const LOOSE *)(y + j + k * h);
            NAME(butterflies)(v, count);
#pragma GCC unroll 8
            for (int k = 0; k < count; k++)
                *(LOOSE *)(y + j + k * h) = v[k];
        }
}

/* The levels of strides h to n / 2 of y, in place, in as few passes as there can be. */
static __attribute__((noinline)) void NAME(wide)(REAL *y, int64_t n, int64_t h)
{
    for (; 8 * h <= n && 16 * h != n; h *= 8)
        NAME(pass)(y, n, h, 8);
    for (; 4 * h <= n; h *= 4)
        NAME(pass)(y, n, h, 4);
    if (2 * h <= n)
        NAME(pass)(y, n, h, 2);
}

/* y = H (diagonal x) of `block` numbers, a power of two of at least 8. The levels go in the order
   of their stride, so that no machine rounds another way. */
INLINE void NAME(transform)(const REAL *x, const uint8_t *signs, const REAL *weights, REAL *y,
                            int64_t block)
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
        NAME(wide)(y, block, W);
        return;
    }
    for (int64_t near = 0; near < block; near += NEAR) {
        int64_t n = least(NEAR, block - near);
        for (int64_t i = near; i < near + n; i += W * REGISTERS)
            NAME(chunk)(x, signs, weights, i, y, REGISTERS);
        NAME(wide)(y + near, n, W * REGISTERS);
    }
    if (block > NEAR)
        NAME(wide)(y, block, NEAR);
}

typedef struct {
    int64_t block, halves;
    const REAL *half;
    const uint8_t *signs;
    const REAL *weights;
    REAL *buckets;
    const Ranges *ranges;
    int64_t count;
    double *inner; /* (groups, parts): of <v, P theta> */
} NAME(Blocks);

/* P theta, or origin + factor * P theta, on the ranges. Neighbours in one block share its
   transform. */
static void NAME(form_part)(const Task *task, int64_t part, void *scratch)
{
    const NAME(Blocks) *p = task->call;
    int64_t block = p->block, J = p->halves, have = -1, bits = __builtin_ctzll(block);
    REAL *made = scratch;
    for (const Ranges *x = p->ranges; x < p->ranges + p->count; x++) {
        REAL factor = (REAL)x->factor;
        /* A part takes some of many ranges, or some blocks of one range. */
        int many = x->count > 1;
        int64_t first = many ? x->count * part / task->parts : 0,
                end = many ? x->count * (part + 1) / task->parts : x->count;
        int64_t lo = many ? 0 : J * part / task->parts,
                hi = many ? J : J * (part + 1) / task->parts;
        for (int64_t r = first; r < end && lo < hi; r++) {
            int64_t start = place(x, r), stop = start + x->length,
                    last = (stop + block - 1) >> bits;
            for (int64_t b = next_in_turn(start >> bits, J, lo, hi); b < last;
                 b = next_in_turn(b + 1, J, lo, hi)) {
                int64_t j = modulo(b, J);
                if (b != have) {
                    if (p->signs)
                        NAME(transform)(p->half + j * block, p->signs + b * (block / 8), NULL, made,
                                        block);
                    else
                        NAME(transform)(p->half + j * block, NULL, p->weights + b * block, made,
                                        block);
                    have = b;
                }
                int64_t from = most(start, b * block), n = least(stop, b * block + block) - from,
                        i = 0;
                const REAL *move = made + from - b * block, *origin = x->origin;
                REAL *out = (REAL *)x->memory + offset(x, r) + from - start;
                if (origin) {
                    origin += offset(x, r) + from - start;
                    for (; i + W <= n; i += W)
                        *(LOOSE *)(out + i) =
                            *(const LOOSE *)(origin + i) + factor * *(const LOOSE *)(move + i);
                    for (; i < n; i++)
                        out[i] = origin[i] + factor * move[i];
                } else
                    memcpy(out, move, n * sizeof(REAL));
            }
        }
    }
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
    NAME(transform)(v, NULL, NULL, y, block);
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

/* Each of these four takes scratch of (threads, 2, block). */

void NAME(idim_form)(int64_t block, int64_t halves, const REAL *half, const uint8_t *signs,
                     const REAL *weights, const Ranges *ranges, int64_t count, REAL *scratch,
                     int64_t threads)
{
    NAME(Blocks)
    p = {.block = block,
         .halves = halves,
         .half = half,
         .signs = signs,
         .weights = weights,
         .ranges = ranges,
         .count = count};
    Task task = {NAME(form_part), PARTS, &p, (char *)scratch, ROOM(block)};
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
    const REAL *theta;
    const uint8_t *signs;
    const int32_t *order;
    REAL *rows, *out;
    int64_t parts; /* of the rows, each with a total in its first */
} NAME(Halves);

/* Loops that read at random are unrolled. As short loops, some builds laid them out so that they
   took half as long again. */
static void NAME(halves_part)(const Task *task, int64_t part, void *scratch)
{
    const NAME(Halves) *p = task->call;
    int64_t block = p->block, bytes = most(block / 8, 1);
    const int32_t *restrict order = p->order;
    REAL *restrict x = scratch;
    for (int64_t j = p->halves * part / task->parts; j < p->halves * (part + 1) / task->parts;
         j++) {
        REAL *restrict row = p->rows + j * block;
        NAME(transform)(p->theta, p->signs + j * bytes, NULL, x, block);
#pragma GCC unroll 8
        for (int64_t i = 0; i < block; i++)
            row[i] = x[order[i]];
    }
}

/* rows[j] = Pi H B_j theta. */
void NAME(idim_halves)(int64_t block, int64_t halves, const REAL *theta, const uint8_t *signs,
                       const int32_t *gather, REAL *rows, REAL *scratch, int64_t threads)
{
    NAME(Halves) p = {block, halves, theta, signs, gather, rows, NULL, 0};
    Task task = {NAME(halves_part), PARTS, &p, (char *)scratch, ROOM(block)};
    run(&task, threads);
}

static void NAME(unhalve_part)(const Task *task, int64_t part, void *scratch)
{
    const NAME(Halves) *p = task->call;
    int64_t block = p->block, bytes = most(block / 8, 1), first = p->halves * part / task->parts,
            last = p->halves * (part + 1) / task->parts;
    const int32_t *restrict order = p->order;
    REAL *restrict x = scratch, *restrict near = x + block, *total = p->rows + first * block;
    for (int64_t j = first; j < last; j++) {
        REAL *row = p->rows + j * block;
        const uint8_t *signs = p->signs + j * bytes;
        int64_t i = 0, fresh = j == first;
        /* In order, because the row need not lie in cache. To read at random takes half as long as
           to write at random. */
        memcpy(near, row, block * sizeof(REAL));
        memset(row, 0, block * sizeof(REAL));
#pragma GCC unroll 8
        for (int64_t k = 0; k < block; k++)
            x[k] = near[order[k]];
        NAME(transform)(x, NULL, NULL, x, block);
        for (; i + W <= block; i += W) {
            VEC v = NAME(signed_by)(*(const LOOSE *)(x + i), NAME(word)(signs, i));
            *(LOOSE *)(total + i) = fresh ? v : v + *(const LOOSE *)(total + i);
        }
        for (; i < block; i++) {
            REAL v = signs[0] >> i & 1 ? -x[i] : x[i];
            total[i] = fresh ? v : v + total[i];
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
    p = {block, halves, NULL, signs,
         place, rows,   out,  least(block > NEAR ? PARTS / 4 : PARTS, halves)};
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
#undef KIND
#undef REAL
#undef BITS
#undef W
#undef REGISTERS
#undef EACH
#undef SHUFFLE
