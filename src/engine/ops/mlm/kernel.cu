#include "prelude.cuh"

// The generator's loss, its gradient and its samples, a slot a block: three passes over a row of logits that mostly lies in the
// cache, none of them kept. The row's stride is a multiple of eight.

struct SlotsArguments {
    float *logits;        // in: bias included; out: the gradient in the products' type, from the beginning of each row on
    const u32 *targets;   // by slot
    const u32 *sequence;
    const u32 *number;    // among the sequence's slots
    u32 *samples;         // none where nothing is drawn
    float *found;         // by slot: loss, whether the best entry is the target, whether the sample is
    u32 entries;
    u32 stride;
    float inverse;        // of the temperature
    float penalty;        // what the target's score has taken away
    float scale;
    u32 has_gradient;
    u32 key[2];
    u32 step;
    u32 unused;
};

struct ColumnArguments {
    const act *gradient;
    float *parts;         // by block: sums of its rows
    u32 slots;
    u32 rows_of_block;
    u32 stride;           // of `gradient`
    u32 width;            // of `parts`
};

struct FoundArguments {
    const float *found;
    float *sums;
    u32 slots;
    u32 unused;
};

constexpr u32 IGNORED = 0xffffffffu;
constexpr u32 MLM_SUMS = 3;
// Random numbers of 32 bits: entries that share 16 counters, and their lanes.
constexpr u32 SHARING = 64;
constexpr u32 LANES = 16;

struct entry {
    float score;
    u32 at;
};

// The larger of two, the first of equals.
DEVICE entry better(entry a, entry b) { return b.score > a.score || (b.score == a.score && b.at < a.at) ? b : a; }

DEVICE entry warp_best(entry own) {
#pragma unroll
    for (u32 distance = 16; distance > 0; distance /= 2) {
        entry other;
        other.score = shuffle_xor(own.score, distance);
        other.at = shuffle_xor(own.at, distance);
        own = better(own, other);
    }
    return own;
}

DEVICE entry block_best(entry own, entry *room) {
    own = warp_best(own);
    __syncthreads();
    if (lane() == 0) room[warp()] = own;
    __syncthreads();
    return warp_best(room[lane() < warps() ? lane() : 0]);
}

