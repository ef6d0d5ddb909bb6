// What all kernels share: types, warps, random numbers, dropout. Every instruction of the device that C++ has no word for is
// one function here, with a twin for the emulation on the CPU (`EMULATED`); no other file has `asm`.
#pragma once

#ifdef EMULATED
#include "emulation.h"
#else
#define DEVICE __device__ __forceinline__
// Arrays of a block. The emulation gives them from a pool that is full of garbage at first.
#define SHARED(type, name, count) __shared__ __align__(16) type name[count]
// What the launch asked for beyond them.
#define SHARED_REST(type, name) \
    extern __shared__ __align__(16) unsigned char shared_rest_[]; \
    type *name = reinterpret_cast<type *>(shared_rest_)
// A kernel takes one structure, so that all are launched alike. `most` is what its blocks have of threads at most: the compiler
// gives each as many registers as that leaves, and a launch of more is refused.
#define KERNEL_NAMED(name, Arguments, most) extern "C" __global__ void __launch_bounds__(most) name(const Arguments a)
#endif

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#ifdef ACT_BF16
#define KERNEL(name, Arguments, most) KERNEL_NAMED(JOIN(name, _bf16), Arguments, most)
#else
#define KERNEL(name, Arguments, most) KERNEL_NAMED(JOIN(name, _f32), Arguments, most)
#endif

constexpr u32 WARP = 32;
constexpr u32 ALL = 0xffffffffu;

// ---- Numbers of 16 bits. Products and stores round to nearest, ties to even.

struct bf16 {
    u16 bits;
};

DEVICE float as_float(u32 bits) {
#ifdef EMULATED
    return emulated_bits<float>(bits);
#else
    return __uint_as_float(bits);
#endif
}

DEVICE u32 as_bits(float value) {
#ifdef EMULATED
    return emulated_bits<u32>(value);
#else
    return __float_as_uint(value);
#endif
}

DEVICE float minus_infinity() { return as_float(0xff800000u); }

DEVICE float to_float(bf16 value) { return as_float(u32(value.bits) << 16); }
DEVICE float to_float(float value) { return value; }

// Two numbers of 16 bits in a word, the first in the lower half.
DEVICE u32 pack_bf16(float first, float second) {
#ifdef EMULATED
    return u32(emulated_bf16(first)) | u32(emulated_bf16(second)) << 16;
#else
    u32 both;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(second), "f"(first));
    return both;
#endif
}

DEVICE bf16 to_bf16(float value) {
    bf16 made;
    made.bits = u16(pack_bf16(value, 0.0f) & 0xffffu);
    return made;
}

#ifdef ACT_BF16
typedef bf16 act;
DEVICE act to_act(float value) { return to_bf16(value); }
#else
typedef float act;
DEVICE act to_act(float value) { return value; }
#endif

// Numbers of eight neighbours of a row, loaded and stored at once where the row's width allows it.
constexpr u32 EIGHT = 8;

struct alignas(16) four_words {
    u32 word[4];
};

DEVICE void load_eight(const bf16 *from, float (&to)[EIGHT]) {
    const four_words words = *reinterpret_cast<const four_words *>(from);
#pragma unroll
    for (u32 i = 0; i < 4; i++) {
        to[2 * i] = as_float(words.word[i] << 16);
        to[2 * i + 1] = as_float(words.word[i] & 0xffff0000u);
    }
}

DEVICE void load_eight(const float *from, float (&to)[EIGHT]) {
#pragma unroll
    for (u32 half = 0; half < 2; half++) {
        const four_words words = reinterpret_cast<const four_words *>(from)[half];
#pragma unroll
        for (u32 i = 0; i < 4; i++) to[4 * half + i] = as_float(words.word[i]);
    }
}

DEVICE void store_eight(bf16 *to, const float (&from)[EIGHT]) {
    four_words words;
#pragma unroll
    for (u32 i = 0; i < 4; i++) words.word[i] = pack_bf16(from[2 * i], from[2 * i + 1]);
    *reinterpret_cast<four_words *>(to) = words;
}

