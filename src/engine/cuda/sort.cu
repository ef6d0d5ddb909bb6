#include "prelude.cuh"

// Entries by key, those of equal keys in their order: a radix sort from the lowest digit on, eight bits a pass, in integers.
// Then rows added up by key: a warp adds the rows of some sorted entries, and keys that reach over several of such chunks are
// joined in order.

struct SortArguments {
    const u32 *keys;
    const u32 *order;     // which entry stands at a place; none in the first pass, where every entry stands at its own
    u32 *keys_to;
    u32 *order_to;
    u32 *counts;          // by digit and block; then where the digit's entries of that block begin among the digit's
    u32 *bases;           // by digit: where its entries begin
    u32 n;
    u32 blocks;
    u32 shift;
    u32 unused;
};

struct RowsArguments {
    const u32 *keys;      // sorted
    const u32 *order;
    const act *rows;
    float *table;
    float *parts;         // by chunk: the row of the key that it begins with, then that of the key that it ends with
    u32 n;
    u32 width;
    u32 entries_of_chunk;
    u32 chunks;
};

constexpr u32 DIGITS = 256;
constexpr u32 SORT_WARPS = 8;
constexpr u32 ITEMS = 4;
constexpr u32 TILE = SORT_WARPS * WARP * ITEMS;

DEVICE u32 place_of(u32 item) { return blockIdx.x * TILE + (warp() * ITEMS + item) * WARP + lane(); }

// This thread's keys, and how many entries with its digit stand before each in the warp's part of the tile. `counts` (warp,
// digit) says afterwards how many entries of each digit the warp has.
DEVICE void rank(const SortArguments &a, u32 *counts, u32 (&keys)[ITEMS], u32 (&ranks)[ITEMS]) {
    for (u32 i = threadIdx.x; i < SORT_WARPS * DIGITS; i += blockDim.x) counts[i] = 0;
    __syncthreads();
#pragma unroll
    for (u32 item = 0; item < ITEMS; item++) {
        const u32 at = place_of(item);
        const bool is_there = at < a.n;
        keys[item] = is_there ? a.keys[at] : 0;
        const u32 digit = keys[item] >> a.shift & (DIGITS - 1);
        u32 equal = ballot(is_there);
#pragma unroll
        for (u32 bit = 0; bit < 8; bit++) {
            const bool is_set = digit >> bit & 1u;
            const u32 set = ballot(is_set);
            equal &= is_set ? set : ~set;
        }
        u32 *count = counts + warp() * DIGITS + digit;
        const u32 before = count_bits(equal & ((1u << lane()) - 1));
        ranks[item] = *count + before;
        warp_wait();
        if (is_there && before == 0) *count += count_bits(equal);
        warp_wait();
    }
    __syncthreads();
}

KERNEL(sort_count, SortArguments, 256) {
    SHARED(u32, counts, SORT_WARPS * DIGITS);
    u32 keys[ITEMS], ranks[ITEMS];
    rank(a, counts, keys, ranks);
    const u32 digit = threadIdx.x;
    u32 all = 0;
#pragma unroll
    for (u32 w = 0; w < SORT_WARPS; w++) all += counts[w * DIGITS + digit];
    a.counts[u64(digit) * a.blocks + blockIdx.x] = all;
}

// One block of 1024 threads.
KERNEL(sort_scan, SortArguments, 1024) {
    SHARED(u32, totals, DIGITS);
    for (u32 digit = warp(); digit < DIGITS; digit += warps()) {
        u32 *counts = a.counts + u64(digit) * a.blocks;
        u32 all = 0;
        for (u32 first = 0; first < a.blocks; first += WARP) {
            const bool is_there = first + lane() < a.blocks;
            const u32 own = is_there ? counts[first + lane()] : 0;
            const u32 sum = warp_scan(own);
            if (is_there) counts[first + lane()] = all + sum - own;
            all += shuffle(sum, WARP - 1);
        }
        if (lane() == 0) totals[digit] = all;
    }
    __syncthreads();
    if (warp() != 0) return;
    u32 all = 0;
    for (u32 first = 0; first < DIGITS; first += WARP) {
        const u32 own = totals[first + lane()];
        const u32 sum = warp_scan(own);
        a.bases[first + lane()] = all + sum - own;
        all += shuffle(sum, WARP - 1);
    }
}

KERNEL(sort_move, SortArguments, 256) {
    SHARED(u32, counts, SORT_WARPS * DIGITS);
    u32 keys[ITEMS], ranks[ITEMS];
    rank(a, counts, keys, ranks);
    // From here on `counts` is where each warp's entries of a digit begin.
    u32 begin = a.bases[threadIdx.x] + a.counts[u64(threadIdx.x) * a.blocks + blockIdx.x];
#pragma unroll
    for (u32 w = 0; w < SORT_WARPS; w++) {
        const u32 own = counts[w * DIGITS + threadIdx.x];
        counts[w * DIGITS + threadIdx.x] = begin;
        begin += own;
    }
    __syncthreads();
#pragma unroll
    for (u32 item = 0; item < ITEMS; item++) {
        const u32 at = place_of(item);
        if (at >= a.n) continue;
        const u32 digit = keys[item] >> a.shift & (DIGITS - 1);
        const u32 to = counts[warp() * DIGITS + digit] + ranks[item];
        a.keys_to[to] = keys[item];
        a.order_to[to] = a.order ? a.order[at] : at;
    }
}

