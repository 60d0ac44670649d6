/* The loops over P's blocks and runs, and its random bits, for the CPU.

   Each block is signed, transformed and written while it lies in the first-level cache. The problem
   alone decides how work is cut into parts, never the number of threads. So no bit of a result
   depends on the threads. Dot products have 16 sums whatever the machine's vectors hold, and
   products and sums are not contracted, so that machines agree, too. Python calls the functions
   through ctypes. */

#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

enum {
    MOST = 64,        /* threads */
    PARTS = 64,       /* that a call's work is cut into */
    LANES = 16,       /* sums of a dot product, whatever the machine's vectors hold */
    A_TURN = 1 << 14, /* weights of one-hot that a part does before the next part's turn */
    NEAR = 4096,      /* numbers that go before the wider strides: half of a first-level cache */
    FAR = 1 << 25     /* bytes of a result that would push all else out of the caches */
};

const int64_t idim_parts = PARTS;
/* Goes up when a loop takes or leaves something else: native.py asks for its own. */
const int64_t idim_contract = 2;

INLINE int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* One call's work, in parts. Each thread takes one after the other. */
typedef struct Task {
    void (*part)(const struct Task *, int64_t part, void *scratch);
    int64_t parts;
    const void *call;
    char *scratch; /* the caller's, so that no call touches fresh pages */
    int64_t room;  /* bytes of it for each thread */
    int64_t threads, arrived;
    int64_t taken[MOST]; /* how many of each thread's own parts */
} Task;

static void take_parts(void *pointer)
{
    Task *task = pointer;
    int64_t thread = __atomic_fetch_add(&task->arrived, 1, __ATOMIC_RELAXED), n = task->threads;
    /* Its own share first, which the call before has likely left in its cache. Then what the others
       have not come to. */
    for (int64_t i = 0; i < n; i++) {
        int64_t share = (thread + i) % n, first = task->parts * share / n,
                size = task->parts * (share + 1) / n - first, part;
        while ((part = __atomic_fetch_add(&task->taken[share], 1, __ATOMIC_RELAXED)) < size)
            task->part(task, first + part, task->scratch + thread * task->room);
    }
}

static void *take_parts_thread(void *task)
{
    take_parts(task);
    return NULL;
}

/* GOMP_parallel of the OpenMP library that torch runs on, if it was found. Its threads are awake
   while torch works. */
typedef void (*Team)(void (*)(void *), void *, unsigned threads, unsigned flags);
static Team team;

void idim_team(void *gomp_parallel) { team = (Team)gomp_parallel; }

static void run(Task *task, int64_t threads)
{
    pthread_t others[MOST];
    int started = 0;
    task->threads = threads = least(threads, least(MOST, task->parts));
    if (threads > 1 && team) {
        team(take_parts, task, (unsigned)threads, 0);
        return;
    }
    for (; started + 1 < threads; started++)
        if (pthread_create(&others[started], NULL, take_parts_thread, task))
            break;
    take_parts(task);
    while (started)
        pthread_join(others[--started], NULL);
}

/* Ranges of D and the memory that holds them. Range r is [place, place + length), with place =
   start + starts[r], or start where starts is NULL. It lies at length * (at ? at[r] : r) in the
   memory, and in the origin, too. */
typedef struct {
    int64_t start, count, length, group;
    const int64_t *starts, *at;
    void *memory;
    const void *origin;
    double factor;
} Ranges;

INLINE int64_t place(const Ranges *x, int64_t r)
{
    return x->start + (x->starts ? x->starts[r] : 0);
}
INLINE int64_t offset(const Ranges *x, int64_t r) { return x->length * (x->at ? x->at[r] : r); }

/* i modulo n. Many short ranges ask for it, and a division takes longer than all the rest. So where
   n is a power of two, or i is below it, there is none. */
INLINE int64_t modulo(int64_t i, int64_t n)
{
    return i < n ? i : n & (n - 1) ? i % n : i & (n - 1);
}

/* Blocks and runs go to the parts in turn, round after round. This is the first one from b on whose
   place in its round is in [lo, hi). */
INLINE int64_t next_in_turn(int64_t b, int64_t round, int64_t lo, int64_t hi)
{
    int64_t at = modulo(b, round);
    return at < lo ? b + lo - at : at >= hi ? b + round - at + lo : b;
}

/* Random bits. */

typedef struct {
    int64_t first, count;
    uint32_t stream, k0, k1;
    int64_t *out;
} Words;

static void words_part(const Task *task, int64_t part, void *scratch)
{
    const Words *w = task->call;
    int64_t lo = w->count * part / task->parts, hi = w->count * (part + 1) / task->parts;
    (void)scratch;
    for (int64_t i = lo; i < hi; i++) {
        uint64_t at = (uint64_t)(w->first + i);
        uint32_t c0 = (uint32_t)at, c1 = (uint32_t)(at >> 32), c2 = w->stream, c3 = 0, a = w->k0,
                 b = w->k1;
        for (int round = 0; round < 10; round++) {
            uint64_t p = (uint64_t)c0 * 0xD2511F53u, q = (uint64_t)c2 * 0xCD9E8D57u;
            c0 = (uint32_t)(q >> 32) ^ c1 ^ a, c1 = (uint32_t)q;
            c2 = (uint32_t)(p >> 32) ^ c3 ^ b, c3 = (uint32_t)p;
            a += 0x9E3779B9u, b += 0xBB67AE85u;
        }
        int64_t *out = w->out + 4 * i;
        out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
    }
}

