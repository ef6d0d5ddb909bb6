#include "prelude.cuh"

// The mean row of a sequence, weighted by a softmax over those of its rows that may be chosen. Rows of no weight are not read.

struct MixtureArguments {
    const act *x;
    const float *logits;
    const u32 *starts;    // of sequences, and the end
    const u32 *allowed;   // by row, 1 where a row may be chosen
    float *weights;
    act *y;
    u32 rows;
    u32 sequences;
    u32 width;
    u32 unused;
};

struct MixtureBackwardArguments {
    const act *dy;
    const act *x;
    const act *y;
    const u32 *starts;
    const float *weights;
    act *dx;
    float *d_logits;
    u32 sequences;
    u32 width;
};

constexpr u32 MIXTURE_WARPS = 16;

// A block a sequence; the one behind the last writes the tail's weights, which are zero.
KERNEL(mixture_forward, MixtureArguments, 512) {
    SHARED(float, room, MIXTURE_WARPS * CHUNK);
    const u32 first = a.starts[blockIdx.x];
    if (blockIdx.x == a.sequences) {
        for (u32 row = first + threadIdx.x; row < a.rows; row += blockDim.x) a.weights[row] = 0.0f;
        return;
    }
    const u32 last = a.starts[blockIdx.x + 1];
    float top = minus_infinity(), sum = 0.0f;
    for (u32 row = first + threadIdx.x; row < last; row += blockDim.x)
        if (a.allowed[row] == 1) top = fmaxf(top, a.logits[row]);
    top = block_max(top, room);
    for (u32 row = first + threadIdx.x; row < last; row += blockDim.x)
        if (a.allowed[row] == 1) sum += expf(a.logits[row] - top);
    sum = block_sum(sum, room);
    for (u32 row = first + threadIdx.x; row < last; row += blockDim.x)
        a.weights[row] = a.allowed[row] == 1 ? expf(a.logits[row] - top) / sum : 0.0f;
    act *y = a.y + u64(blockIdx.x) * a.width;
    for (u32 begin = 0; begin < a.width; begin += CHUNK) {
        // Weights are written, and what was in the room is read.
        __syncthreads();
        float mean[EIGHT] = {};
        for (u32 row = first + warp(); row < last; row += warps()) {
            const float p = a.weights[row];
            if (p == 0.0f) continue;
            float x[EIGHT];
            load_part(a.x + u64(row) * a.width, begin + lane() * EIGHT, a.width, 0.0f, x);
#pragma unroll
            for (u32 i = 0; i < EIGHT; i++) mean[i] = fmaf(p, x[i], mean[i]);
        }
#pragma unroll
        for (u32 i = 0; i < EIGHT; i++) room[warp() * CHUNK + lane() * EIGHT + i] = mean[i];
        __syncthreads();
        if (threadIdx.x >= CHUNK || begin + threadIdx.x >= a.width) continue;
        float all = 0.0f;
        for (u32 w = 0; w < warps(); w++) all += room[w * CHUNK + threadIdx.x];
        y[begin + threadIdx.x] = to_act(all);
    }
}

// What a thread adds to the product of two rows.
DEVICE float products(const act *a, const act *b, u32 width) {
    float sum = 0.0f;
    for (u32 first = lane() * EIGHT; first < width; first += CHUNK) {
        float x[EIGHT], y[EIGHT];
        load_part(a, first, width, 0.0f, x);
        load_part(b, first, width, 0.0f, y);
#pragma unroll
        for (u32 i = 0; i < EIGHT; i++) sum = fmaf(x[i], y[i], sum);
    }
    return sum;
}

// A row of a sequence a warp; some blocks a sequence.
KERNEL(mixture_backward, MixtureBackwardArguments, 256) {
    const u32 sequence = blockIdx.x;
    const u32 last = a.starts[sequence + 1];
    const u64 own = u64(sequence) * a.width;
    const float mean = warp_sum(products(a.dy + own, a.y + own, a.width));
    for (u32 row = a.starts[sequence] + blockIdx.y * warps() + warp(); row < last; row += gridDim.y * warps()) {
        const float p = a.weights[row];
        if (p == 0.0f) continue;
        const u64 at = u64(row) * a.width;
        const float product = warp_sum(products(a.x + at, a.dy + own, a.width));
        if (lane() == 0) a.d_logits[row] += p * (product - mean);
        for (u32 first = lane() * EIGHT; first < a.width; first += CHUNK) {
            float dx[EIGHT], dy[EIGHT];
            load_part(a.dx + at, first, a.width, 0.0f, dx);
            load_part(a.dy + own, first, a.width, 0.0f, dy);
#pragma unroll
            for (u32 i = 0; i < EIGHT; i++) dx[i] = fmaf(p, dy[i], dx[i]);
            store_part(a.dx + at, first, a.width, dx);
        }
    }
}
