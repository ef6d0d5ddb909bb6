#include "prelude.cuh"

// What stands beside the products of dense layers: the exact GELU, sums over rows, and layers of few outputs.

struct GeluArguments {
    const act *u;
    act *g;
    u32 n;
    u32 unused;
};

KERNEL(linear_gelu, GeluArguments, 256) {
    const u32 first = (blockIdx.x * blockDim.x + threadIdx.x) * EIGHT;
    if (first >= a.n) return;
    float u[EIGHT];
    load_part(a.u, first, a.n, 0.0f, u);
#pragma unroll
    for (u32 i = 0; i < EIGHT; i++) u[i] = gelu(u[i]);
    store_part(a.g, first, a.n, u);
}

struct GeluBackwardArguments {
    const act *u;
    act *d;
    act *g;  // none where it is not asked for
    u32 n;
    u32 unused;
};

KERNEL(linear_gelu_backward, GeluBackwardArguments, 256) {
    const u32 first = (blockIdx.x * blockDim.x + threadIdx.x) * EIGHT;
    if (first >= a.n) return;
    float u[EIGHT], d[EIGHT];
    load_part(a.u, first, a.n, 0.0f, u);
    load_part(a.d, first, a.n, 0.0f, d);
#pragma unroll
    for (u32 i = 0; i < EIGHT; i++) {
        float slope;
        u[i] = gelu_and_slope(u[i], slope);
        d[i] *= slope;
    }
    store_part(a.d, first, a.n, d);
    if (a.g) store_part(a.g, first, a.n, u);
}

// The sums of a block's warps, added in order: each thread has eight neighbours of the block's 256 columns.
DEVICE void add_warps(const float (&sums)[EIGHT], u32 width, float *to, float *room) {
    __syncthreads();
    store_eight(room + warp() * CHUNK + lane() * EIGHT, sums);
    __syncthreads();
    const u32 column = blockIdx.x * CHUNK + threadIdx.x;
    if (column >= width) return;
    float all = 0.0f;
#pragma unroll
    for (u32 w = 0; w < CHUNK / WARP; w++) all += room[w * CHUNK + threadIdx.x];
    to[column] = all;
}

// Blocks are (256 columns, some rows), of 256 threads: neighbours in the grid read neighbours in memory.
template <typename T> struct ColumnsArguments {
    const T *values;
    float *parts;  // by block of rows
    u32 rows;
    u32 width;
    u32 rows_of_block;
    u32 unused;
};

template <typename T> DEVICE void columns(const ColumnsArguments<T> &a, float *room) {
    const u32 first = blockIdx.x * CHUNK + lane() * EIGHT;
    const u32 begin = blockIdx.y * a.rows_of_block;
    const u32 end = min(begin + a.rows_of_block, a.rows);
    float sums[EIGHT] = {};
#pragma unroll 4
    for (u32 row = begin + warp(); row < end; row += CHUNK / WARP) {
        float values[EIGHT];
        load_part(a.values + u64(row) * a.width, first, a.width, 0.0f, values);
#pragma unroll
        for (u32 i = 0; i < EIGHT; i++) sums[i] += values[i];
    }
    add_warps(sums, a.width, a.parts + u64(blockIdx.y) * a.width, room);
}

KERNEL(linear_columns, ColumnsArguments<act>, 256) {
    SHARED(float, room, 8 * CHUNK);
    columns(a, room);
}

KERNEL(linear_real_columns, ColumnsArguments<float>, 256) {
    SHARED(float, room, 8 * CHUNK);
    columns(a, room);
}

struct RoundArguments {
    const float *from;
    act *to;
    u32 rows;
    u32 width;
    u32 stride;  // of `to`, whose rest is zero
    u32 unused;
};

KERNEL(linear_round, RoundArguments, 256) {
    const u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    const u32 row = i / a.stride, column = i % a.stride;
    if (row >= a.rows) return;
    a.to[i] = to_act(column < a.width ? a.from[u64(row) * a.width + column] : 0.0f);
}

// ---- Few outputs: a row a warp, weights as they are in f32.

struct LogitsArguments {
    const act *x;
    const float *weight;
    const float *bias;
    float *y;
    u32 rows;
    u32 width;
    u32 outputs;
    u32 unused;
};