KERNEL(mlm_slots, SlotsArguments, 512) {
    SHARED(float, room, WARP);
    SHARED(entry, best_room, WARP);
    const u32 slot = blockIdx.x;
    const u32 target = a.targets[slot];
    float *row = a.logits + u64(slot) * a.stride;
    act *gradient = reinterpret_cast<act *>(row);
    float *found = a.found + u64(slot) * MLM_SUMS;
    if (target == IGNORED) {
        const float nothing[EIGHT] = {};
        if (a.has_gradient)
            for (u32 first = threadIdx.x * EIGHT; first < a.stride; first += blockDim.x * EIGHT) store_eight(gradient + first, nothing);
        if (threadIdx.x < MLM_SUMS) found[threadIdx.x] = 0.0f;
        if (threadIdx.x == 0 && a.samples) a.samples[slot] = 0;
        return;
    }

    // The best entry.
    entry best = {minus_infinity(), 0};
#pragma unroll 2
    for (u32 first = threadIdx.x * EIGHT; first < a.entries; first += blockDim.x * EIGHT) {
        float v[EIGHT];
        load_eight(row + first, v);
#pragma unroll
        for (u32 i = 0; i < EIGHT; i++)
            if (first + i < a.entries && v[i] > best.score) best = entry{v[i], first + i};
    }
    best = block_best(best, best_room);
    const float top = best.score;

    // The sum of exponentials, and the entry with the largest logit / T + g, g = -ln(-ln(u + 1e-9) + 1e-9): exp of that is
    // exp(logit / T) / (-ln(u + 1e-9) + 1e-9), which needs one logarithm instead of two.
    entry drawn = {-1.0f, 0};
    float sum = 0.0f;
    const u32 sequence = a.sequence[slot];
    const u32 blocks = (a.entries + SHARING - 1) / SHARING;
    const u64 first_block = u64(a.number[slot]) * blocks;
    for (u32 block = threadIdx.x / LANES; block < blocks; block += blockDim.x / LANES) {
        const u32 first = block * SHARING + threadIdx.x % LANES;
        float v[4];
#pragma unroll
        for (u32 i = 0; i < 4; i++) v[i] = first + LANES * i < a.entries ? row[first + LANES * i] - top : minus_infinity();
        four words;
        if (a.samples) words = philox(a.key[0], a.key[1], (first_block + block) * LANES + threadIdx.x % LANES, sequence, a.step);
#pragma unroll
        for (u32 i = 0; i < 4; i++) {
            const u32 at = first + LANES * i;
            const float e = expf(v[i]);
            sum += e;
            if (!a.samples || at >= a.entries) continue;
            const float u = float(words.word[i] >> 8) * (1.0f / 16777216.0f);
            const float waiting = 1e-9f - logf(u + 1e-9f);
            float score = e;
            if (at == target) score = expf(v[i] * a.inverse - a.penalty);
            else if (a.inverse != 1.0f) score = expf(v[i] * a.inverse);
            score /= waiting;
            if (score > drawn.score) drawn = entry{score, at};
        }
    }
    const float lse = top + logf(block_sum(sum, room));
    if (a.samples) {
        drawn = block_best(drawn, best_room);
        if (threadIdx.x == 0) a.samples[slot] = drawn.at;
    }
    if (threadIdx.x == 0) {
        found[0] = lse - row[target];
        found[1] = best.at == target ? 1.0f : 0.0f;
        found[2] = a.samples && drawn.at == target ? 1.0f : 0.0f;
    }
    if (!a.has_gradient) return;

    for (u32 begin = 0; begin < a.stride; begin += blockDim.x * EIGHT) {
        const u32 first = begin + threadIdx.x * EIGHT;
        float v[EIGHT];
        if (first < a.stride) load_eight(row + first, v);
        // A gradient lies no further than its logit: all up to here are read, those behind are not written yet.
        __syncthreads();
        if (first >= a.stride) continue;
#pragma unroll
        for (u32 i = 0; i < EIGHT; i++) {
            v[i] = first + i < a.entries ? a.scale * expf(v[i] - lse) : 0.0f;
            if (first + i == target) v[i] -= a.scale;
        }
        store_eight(gradient + first, v);
    }
}

// Sums over some slots: eight columns a thread.
KERNEL(mlm_columns, ColumnArguments, 256) {
    const u32 first = (blockIdx.x * blockDim.x + threadIdx.x) * EIGHT;
    if (first >= a.width) return;
    const u32 begin = blockIdx.y * a.rows_of_block;
    const u32 end = min(begin + a.rows_of_block, a.slots);
    float sum[EIGHT] = {};
#pragma unroll 4
    for (u32 slot = begin; slot < end; slot++) {
        float x[EIGHT];
        load_eight(a.gradient + u64(slot) * a.stride + first, x);
#pragma unroll
        for (u32 i = 0; i < EIGHT; i++) sum[i] += x[i];
    }
    store_eight(a.parts + u64(blockIdx.y) * a.width + first, sum);
}

// One block: what was found, summed over slots in one order.
KERNEL(mlm_found, FoundArguments, 1024) {
    SHARED(float, room, WARP);
    float sums[MLM_SUMS] = {};
    for (u32 slot = threadIdx.x; slot < a.slots; slot += blockDim.x)
#pragma unroll
        for (u32 i = 0; i < MLM_SUMS; i++) sums[i] += a.found[u64(slot) * MLM_SUMS + i];
#pragma unroll
    for (u32 i = 0; i < MLM_SUMS; i++) {
        const float sum = block_sum(sums[i], room);
        if (threadIdx.x == 0) a.sums[i] += sum;
    }
}