DEVICE void store_eight(float *to, const float (&from)[EIGHT]) {
#pragma unroll
    for (u32 half = 0; half < 2; half++) {
        four_words words;
#pragma unroll
        for (u32 i = 0; i < 4; i++) words.word[i] = as_bits(from[4 * half + i]);
        reinterpret_cast<four_words *>(to)[half] = words;
    }
}

// Eight neighbours of a row of `width` numbers from `first` on; what lies beyond the row is `beyond`, and rows whose width is
// no multiple of eight are read one by one.
template <typename T>
DEVICE void load_part(const T *row, u32 first, u32 width, float beyond, float (&to)[EIGHT]) {
    if (width % EIGHT == 0) {
        if (first < width) {
            load_eight(row + first, to);
            return;
        }
#pragma unroll
        for (u32 i = 0; i < EIGHT; i++) to[i] = beyond;
        return;
    }
#pragma unroll
    for (u32 i = 0; i < EIGHT; i++) to[i] = first + i < width ? to_float(row[first + i]) : beyond;
}

DEVICE void store_one(float *to, float value) { *to = value; }
DEVICE void store_one(bf16 *to, float value) { *to = to_bf16(value); }

template <typename T>
DEVICE void store_part(T *row, u32 first, u32 width, const float (&from)[EIGHT]) {
    if (width % EIGHT == 0) {
        if (first < width) store_eight(row + first, from);
        return;
    }
#pragma unroll
    for (u32 i = 0; i < EIGHT; i++)
        if (first + i < width) store_one(row + first + i, from[i]);
}

// ---- Warps. All 32 threads take part in each of these.

DEVICE u32 lane() { return threadIdx.x % WARP; }
DEVICE u32 warp() { return threadIdx.x / WARP; }
DEVICE u32 warps() { return blockDim.x / WARP; }

DEVICE float shuffle_xor(float value, u32 distance) {
#ifdef EMULATED
    return emulated_shuffle(value, emulated_lane() ^ distance);
#else
    return __shfl_xor_sync(ALL, value, distance);
#endif
}

DEVICE u32 shuffle_xor(u32 value, u32 distance) {
#ifdef EMULATED
    return emulated_shuffle(value, emulated_lane() ^ distance);
#else
    return __shfl_xor_sync(ALL, value, distance);
#endif
}

DEVICE float shuffle(float value, u32 from) {
#ifdef EMULATED
    return emulated_shuffle(value, from);
#else
    return __shfl_sync(ALL, value, from);
#endif
}

DEVICE u32 shuffle(u32 value, u32 from) {
#ifdef EMULATED
    return emulated_shuffle(value, from);
#else
    return __shfl_sync(ALL, value, from);
#endif
}

// A bit of each thread, that of thread `i` at place `i`.
DEVICE u32 ballot(bool bit) {
#ifdef EMULATED
    return emulated_ballot(bit);
#else
    return __ballot_sync(ALL, bit);
#endif
}

// How many bits are 1.
DEVICE u32 count_bits(u32 bits) {
#ifdef EMULATED
    return u32(__builtin_popcount(bits));
#else
    return u32(__popc(int(bits)));
#endif
}

DEVICE void warp_wait() {
#ifdef EMULATED
    emulated_warp_wait();
#else
    __syncwarp();
#endif
}

// Every thread has the sum; the same bits in all of them, because each adds the same pairs.
DEVICE float warp_sum(float value) {
#pragma unroll
    for (u32 distance = 16; distance > 0; distance /= 2) value += shuffle_xor(value, distance);
    return value;
}

DEVICE float warp_max(float value) {
#pragma unroll
    for (u32 distance = 16; distance > 0; distance /= 2) value = fmaxf(value, shuffle_xor(value, distance));
    return value;
}

