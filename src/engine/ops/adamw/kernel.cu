#include "prelude.cuh"

// The optimizer: all tensors in one launch, and the norm of all gradients in two.

// As `Part` of `cuda.rs`: neighbours in memory that are updated alike.
struct Part {
    u32 start;
    u32 len;
    float multiplier;
    float decay;
};

struct UpdateArguments {
    const Part *parts;
    float *p;
    const float *g;
    float *m;
    float *v;
    act *rounded;
    const float *norm;
    float learning_rate;
    float b1;
    float b2;
    float new1;
    float new2;
    float epsilon;
    float correction;
    float clip;
    u32 clips;
    u32 unused;
};

DEVICE bool is_finite(float value) { return (as_bits(value) & 0x7f800000u) != 0x7f800000u; }

// What gradients are multiplied with, so that their norm is `clip` at most.
DEVICE float clip_scale(float clip, float norm) { return clip / fmaxf(norm, clip); }

DEVICE void update(const UpdateArguments &a, const Part &part, float scale, float g, float &p, float &m, float &v) {
    g *= scale;
    m = a.b1 * m + a.new1 * g;
    v = a.b2 * v + a.new2 * g * g;
    const float step = a.correction * m / (sqrtf(v) + a.epsilon) + part.decay * p;
    p -= a.learning_rate * part.multiplier * step;
}

KERNEL(adamw_update, UpdateArguments, 256) {
    const float norm = *a.norm;
    if (!is_finite(norm)) return;
    const float scale = a.clips ? clip_scale(a.clip, norm) : 1.0f;
    const Part part = a.parts[blockIdx.x];
    // Parts begin at multiples of eight, unless a tensor is joined to one of another length.
    const u32 in_eights = part.start % EIGHT == 0 ? part.len / EIGHT * EIGHT : 0;
    for (u32 i = threadIdx.x * EIGHT; i < in_eights; i += blockDim.x * EIGHT) {
        const u32 at = part.start + i;
        float p[EIGHT], g[EIGHT], m[EIGHT], v[EIGHT];
        load_eight(a.p + at, p);
        load_eight(a.g + at, g);
        load_eight(a.m + at, m);
        load_eight(a.v + at, v);
#pragma unroll
        for (u32 j = 0; j < EIGHT; j++) update(a, part, scale, g[j], p[j], m[j], v[j]);
        store_eight(a.p + at, p);
        store_eight(a.m + at, m);
        store_eight(a.v + at, v);
#ifdef ACT_BF16
        store_eight(a.rounded + at, p);
#endif
    }
    for (u32 i = in_eights + threadIdx.x; i < part.len; i += blockDim.x) {
        const u32 at = part.start + i;
        update(a, part, scale, a.g[at], a.p[at], a.m[at], a.v[at]);
#ifdef ACT_BF16
        a.rounded[at] = to_bf16(a.p[at]);
#endif
    }
}

struct SquaresArguments {
    const float *g;
    float *parts;
    u32 n;
    u32 of_block;  // a multiple of eight
};

KERNEL(adamw_squares, SquaresArguments, 256) {
    SHARED(float, room, WARP);
    const u32 begin = blockIdx.x * a.of_block;
    const u32 end = min(begin + a.of_block, a.n);
    float sums[EIGHT] = {};
#pragma unroll 4
    for (u32 at = begin + threadIdx.x * EIGHT; at < end; at += blockDim.x * EIGHT) {
        float g[EIGHT] = {};
        if (at + EIGHT <= end) {
            load_eight(a.g + at, g);
        } else {
#pragma unroll
            for (u32 i = 0; i < EIGHT; i++)
                if (at + i < end) g[i] = a.g[at + i];
        }
#pragma unroll
        for (u32 i = 0; i < EIGHT; i++) sums[i] = fmaf(g[i], g[i], sums[i]);
    }
    const float sum = ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
    const float all = block_sum(sum, room);
    if (threadIdx.x == 0) a.parts[blockIdx.x] = all;
}

struct RootArguments {
    const float *parts;
    float *norm;
    u32 n_parts;
    u32 unused;
};

// One block of 256 threads: sums of blocks in f64, halves onto halves.
KERNEL(adamw_root, RootArguments, 256) {
    SHARED(double, room, 256);
    double sum = 0.0;
    for (u32 i = threadIdx.x; i < a.n_parts; i += 256) sum += double(a.parts[i]);
    room[threadIdx.x] = sum;
    for (u32 half = 128; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) room[threadIdx.x] += room[threadIdx.x + half];
    }
    if (threadIdx.x == 0) *a.norm = float(sqrt(room[0]));
}

struct HoldArguments {
    const float *g;
    float *held;
    const float *norm;
    u32 n;
    float clip;
    u32 is_first;
    u32 unused;
};

KERNEL(adamw_hold, HoldArguments, 256) {
    const u32 first = (blockIdx.x * blockDim.x + threadIdx.x) * EIGHT;
    if (first >= a.n) return;
    const float scale = clip_scale(a.clip, *a.norm);
    float g[EIGHT], held[EIGHT] = {};
    load_part(a.g, first, a.n, 0.0f, g);
    if (!a.is_first) load_part(a.held, first, a.n, 0.0f, held);
#pragma unroll
    for (u32 i = 0; i < EIGHT; i++) held[i] += scale * g[i];
    store_part(a.held, first, a.n, held);
}
