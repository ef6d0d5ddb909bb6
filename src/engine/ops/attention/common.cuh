#include "prelude.cuh"

// What the kernels of attention share: arguments, and how a block finds its rows.

// As `ops/attention/cuda.rs` has it.
struct AttentionArguments {
    const act *qkv;         // (tokens, 3 H): queries, keys, values
    act *context;           // (tokens, H)
    float *lse;             // (heads, tokens)
    const act *d_context;
    float *delta;           // (heads, tokens): each query's sum of d_context * context, divided by the factor of kept units
    act *d_qkv;
    const u32 *starts;      // by sequence, and the end of the last
    const u32 *keys;        // by sequence
    const u32 *index;       // by sequence: its number in the global batch
    u32 tokens;
    u32 count;              // of sequences
    u32 heads;
    u32 size;               // of a head
    float by;               // what products of queries and keys are multiplied with
    float by_of_two;        // the same for powers of two in the place of exponentials
    Dropout dropout;
};

DEVICE float infinity() { return as_float(0x7f800000u); }

// Rows of a block: queries, or keys in the second half of the backward pass. 128, as many as share counters of dropout.
constexpr u32 ROWS = 128;

// One head of one sequence, and the rows of it that a block takes. What lies behind the last sequence counts as one more, whose
// number is `count`, without keys.
struct Place {
    u32 sequence;
    u32 start;   // its first row
    u32 length;
    u32 keys;
    u32 first;   // the block's first row, counted from `start`
    u32 head;
    u32 index;
};

// The last of `n` candidates for which `holds`, which is true up to there; the warp tests 32 at a time.
template <typename Holds>
DEVICE u32 find_last(u32 n, Holds holds) {
    u32 low = 0;
    while (n > 1) {
        const u32 step = (n + WARP - 1) / WARP, own = lane() * step;
        const u32 last = count_bits(ballot(own < n && holds(low + own))) - 1;
        low += last * step;
        n = min(step, n - last * step);
    }
    return low;
}

// Of sequence `i`; the rows of a block aside.
DEVICE Place place_of(const AttentionArguments &a, u32 i, u32 head) {
    const bool is_tail = i == a.count;
    Place place;
    place.sequence = i;
    place.start = a.starts[i];
    place.length = (is_tail ? a.tokens : a.starts[i + 1]) - place.start;
    place.keys = is_tail ? 0 : a.keys[i];
    place.index = is_tail ? 0 : a.index[i];
    place.head = head;
    place.first = 0;
    return place;
}

// The place of a block. Blocks are numbered before anybody knows the lengths: sequence `i`, which begins at row `s`, has those
// from `s / ROWS + i` on, never fewer than it needs, so that a search among the starts finds it. Some are left over: false.
DEVICE bool find_place(const AttentionArguments &a, Place &place) {
    const u32 head = blockIdx.x % a.heads, slot = blockIdx.x / a.heads;
    const u32 i = find_last(a.count + 1, [&](u32 i) { return a.starts[i] / ROWS + i <= slot; });
    place = place_of(a, i, head);
    place.first = (slot - (place.start / ROWS + i)) * ROWS;
    return place.first < place.length;
}

// The block of dropout's counters where the probabilities of a query begin: rows are numbered head by head.
DEVICE u64 dropout_row(const Place &place, u32 query) {
    return (u64(place.head) * place.length + query) * ((place.length + 127) / 128);
}