// The sum of this thread's value and those of all threads of the warp before it.
DEVICE u32 warp_scan(u32 value) {
#pragma unroll
    for (u32 distance = 1; distance < WARP; distance *= 2) {
        const u32 before = shuffle(value, (lane() - distance) % WARP);
        if (lane() >= distance) value += before;
    }
    return value;
}

// The sum over a block, in every thread; `room` has 32 numbers. Waits for the block before and after.
DEVICE float block_sum(float value, float *room) {
    value = warp_sum(value);
    __syncthreads();
    if (lane() == 0) room[warp()] = value;
    __syncthreads();
    return warp_sum(lane() < warps() ? room[lane()] : 0.0f);
}

DEVICE float block_max(float value, float *room) {
    value = warp_max(value);
    __syncthreads();
    if (lane() == 0) room[warp()] = value;
    __syncthreads();
    return warp_max(lane() < warps() ? room[lane()] : room[0]);
}

// ---- Products of a warp on tensor cores, of numbers of 16 bits with sums in f32. `g` is `lane / 4`, `t` is `lane % 4`.

// `c += a b`: `a` is 16 x 16, a thread has rows g (words 0 and 2) and g + 8 (words 1 and 3), columns 2t, 2t + 1 (words 0 and 1)
// and 2t + 8, 2t + 9 (words 2 and 3). `b` is 16 x 8, rows as the columns of `a`, column g. `c` is 16 x 8, rows g (0 and 1) and
// g + 8 (2 and 3), columns 2t and 2t + 1.
DEVICE void tensor_product(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
#ifdef EMULATED
    emulated_tensor_product(c, a, b0, b1);
#else
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#endif
}

// Shared memory as instructions name it.
DEVICE u32 shared_address(const void *at) {
#ifdef EMULATED
    (void)at;
    return 0;
#else
    return u32(__cvta_generic_to_shared(at));
#endif
}

// Four matrices of 8 x 8 from shared memory: thread `8 m + r` says where row `r` of matrix `m` begins, 16 bytes there. A thread
// gets row g, columns 2t and 2t + 1 of each.
DEVICE void load_matrices(const bf16 *row, u32 (&to)[4]) {
#ifdef EMULATED
    emulated_load_matrices(row, to, false);
#else
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(shared_address(row))
                 : "memory");
#endif
}

// The same of their transposes: a thread gets column g, rows 2t and 2t + 1 of each.
DEVICE void load_matrices_turned(const bf16 *row, u32 (&to)[4]) {
#ifdef EMULATED
    emulated_load_matrices(row, to, true);
#else
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(shared_address(row))
                 : "memory");
#endif
}

// ---- Copies of 16 bytes to shared memory that go on beside the thread: seen after `copies_wait` and a barrier.

// Zeros where `is_there` is false; `from` is not read then.
DEVICE void copy_later(void *to, const void *from, bool is_there) {
#ifdef EMULATED
    emulated_copy_later(to, from, is_there);
#else
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from),
                 "r"(is_there ? 16 : 0)
                 : "memory");
#endif
}

