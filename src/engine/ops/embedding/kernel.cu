#include "prelude.cuh"

// What a sequence enters the encoder as, a row a warp: rows of three tables in f32, their normalised sum.

struct EmbeddingArguments {
    const float *tokens;
    const float *positions;
    const float *types;
    const float *gain;
    const float *bias;
    act *z;
    act *y;
    float *mean;
    float *rstd;
    const u32 *token;     // by row
    const u32 *type;
    const u32 *sequence;
    const u32 *position;
    u32 rows;
    u32 width;
    float eps;
    u32 unused;
    Dropout dropout;
};

template <u32 CHUNKS>
DEVICE void embed(const EmbeddingArguments &a, u32 row) {
    const u64 at = u64(row) * a.width;
    const u32 position = a.position[row];
    const float *tables[3] = {
        a.tokens + u64(a.token[row]) * a.width,
        a.positions + u64(position) * a.width,
        a.types + u64(a.type[row]) * a.width,
    };
    float z[CHUNKS][EIGHT];
#pragma unroll
    for (u32 c = 0; c < CHUNKS; c++) {
        const u32 first = c * CHUNK + lane() * EIGHT;
        float x[2][EIGHT];
        load_part(tables[0], first, a.width, 0.0f, z[c]);
        load_part(tables[1], first, a.width, 0.0f, x[0]);
        load_part(tables[2], first, a.width, 0.0f, x[1]);
        // What is kept for the backward pass is what is normalised, rounding included.
#pragma unroll
        for (u32 i = 0; i < EIGHT; i++) z[c][i] = to_float(to_act(z[c][i] + x[0][i] + x[1][i]));
        store_part(a.z + at, first, a.width, z[c]);
    }
    normalise_row<CHUNKS>(z, row, a.width, a.eps, a.gain, a.bias, a.mean, a.rstd);
#pragma unroll
    for (u32 c = 0; c < CHUNKS; c++) {
        if (a.dropout.threshold != 0)
            drop(a.dropout, u64(position) * blocks_of(a.width) + 2 * c, a.sequence[row], z[c]);
        store_part(a.y + at, c * CHUNK + lane() * EIGHT, a.width, z[c]);
    }
}

#define EMBEDDING(chunks)                                   \
    KERNEL(embedding_##chunks, EmbeddingArguments, 256) {        \
        const u32 row = blockIdx.x * warps() + warp();      \
        if (row < a.rows) embed<chunks>(a, row);            \
    }
EMBEDDING(1)
EMBEDDING(2)
EMBEDDING(3)
EMBEDDING(4)
EMBEDDING(8)
