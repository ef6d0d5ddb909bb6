#include "prelude.cuh"

// The second step of sums over rows: a block adds up 32 columns, each of its 8 warps every eighth row, in order.

struct AddArguments {
    const float *parts;
    float *to;
    u32 n_parts;
    u32 stride;
    u32 width;
    u32 unused;
};

KERNEL(sums_add, AddArguments, 256) {
    SHARED(float, sums, 8 * WARP);
    const u32 column = blockIdx.x * WARP + lane();
    float sum = 0.0f;
    if (column < a.width)
        for (u32 i = warp(); i < a.n_parts; i += 8) sum += a.parts[u64(i) * a.stride + column];
    sums[warp() * WARP + lane()] = sum;
    __syncthreads();
    if (warp() != 0 || column >= a.width) return;
    float all = 0.0f;
    for (u32 i = 0; i < 8; i++) all += sums[i * WARP + lane()];
    a.to[column] += all;
}
