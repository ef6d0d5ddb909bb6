#include "prelude.cuh"

// Rows picked, rows put back, and units dropped: eight neighbours a thread, 256 columns a warp at a time.

constexpr u32 WARPS = 8;

struct GatherArguments {
    const act *x;
    const u32 *index;
    act *y;      // already at the first column that is written
    u32 n;
    u32 width;
    u32 stride;  // of rows of `y`
    u32 unused;
};

KERNEL(rows_gather, GatherArguments, 256) {
    const u32 row = blockIdx.x * warps() + warp();
    if (row >= a.n) return;
    const act *x = a.x + u64(a.index[row]) * a.width;
    act *y = a.y + u64(row) * a.stride;
#pragma unroll 4
    for (u32 chunk = 0; chunk < a.width; chunk += CHUNK) {
        float values[EIGHT];
        load_part(x, chunk + lane() * EIGHT, a.width, 0.0f, values);
        store_part(y, chunk + lane() * EIGHT, a.width, values);
    }
}

struct OrderArguments {
    const u32 *index;
    float *descents;
    u32 n;
    u32 unused;
};

// How often an index is below the one before it; one block.
KERNEL(rows_order, OrderArguments, 1024) {
    SHARED(float, room, WARP);
    float descents = 0.0f;
#pragma unroll 4
    for (u32 i = threadIdx.x + 1; i < a.n; i += blockDim.x) descents += a.index[i] < a.index[i - 1] ? 1.0f : 0.0f;
    descents = block_sum(descents, room);
    if (threadIdx.x == 0) *a.descents = descents;
}

struct ScatterArguments {
    const act *dy;  // already at the first column that is read
    const u32 *index;
    const float *descents;
    act *dx;
    u32 n;
    u32 width;
    u32 stride;     // of rows of `dy`
    u32 unused;
};

// Whether none of the first `i` indices is that of `i`. All threads of the warp ask together.
DEVICE bool is_first(const ScatterArguments &a, u32 i, bool ascends) {
    const u32 own = a.index[i];
    if (ascends) return i == 0 || a.index[i - 1] != own;
    for (u32 base = 0; base < i; base += WARP)
        if (ballot(base + lane() < i && a.index[base + lane()] == own)) return false;
    return true;
}

// The end of the run that begins at `i`, in an index that ascends.
DEVICE u32 end_of_run(const ScatterArguments &a, u32 i) {
    const u32 own = a.index[i];
    u32 inside = i, outside = a.n;
    while (inside + 1 < outside) {
        const u32 middle = inside + (outside - inside) / 2;
        if (a.index[middle] == own)
            inside = middle;
        else
            outside = middle;
    }
    return outside;
}

DEVICE void add_row(const ScatterArguments &a, u32 row, u32 first, float (&sums)[EIGHT]) {
    float values[EIGHT];
    load_part(a.dy + u64(row) * a.stride, first, a.width, 0.0f, values);
#pragma unroll
    for (u32 i = 0; i < EIGHT; i++) sums[i] += values[i];
}

// A row of `dx` has one warp: that of the first index which names it. It adds the rows of all others that do, in order, so no
// two warps write one row. Indices of models ascend, and equal ones are neighbours; others are searched for, and a search
// reads all of the index, which for some ten thousand is little. Blocks are (8 indices, 256 columns), of 8 warps.
KERNEL(rows_scatter, ScatterArguments, 256) {
    SHARED(u32, ends, WARPS);
    SHARED(float, room, WARPS *CHUNK);
    const u32 i = blockIdx.x * WARPS + warp();
    const u32 chunk = blockIdx.y * CHUNK, first = chunk + lane() * EIGHT;
    const bool ascends = *a.descents == 0.0f;
    u32 end = 0;
    if (i < a.n && is_first(a, i, ascends)) {
        const u32 own = a.index[i];
        float sums[EIGHT] = {};
        for (u32 base = i; base < a.n; base += WARP) {
            const u32 equal = ballot(base + lane() < a.n && a.index[base + lane()] == own);
            if (ascends && equal == ALL) {
                end = end_of_run(a, i);
                break;
            }
            for (u32 bit = 0; bit < WARP && equal >> bit; bit++)
                if (equal >> bit & 1u) add_row(a, base + bit, first, sums);
            if (ascends) break;
        }
        if (end == 0) {
            act *dx = a.dx + u64(own) * a.width;
            float to[EIGHT];
            load_part(dx, first, a.width, 0.0f, to);
#pragma unroll
            for (u32 e = 0; e < EIGHT; e++) to[e] += sums[e];
            store_part(dx, first, a.width, to);
        }
    }
    // A long run takes all warps of the block, whose sums are added in order. No block has the beginnings of two.
    if (lane() == 0) ends[warp()] = end;
    __syncthreads();
    u32 begin = blockIdx.x * WARPS;
    end = 0;
#pragma unroll
    for (u32 w = 0; w < WARPS; w++) {
        if (ends[w] == 0) continue;
        begin += w;
        end = ends[w];
    }
    if (end == 0) return;
    float sums[EIGHT] = {};
#pragma unroll 4
    for (u32 row = begin + warp(); row < end; row += WARPS) add_row(a, row, first, sums);
    store_eight(room + warp() * CHUNK + lane() * EIGHT, sums);
    __syncthreads();
    const u32 column = chunk + threadIdx.x;
    if (column >= a.width) return;
    act *dx = a.dx + u64(a.index[begin]) * a.width + column;
    float all = to_float(*dx);
#pragma unroll
    for (u32 w = 0; w < WARPS; w++) all += room[w * CHUNK + threadIdx.x];
    *dx = to_act(all);
}

struct DropoutArguments {
    const act *x;
    act *y;
    const u32 *sequence;  // by row
    const u32 *position;
    u32 rows;
    u32 width;
    Dropout dropout;
};

KERNEL(rows_dropout, DropoutArguments, 256) {
    const u32 row = blockIdx.x * warps() + warp();
    if (row >= a.rows) return;
    const bool drops = a.dropout.threshold != 0;
    const u64 at = u64(row) * a.width;
    const u64 block = u64(a.position[row]) * blocks_of(a.width);
    const u32 sequence = a.sequence[row];
    for (u32 chunk = 0; chunk < a.width; chunk += CHUNK) {
        const u32 first = chunk + lane() * EIGHT;
        float values[EIGHT];
        load_part(a.x + at, first, a.width, 0.0f, values);
        if (drops) drop(a.dropout, block + chunk / 128, sequence, values);
        store_part(a.y + at, first, a.width, values);
    }
}
