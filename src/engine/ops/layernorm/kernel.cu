#include "prelude.cuh"

// Layer normalisation, a row a warp: each thread has eight neighbours of every 256 numbers, in registers.

struct NormArguments {
    const act *h;         // what units are dropped of; none for `norm`
    const act *residual;
    const float *gain;
    const float *bias;
    act *z;
    act *y;
    float *mean;
    float *rstd;
    const u32 *sequence;  // by row
    const u32 *position;
    u32 rows;
    u32 width;
    float eps;
    u32 unused;
    Dropout dropout;
};

struct NormBackwardArguments {
    act *d;               // in: of y; out: of z
    const act *z;
    const float *gain;
    const float *mean;
    const float *rstd;
    act *dh;              // none for `norm`
    float *parts;         // by block: sums of dy * xhat, then of dy
    const u32 *sequence;
    const u32 *position;
    u32 rows;
    u32 width;
    u32 rows_of_block;
    u32 drops_dy;         // whether units of `d` were dropped after normalisation, and not those of `h` before it
    Dropout dropout;
};

template <u32 CHUNKS>
DEVICE void normalise(const NormArguments &a, u32 row) {
    const u64 at = u64(row) * a.width;
    const bool drops = a.dropout.threshold != 0;
    float z[CHUNKS][EIGHT];
#pragma unroll
    for (u32 c = 0; c < CHUNKS; c++) {
        const u32 first = c * CHUNK + lane() * EIGHT;
        if (a.h) {
            float x[EIGHT];
            load_part(a.h + at, first, a.width, 0.0f, z[c]);
            load_part(a.residual + at, first, a.width, 0.0f, x);
            if (drops) drop(a.dropout, u64(a.position[row]) * blocks_of(a.width) + 2 * c, a.sequence[row], z[c]);
            // What is kept for the backward pass is what is normalised, rounding included.
#pragma unroll
            for (u32 i = 0; i < EIGHT; i++) z[c][i] = to_float(to_act(z[c][i] + x[i]));
            store_part(a.z + at, first, a.width, z[c]);
        } else {
            load_part(a.z + at, first, a.width, 0.0f, z[c]);
        }
    }
    normalise_row<CHUNKS>(z, row, a.width, a.eps, a.gain, a.bias, a.mean, a.rstd);
#pragma unroll
    for (u32 c = 0; c < CHUNKS; c++) store_part(a.y + at, c * CHUNK + lane() * EIGHT, a.width, z[c]);
}

// A kernel for each number of chunks, so that narrow rows do not pay for the registers of wide ones.
#define FORWARD(chunks)                                          \
    KERNEL(layernorm_forward_##chunks, NormArguments, 256) {          \
        const u32 row = blockIdx.x * warps() + warp();           \
        if (row < a.rows) normalise<chunks>(a, row);             \
    }
FORWARD(1)
FORWARD(2)
FORWARD(3)
FORWARD(4)
FORWARD(8)

template <u32 CHUNKS>
DEVICE void backward(const NormBackwardArguments &a, float *room) {
    const bool drops = a.dropout.threshold != 0;
    float gains[CHUNKS][EIGHT], biases[CHUNKS][EIGHT];
#pragma unroll
    for (u32 c = 0; c < CHUNKS; c++)
#pragma unroll
        for (u32 i = 0; i < EIGHT; i++) gains[c][i] = biases[c][i] = 0.0f;
    const u32 begin = blockIdx.x * a.rows_of_block;
    const u32 end = min(begin + a.rows_of_block, a.rows);
    for (u32 row = begin + warp(); row < end; row += warps()) {
        const u64 at = u64(row) * a.width;
        const float mean = a.mean[row], rstd = a.rstd[row];
        float g[CHUNKS][EIGHT], xhat[CHUNKS][EIGHT];
        float sum = 0.0f, products = 0.0f;
#pragma unroll
        for (u32 c = 0; c < CHUNKS; c++) {
            const u32 first = c * CHUNK + lane() * EIGHT;
            float gain[EIGHT];
            load_part(a.z + at, first, a.width, mean, xhat[c]);
            load_part(a.d + at, first, a.width, 0.0f, g[c]);
            if (drops && a.drops_dy) drop(a.dropout, u64(a.position[row]) * blocks_of(a.width) + 2 * c, a.sequence[row], g[c]);
            load_part(a.gain, first, a.width, 0.0f, gain);
#pragma unroll
            for (u32 i = 0; i < EIGHT; i++) {
                xhat[c][i] = (xhat[c][i] - mean) * rstd;
                gains[c][i] = fmaf(g[c][i], xhat[c][i], gains[c][i]);
                biases[c][i] += g[c][i];
                g[c][i] *= gain[i];
                sum += g[c][i];
                products = fmaf(g[c][i], xhat[c][i], products);
            }
        }
        const float n = float(a.width);
        sum = warp_sum(sum) / n;
        products = warp_sum(products) / n;
#pragma unroll
        for (u32 c = 0; c < CHUNKS; c++) {
            const u32 first = c * CHUNK + lane() * EIGHT;
#pragma unroll
            for (u32 i = 0; i < EIGHT; i++) g[c][i] = rstd * (g[c][i] - sum - xhat[c][i] * products);
            store_part(a.d + at, first, a.width, g[c]);
            if (!a.dh) continue;
            if (drops) drop(a.dropout, u64(a.position[row]) * blocks_of(a.width) + 2 * c, a.sequence[row], g[c]);
            store_part(a.dh + at, first, a.width, g[c]);
        }
    }
    // Warps in order.
    float *parts = a.parts + u64(blockIdx.x) * 2 * a.width;
#pragma unroll
    for (u32 c = 0; c < CHUNKS; c++) {
        for (u32 which = 0; which < 2; which++) {
            __syncthreads();
#pragma unroll
            for (u32 i = 0; i < EIGHT; i++)
                room[warp() * CHUNK + lane() * EIGHT + i] = which ? biases[c][i] : gains[c][i];
            __syncthreads();
            for (u32 i = threadIdx.x; i < CHUNK && c * CHUNK + i < a.width; i += blockDim.x) {
                float all = 0.0f;
                for (u32 w = 0; w < warps(); w++) all += room[w * CHUNK + i];
                parts[which * a.width + c * CHUNK + i] = all;
            }
        }
    }
}

#define BACKWARD(chunks)                                         \
    KERNEL(layernorm_backward_##chunks, NormBackwardArguments, 256) { \
        SHARED(float, room, 8 * CHUNK);                          \
        backward<chunks>(a, room);                               \
    }
BACKWARD(1)
BACKWARD(2)
BACKWARD(3)
BACKWARD(4)
BACKWARD(8)