// Ends a group of copies.
DEVICE void copies_end() {
#ifdef EMULATED
    emulated_copies_end();
#else
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Waits for all groups of this thread but the last `LEFT`.
template <u32 LEFT>
DEVICE void copies_wait() {
#ifdef EMULATED
    emulated_copies_wait(LEFT);
#else
    asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory");
#endif
}

// ---- Numbers.

// The same number, of which the compiler no longer knows whence it is: what is computed from it is computed again then, instead of
// being kept in registers over a long loop.
DEVICE u32 forget(u32 value) {
#ifndef EMULATED
    asm volatile("" : "+r"(value));
#endif
    return value;
}

// The signs of bytes: byte `i` of the result is all ones where the byte that digit `i` of the selector names has its highest bit
// set, else 0. Digits 8 to 11 name the bytes of the first word, 12 to 15 those of the second.
DEVICE u32 signs_of_bytes(u32 first, u32 second, u32 selector) {
#ifdef EMULATED
    u32 signs = 0;
    for (u32 i = 0; i < 4; i++) {
        const u32 digit = selector >> (4 * i) & 7u, word = digit < 4 ? first : second;
        signs |= (word >> (8 * (digit % 4)) & 0x80u ? 0xffu : 0u) << (8 * i);
    }
    return signs;
#else
    u32 signs;
    asm("prmt.b32 %0, %1, %2, %3;" : "=r"(signs) : "r"(first), "r"(second), "r"(selector));
    return signs;
#endif
}

// ---- Random numbers: Philox4x32-10 by counter, numbered as `engine/random.rs` says.

struct four {
    u32 word[4];
};

DEVICE u32 high_product(u32 a, u32 b) {
#ifdef EMULATED
    return u32((u64(a) * u64(b)) >> 32);
#else
    return __umulhi(a, b);
#endif
}

// The counter is (index, sequence, step).
DEVICE four philox(u32 key0, u32 key1, u64 index, u32 sequence, u32 step) {
    u32 c0 = u32(index), c1 = u32(index >> 32), c2 = sequence, c3 = step;
#pragma unroll
    for (u32 round = 0; round < 10; round++) {
        const u32 h0 = high_product(0xD2511F53u, c0), l0 = 0xD2511F53u * c0;
        const u32 h1 = high_product(0xCD9E8D57u, c2), l1 = 0xCD9E8D57u * c2;
        c0 = h1 ^ c1 ^ key0;
        c1 = l1;
        c2 = h0 ^ c3 ^ key1;
        c3 = l0;
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
    four words;
    words.word[0] = c0;
    words.word[1] = c1;
    words.word[2] = c2;
    words.word[3] = c3;
    return words;
}

// What is dropped at a place; nothing where `threshold` is 0. As `cuda/mod.rs` has it.
struct Dropout {
    u32 key[2];
    u32 step;
    u32 threshold;
    float scale;
    u32 unused;
};

// Bits of the eight units that a counter's words decide, 1 where a unit is kept: unit `16 i + lane` of its block of 128 for
// bit `i`, where `lane` is the counter's number in the block.
DEVICE u32 kept_bits(const Dropout &dropout, u64 counter, u32 sequence) {
    const four words = philox(dropout.key[0], dropout.key[1], counter, sequence, dropout.step);
    u32 bits = 0;
#pragma unroll
    for (u32 i = 0; i < 4; i++) {
        bits |= u32((words.word[i] & 0xffffu) >= dropout.threshold) << (2 * i);
        bits |= u32((words.word[i] >> 16) >= dropout.threshold) << (2 * i + 1);
    }
    return bits;
}

// Bits of eight neighbours, 1 where one is kept: thread `t` of the warp has units `8 t .. 8 t + 7` of the 256 that begin at
// block `block` (a number of blocks of 128) of the sequence. All threads of the warp ask together.
DEVICE u32 kept_eight(const Dropout &dropout, u64 block, u32 sequence) {
    const u32 t = lane();
    const u32 own = kept_bits(dropout, (block + t / 16) * 16 + t % 16, sequence);
    u32 chosen = 0;
#pragma unroll
    for (u32 i = 0; i < 8; i++) {
        const u32 all = ballot(own >> i & 1u);
        if (i == t % 16 / 2) chosen = all;
    }
    return chosen >> (t / 16 * 16 + t % 2 * 8) & 0xffu;
}

// The factors of eight neighbours: 0 where a unit is dropped. All threads of the warp ask together.
DEVICE void drop(const Dropout &dropout, u64 block, u32 sequence, float (&values)[EIGHT]) {
    const u32 kept = kept_eight(dropout, block, sequence);
#pragma unroll
    for (u32 i = 0; i < EIGHT; i++) values[i] = kept >> i & 1u ? values[i] * dropout.scale : 0.0f;
}

// ---- Rows in registers, one a warp: each thread has eight neighbours of every 256 numbers.

constexpr u32 CHUNK = WARP * EIGHT;

// Blocks of 128 units in a row.
DEVICE u32 blocks_of(u32 width) { return (width + 127) / 128; }

struct moments {
    float mean;
    float rstd;
};

// Mean and 1 / sqrt(variance + eps) of a row, in two passes; what lies beyond the row is 0.
template <u32 CHUNKS>
DEVICE moments row_moments(const float (&z)[CHUNKS][EIGHT], u32 width, float eps) {
    float sum = 0.0f, squares = 0.0f;
#pragma unroll
    for (u32 c = 0; c < CHUNKS; c++)
#pragma unroll
        for (u32 i = 0; i < EIGHT; i++) sum += z[c][i];
    moments found;
    found.mean = warp_sum(sum) / float(width);
#pragma unroll
    for (u32 c = 0; c < CHUNKS; c++) {
        const u32 first = c * CHUNK + lane() * EIGHT;
#pragma unroll
        for (u32 i = 0; i < EIGHT; i++) {
            const float away = first + i < width ? z[c][i] - found.mean : 0.0f;
            squares = fmaf(away, away, squares);
        }
    }
    found.rstd = 1.0f / sqrtf(warp_sum(squares) / float(width) + eps);
    return found;
}

// A row becomes its normalised self; its moments are written down.
template <u32 CHUNKS>
DEVICE void normalise_row(float (&z)[CHUNKS][EIGHT], u32 row, u32 width, float eps, const float *gains, const float *biases,
                          float *mean, float *rstd) {
    const moments of = row_moments<CHUNKS>(z, width, eps);
#pragma unroll
    for (u32 c = 0; c < CHUNKS; c++) {
        const u32 first = c * CHUNK + lane() * EIGHT;
        float gain[EIGHT], bias[EIGHT];
        load_part(gains, first, width, 0.0f, gain);
        load_part(biases, first, width, 0.0f, bias);
#pragma unroll
        for (u32 i = 0; i < EIGHT; i++) z[c][i] = fmaf((z[c][i] - of.mean) * of.rstd, gain[i], bias[i]);
    }
    if (lane() == 0) {
        mean[row] = of.mean;
        rstd[row] = of.rstd;
    }
}

// ---- Functions of numbers.

DEVICE float exp2_approx(float x) {
#ifdef EMULATED
    return exp2f(x);
#else
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
#endif
}

// Good to a unit in the last place.
DEVICE float reciprocal_approx(float x) {
#ifdef EMULATED
    return 1.0f / x;
#else
    float y;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
#endif
}

// Distribution and density of the standard normal at x, as `normal` of `cpu/math.rs` has it: the tail over the bell is a
// polynomial in 1 / (1 + 0.4 |x|). One bell serves both, and the lower tail loses nothing to cancellation.
DEVICE void normal(float x, float &below, float &density) {
    const float size = fabsf(x);
    const float bell = exp2_approx(-0.72134752044448170f * size * size);
    const float t = reciprocal_approx(fmaf(0.4f, size, 1.0f));
    float p = -0.040170833f;
    p = fmaf(p, t, 0.20309371f);
    p = fmaf(p, t, -0.37827307f);
    p = fmaf(p, t, 0.2556042f);
    p = fmaf(p, t, -0.015175117f);
    p = fmaf(p, t, 0.15943998f);
    p = fmaf(p, t, 0.15556397f);
    p = fmaf(p, t, 0.15993038f);
    p = fmaf(p, t, -1.326198e-5f);
    const float tail = bell * p;
    below = x > 0.0f ? 1.0f - tail : tail;
    density = bell * 0.39894228040143268f;
}

// The exact GELU, x Phi(x): Hendrycks & Gimpel 2016. ELECTRA's is not the tanh form.
DEVICE float gelu(float x) {
    float below, density;
    normal(x, below, density);
    return x * below;
}

// The same, and its slope Phi(x) + x phi(x).
DEVICE float gelu_and_slope(float x, float &slope) {
    float below, density;
    normal(x, below, density);
    slope = fmaf(x, density, below);
    return x * below;
}