template <u32 OUTPUTS> DEVICE void logits(const LogitsArguments &a) {
    const u32 row = blockIdx.x * warps() + warp();
    if (row >= a.rows) return;
    float sums[OUTPUTS] = {};
#pragma unroll 4
    for (u32 chunk = 0; chunk < a.width; chunk += CHUNK) {
        const u32 first = chunk + lane() * EIGHT;
        float x[EIGHT];
        load_part(a.x + u64(row) * a.width, first, a.width, 0.0f, x);
#pragma unroll
        for (u32 o = 0; o < OUTPUTS; o++) {
            if (o >= a.outputs) break;
            float w[EIGHT];
            load_part(a.weight + o * a.width, first, a.width, 0.0f, w);
#pragma unroll
            for (u32 i = 0; i < EIGHT; i++) sums[o] = fmaf(x[i], w[i], sums[o]);
        }
    }
#pragma unroll
    for (u32 o = 0; o < OUTPUTS; o++) {
        if (o >= a.outputs) break;
        const float sum = warp_sum(sums[o]);
        if (lane() == o) a.y[u64(row) * a.outputs + o] = sum + a.bias[o];
    }
}

KERNEL(linear_logits_1, LogitsArguments, 256) { logits<1>(a); }
KERNEL(linear_logits_2, LogitsArguments, 256) { logits<2>(a); }
KERNEL(linear_logits_4, LogitsArguments, 256) { logits<4>(a); }
KERNEL(linear_logits_8, LogitsArguments, 256) { logits<8>(a); }

struct LogitsBackwardArguments {
    const float *dy;
    const act *x;
    const float *weight;
    act *dx;
    float *parts;  // by block of rows: sums of dy x, by output, then of dy
    u32 rows;
    u32 width;
    u32 outputs;
    u32 rows_of_block;
    u32 adds;      // whether dx is added to
    u32 unused;
};

// Blocks as for `columns`; `x` is read once for both products.
template <u32 OUTPUTS> DEVICE void logits_backward(const LogitsBackwardArguments &a, float *room) {
    const u32 first = blockIdx.x * CHUNK + lane() * EIGHT;
    const u32 begin = blockIdx.y * a.rows_of_block;
    const u32 end = min(begin + a.rows_of_block, a.rows);
    float weight[OUTPUTS][EIGHT], sums[OUTPUTS][EIGHT], biases[OUTPUTS];
#pragma unroll
    for (u32 o = 0; o < OUTPUTS; o++) {
        biases[o] = 0.0f;
#pragma unroll
        for (u32 i = 0; i < EIGHT; i++) weight[o][i] = sums[o][i] = 0.0f;
        if (o < a.outputs) load_part(a.weight + o * a.width, first, a.width, 0.0f, weight[o]);
    }
#pragma unroll 2
    for (u32 row = begin + warp(); row < end; row += CHUNK / WARP) {
        const u64 at = u64(row) * a.width;
        float x[EIGHT], dx[EIGHT] = {};
        load_part(a.x + at, first, a.width, 0.0f, x);
        if (a.adds) load_part(a.dx + at, first, a.width, 0.0f, dx);
#pragma unroll
        for (u32 o = 0; o < OUTPUTS; o++) {
            const float dy = o < a.outputs ? a.dy[u64(row) * a.outputs + o] : 0.0f;
            biases[o] += dy;
#pragma unroll
            for (u32 i = 0; i < EIGHT; i++) {
                dx[i] = fmaf(dy, weight[o][i], dx[i]);
                sums[o][i] = fmaf(dy, x[i], sums[o][i]);
            }
        }
        store_part(a.dx + at, first, a.width, dx);
    }
    float *parts = a.parts + u64(blockIdx.y) * a.outputs * (a.width + 1);
#pragma unroll
    for (u32 o = 0; o < OUTPUTS; o++) {
        if (o >= a.outputs) break;
        add_warps(sums[o], a.width, parts + o * a.width, room);
    }
    if (blockIdx.x != 0) return;
    __syncthreads();
#pragma unroll
    for (u32 o = 0; o < OUTPUTS; o++)
        if (lane() == o) room[warp() * OUTPUTS + o] = biases[o];
    __syncthreads();
    if (threadIdx.x >= a.outputs) return;
    float all = 0.0f;
#pragma unroll
    for (u32 w = 0; w < CHUNK / WARP; w++) all += room[w * OUTPUTS + threadIdx.x];
    parts[a.outputs * a.width + threadIdx.x] = all;
}

#define LOGITS_BACKWARD(outputs)                                            \
    KERNEL(linear_logits_backward_##outputs, LogitsBackwardArguments, 256) {     \
        SHARED(float, room, 8 * CHUNK);                                     \
        logits_backward<outputs>(a, room);                                  \
    }
LOGITS_BACKWARD(1)
LOGITS_BACKWARD(2)
LOGITS_BACKWARD(4)
LOGITS_BACKWARD(8)
