#include "prelude.cuh"

// Losses of the few outputs of a head, with their gradients. Blocks write their sums, which are added up in order.

struct RowLossArguments {
    const float *logits;
    const u32 *labels;
    const float *targets;
    float *d;             // the gradient; none where only the loss is asked for
    float *parts;         // by block
    u32 rows;
    u32 rows_of_block;
    u32 classes;
    float scale;
};

struct SequenceLossArguments {
    const float *logits;
    const u32 *starts;    // of sequences, and the end
    const u32 *labels;    // by sequence
    const u32 *ends;      // by sequence: labels of the second output; none for `choice`
    const u32 *allowed;   // by row, 1 where a row may be chosen; none where all may
    float *d;
    float *parts;         // by sequence and output
    u32 rows;
    u32 sequences;
    float scale;
    float weight;
};

constexpr u32 IGNORED = 0xffffffffu;
constexpr u32 RTD_SUMS = 5;

KERNEL(losses_replaced_token, RowLossArguments, 256) {
    SHARED(float, room, WARP);
    float loss = 0.0f, correct = 0.0f, predicted = 0.0f, replaced = 0.0f, both = 0.0f;
    const u32 begin = blockIdx.x * a.rows_of_block;
    const u32 end = min(begin + a.rows_of_block, a.rows);
    for (u32 row = begin + threadIdx.x; row < end; row += blockDim.x) {
        const u32 label = a.labels[row];
        float d = 0.0f;
        if (label != IGNORED) {
            const float x = a.logits[row], y = float(label);
            const float small = expf(-fabsf(x));
            loss += fmaxf(x, 0.0f) - x * y + log1pf(small);
            const bool is_predicted = x > 0.0f, is_replaced = label == 1;
            correct += is_predicted == is_replaced ? 1.0f : 0.0f;
            predicted += is_predicted ? 1.0f : 0.0f;
            replaced += is_replaced ? 1.0f : 0.0f;
            both += is_predicted && is_replaced ? 1.0f : 0.0f;
            // The logistic function less the label, without the difference of two numbers near 1.
            const float p = 1.0f / (1.0f + small), q = small / (1.0f + small);
            d = is_replaced ? (x >= 0.0f ? -q : -p) : (x >= 0.0f ? p : q);
        }
        if (a.d) a.d[row] = a.scale * d;
    }
    const float found[RTD_SUMS] = {loss, correct, predicted, replaced, both};
#pragma unroll
    for (u32 i = 0; i < RTD_SUMS; i++) {
        const float sum = block_sum(found[i], room);
        if (threadIdx.x == 0) a.parts[blockIdx.x * RTD_SUMS + i] = sum;
    }
}

KERNEL(losses_cross_entropy, RowLossArguments, 256) {
    SHARED(float, room, WARP);
    float loss = 0.0f;
    const u32 begin = blockIdx.x * a.rows_of_block;
    const u32 end = min(begin + a.rows_of_block, a.rows);
    for (u32 row = begin + threadIdx.x; row < end; row += blockDim.x) {
        const float *logits = a.logits + u64(row) * a.classes;
        float *d = a.d ? a.d + u64(row) * a.classes : nullptr;
        const u32 label = a.labels[row];
        if (label == IGNORED) {
            if (d)
                for (u32 i = 0; i < a.classes; i++) d[i] = 0.0f;
            continue;
        }
        float top = minus_infinity(), sum = 0.0f;
        for (u32 i = 0; i < a.classes; i++) top = fmaxf(top, logits[i]);
        for (u32 i = 0; i < a.classes; i++) sum += expf(logits[i] - top);
        const float lse = top + logf(sum);
        loss += lse - logits[label];
        if (d)
            for (u32 i = 0; i < a.classes; i++) d[i] = a.scale * (expf(logits[i] - lse) - (i == label ? 1.0f : 0.0f));
    }
    loss = block_sum(loss, room);
    if (threadIdx.x == 0) a.parts[blockIdx.x] = loss;
}

KERNEL(losses_squared_error, RowLossArguments, 256) {
    SHARED(float, room, WARP);
    float loss = 0.0f;
    const u32 begin = blockIdx.x * a.rows_of_block;
    const u32 end = min(begin + a.rows_of_block, a.rows);
    for (u32 row = begin + threadIdx.x; row < end; row += blockDim.x) {
        const float difference = a.logits[row] - a.targets[row];
        loss = fmaf(difference, difference, loss);
        if (a.d) a.d[row] = 2.0f * a.scale * difference;
    }
    loss = block_sum(loss, room);
    if (threadIdx.x == 0) a.parts[blockIdx.x] = loss;
}

// One of `outputs` interleaved outputs over the rows of a sequence, by a block each; the block behind the last sequence writes
// the tail's gradients, which are zero.
KERNEL(losses_sequence, SequenceLossArguments, 128) {
    SHARED(float, room, WARP);
    const u32 side = blockIdx.y, outputs = gridDim.y;
    if (blockIdx.x == a.sequences) {
        if (!a.d) return;
        for (u64 row = a.starts[a.sequences] + threadIdx.x; row < a.rows; row += blockDim.x) a.d[row * outputs + side] = 0.0f;
        return;
    }
    const u32 first = a.starts[blockIdx.x], last = a.starts[blockIdx.x + 1];
    float *part = a.parts + blockIdx.x * outputs + side;
    if (first >= last) {
        if (threadIdx.x == 0) *part = 0.0f;
        return;
    }
    const float *logits = a.logits + side;
    const u32 label = first + (side == 0 ? a.labels : a.ends)[blockIdx.x];
    float top = minus_infinity(), sum = 0.0f;
    for (u32 row = first + threadIdx.x; row < last; row += blockDim.x)
        if (!a.allowed || a.allowed[row] == 1) top = fmaxf(top, logits[u64(row) * outputs]);
    top = block_max(top, room);
    for (u32 row = first + threadIdx.x; row < last; row += blockDim.x)
        if (!a.allowed || a.allowed[row] == 1) sum += expf(logits[u64(row) * outputs] - top);
    const float lse = top + logf(block_sum(sum, room));
    if (threadIdx.x == 0) *part = a.weight * (lse - logits[u64(label) * outputs]);
    if (!a.d) return;
    for (u32 row = first + threadIdx.x; row < last; row += blockDim.x) {
        float share = 0.0f;
        if (!a.allowed || a.allowed[row] == 1)
            share = expf(logits[u64(row) * outputs] - lse) - (row == label ? 1.0f : 0.0f);
        a.d[u64(row) * outputs + side] = a.scale * share;
    }
}