/* Philox4x32-10 of the counters first .. first + count: four words each, in order. */
void idim_words(int64_t first, int64_t count, uint32_t stream, uint32_t k0, uint32_t k1,
                int64_t *out, int64_t threads)
{
    Words w = {first, count, stream, k0, k1, out};
    Task task = {words_part, PARTS, &w};
    run(&task, threads);
}

typedef struct {
    const int64_t *position, *keys;
    int64_t rows, k, n, rounds;
    int low, high;
    int64_t *out;
} Permutation;

static void permute_part(const Task *task, int64_t part, void *scratch)
{
    const Permutation *p = task->call;
    int64_t total = p->rows * p->k, lo = total * part / task->parts,
            hi = total * (part + 1) / task->parts;
    uint64_t masks[2] = {((uint64_t)1 << p->high) - 1, ((uint64_t)1 << p->low) - 1};
    (void)scratch;
    for (int64_t i = lo; i < hi; i++) {
        const int64_t *keys = p->keys + i / p->k * p->rounds;
        uint64_t x = (uint64_t)p->position[i];
        do {
            uint64_t half[2] = {x >> p->low, x & masks[1]};
            for (int64_t r = 0; r < p->rounds; r++) {
                uint32_t mixed = (uint32_t)((half[(r + 1) % 2] ^ (uint64_t)keys[r]) * 0x9E3779B1u);
                mixed = (mixed ^ (mixed >> 15)) * 0x85EBCA77u;
                half[r % 2] ^= ((mixed ^ (mixed >> 13)) >> 3) & masks[r % 2];
            }
            x = half[0] << p->low | half[1];
        } while (x >= (uint64_t)p->n);
        p->out[i] = (int64_t)x;
    }
}

/* The Feistel network with keys (rows, rounds) on positions (rows, k). What falls outside of [0, n)
   goes through it again. */
void idim_permute(const int64_t *position, int64_t rows, int64_t k, int64_t n, int low, int high,
                  const int64_t *keys, int64_t rounds, int64_t *out, int64_t threads)
{
    Permutation p = {position, keys, rows, k, n, rounds, low, high, out};
    Task task = {permute_part, PARTS, &p};
    run(&task, threads);
}

/* The sums, in double and in single precision. Single precision has a form for each of several
   generations of processor; Python asks for the best that the machine has. */

#define JOIN3(x, y) x##_##y
#define JOIN2(x, y) JOIN3(x, y)
#define NAME(x) JOIN2(x, KIND)

/* Four floats, and two pairs of them. */
typedef float FOUR __attribute__((vector_size(16)));
typedef FOUR FOUR_LOOSE __attribute__((aligned(4), may_alias));
typedef double PAIR __attribute__((aligned(4), may_alias));
typedef double TWO_PAIRS __attribute__((vector_size(16)));
#ifdef __clang__
#define FOUR_OF(p, q, ...) __builtin_shufflevector(p, q, __VA_ARGS__)
#else
typedef int32_t FOUR_PLACES __attribute__((vector_size(16)));
#define FOUR_OF(p, q, ...) __builtin_shuffle(p, q, (FOUR_PLACES){__VA_ARGS__})
#endif

/* Writes past the caches, and waits until others see them. STREAM wants whole vectors in place. */
#ifdef __x86_64__
#include <immintrin.h>
#define STREAM_2_DOUBLES(to, v) _mm_stream_pd(to, (__m128d)(v))
#define STREAM_4_FLOATS(to, v) _mm_stream_ps(to, (__m128)(v))
#define FENCE() _mm_sfence()
#else
#define STREAM_2_DOUBLES(to, v) *(LOOSE *)(to) = (v)
#define STREAM_4_FLOATS(to, v) *(LOOSE *)(to) = (v)
#define FENCE()
#endif

#define KIND f64
#define REAL double
#define BITS uint64_t
#define W 2
#define STREAM STREAM_2_DOUBLES
#define REGISTERS 8
#include "native_sums.h"

#define KIND f32
#define REAL float
#define BITS uint32_t
#define W 4
#define STREAM STREAM_4_FLOATS
#define REGISTERS 8
#include "native_sums.h"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#pragma GCC push_options
#pragma GCC target("avx2")
#define KIND f32_avx2
#define REAL float
#define BITS uint32_t
#define W 8
#define STREAM(to, v) _mm256_stream_ps(to, (__m256)(v))
#define REGISTERS 8
#include "native_sums.h"
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx512f,avx512dq,avx512vl,avx512bw")
#define KIND f32_avx512
#define REAL float
#define BITS uint32_t
#define W 16
#define STREAM(to, v) _mm512_stream_ps(to, (__m512)(v))
#define REGISTERS 16
#include "native_sums.h"
#pragma GCC pop_options

/* The suffix of the best single-precision form. */
const char *idim_generation(void)
{
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw"))
        return "f32_avx512";
    return __builtin_cpu_supports("avx2") ? "f32_avx2" : "f32";
}
#else
const char *idim_generation(void) { return "f32"; }
#endif