// Rows that are on their way at a time.
constexpr u32 AHEAD = 4;

// A warp takes 256 columns of a chunk.
KERNEL(sort_add_rows, RowsArguments, 256) {
    const u32 column_groups = (a.width + CHUNK - 1) / CHUNK;
    const u32 unit = blockIdx.x * warps() + warp();
    const u32 chunk = unit / column_groups;
    if (chunk >= a.chunks) return;
    const u32 first = unit % column_groups * CHUNK + lane() * EIGHT;
    const u32 begin = chunk * a.entries_of_chunk;
    const u32 end = min(begin + a.entries_of_chunk, a.n);
    float *parts = a.parts + u64(chunk) * 2 * a.width;
    u32 key = a.keys[begin];
    // Whether the key began in a chunk before.
    bool is_further = begin > 0 && a.keys[begin - 1] == key;
    float sum[EIGHT] = {};
    for (u32 at = begin; at < end; at += AHEAD) {
        float x[AHEAD][EIGHT];
#pragma unroll
        for (u32 i = 0; i < AHEAD; i++)
            load_part(a.rows + u64(a.order[min(at + i, end - 1)]) * a.width, first, a.width, 0.0f, x[i]);
#pragma unroll
        for (u32 i = 0; i < AHEAD; i++) {
            if (at + i >= end) continue;
            const u32 own = a.keys[at + i];
            if (own != key) {
                if (is_further) {
                    store_part(parts, first, a.width, sum);
                } else {
                    float old[EIGHT];
                    float *row = a.table + u64(key) * a.width;
                    load_part(row, first, a.width, 0.0f, old);
#pragma unroll
                    for (u32 j = 0; j < EIGHT; j++) sum[j] += old[j];
                    store_part(row, first, a.width, sum);
                }
                is_further = false;
                key = own;
#pragma unroll
                for (u32 j = 0; j < EIGHT; j++) sum[j] = 0.0f;
            }
#pragma unroll
            for (u32 j = 0; j < EIGHT; j++) sum[j] += x[i][j];
        }
    }
    if (is_further) {
        store_part(parts, first, a.width, sum);
    } else if (end < a.n && a.keys[end] == key) {
        store_part(parts + a.width, first, a.width, sum);
    } else {
        float old[EIGHT];
        float *row = a.table + u64(key) * a.width;
        load_part(row, first, a.width, 0.0f, old);
#pragma unroll
        for (u32 j = 0; j < EIGHT; j++) sum[j] += old[j];
        store_part(row, first, a.width, sum);
    }
}

// A block takes 256 columns of the key that a chunk ends with, if it began there and goes on: the chunk's own sum, and those of
// the chunks behind it, each of its 8 warps every eighth.
KERNEL(sort_join_rows, RowsArguments, 256) {
    SHARED(float, room, SORT_WARPS * CHUNK);
    const u32 chunk = blockIdx.x;
    const u32 begin = chunk * a.entries_of_chunk, end = begin + a.entries_of_chunk;
    if (end >= a.n) return;
    const u32 key = a.keys[end - 1];
    if (a.keys[end] != key) return;
    if (begin > 0 && a.keys[begin - 1] == key) return;
    // The first chunk behind that begins with another key.
    u32 low = chunk + 1, high = a.chunks;
    while (low + 1 < high) {
        const u32 middle = (low + high) / 2;
        if (a.keys[u64(middle) * a.entries_of_chunk] == key) low = middle;
        else high = middle;
    }
    const u32 first = blockIdx.y * CHUNK + lane() * EIGHT;
    float sum[EIGHT] = {};
#pragma unroll 4
    for (u32 c = chunk + 1 + warp(); c <= low; c += SORT_WARPS) {
        float x[EIGHT];
        load_part(a.parts + u64(c) * 2 * a.width, first, a.width, 0.0f, x);
#pragma unroll
        for (u32 j = 0; j < EIGHT; j++) sum[j] += x[j];
    }
#pragma unroll
    for (u32 j = 0; j < EIGHT; j++) room[warp() * CHUNK + lane() * EIGHT + j] = sum[j];
    __syncthreads();
    const u32 column = blockIdx.y * CHUNK + threadIdx.x;
    if (column >= a.width) return;
    float all = a.parts[u64(chunk) * 2 * a.width + a.width + column];
#pragma unroll
    for (u32 w = 0; w < SORT_WARPS; w++) all += room[w * CHUNK + threadIdx.x];
    a.table[u64(key) * a.width + column] += all;
}
