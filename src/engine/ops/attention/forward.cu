// Attention on tensor cores, forward: a block takes 128 queries of a head, its warps 16 or 32 each, and goes over the keys in
// tiles of 64. Scores stay in registers; a row's largest score and sum of exponentials are carried along (Milakov & Gimelshein
// 2018, Dao 2023).

#ifdef ACT_BF16

// How far, as a power of two, exponentials may grow above 1.
constexpr float SLACK = 8.0f;

template <u32 D>
DEVICE void attend(const AttentionArguments &a) {
    using S = Shape<D>;
    constexpr u32 PARTS = S::PARTS;
    SHARED_REST(bf16, tiles);  // by stage: keys, values
    Place place;
    if (!find_place(a, place)) return;
    if (place.keys == 0) {
        clear_rows(a.context, whole(a, place), place, a.size);
        const u32 row = place.first + threadIdx.x;
        if (threadIdx.x < ROWS && row < place.length) a.lse[u64(place.head) * a.tokens + place.start + row] = 0.0f;
        return;
    }
    const u32 g = lane() / 4, t = lane() % 4;
    const u32 first = place.first + warp() * 16 * PARTS;
    // Such a warp only helps with copies.
    const bool is_idle = first >= place.length;
    const bool drops = a.dropout.threshold != 0;

    fetch_keys<D>(tiles, a, place, 0);
    u32 q[PARTS][D / 16][4];
    load_rows<D>(q, a.qkv, third(a, place, 0), first, place.length, a.size);
    float out[PARTS][D / 8][4] = {}, top[PARTS][2], sum[PARTS][2];
    u32 kept[PARTS][2];
#pragma unroll
    for (u32 m = 0; m < PARTS; m++)
#pragma unroll
        for (u32 half = 0; half < 2; half++) {
            top[m][half] = -infinity();
            sum[m][half] = 0.0f;
            kept[m][half] = ~0u;
        }
    const u32 n_tiles = (place.keys + TILE - 1) / TILE;
    for (u32 tile = 0; tile < n_tiles; tile++) {
        const bf16 *stage = tiles + tile % 2 * (2 * S::TILE_SIZE);
        copies_wait<0>();
        __syncthreads();
        if (tile + 1 < n_tiles) fetch_keys<D>(tiles, a, place, tile + 1);
        if (is_idle) continue;
        if (drops && tile % 2 == 0) keep_keys<D>(kept, a, place, first, tile);
        float s[PARTS][TILE / 8][4] = {};
        const bf16 *key_rows = stage + offset_of_rows<D>();
#pragma unroll
        for (u32 k = 0; k < D / 16; k++)
#pragma unroll
            for (u32 n = 0; n < TILE / 8; n += 2) {
                u32 b[4];
                load_matrices(key_rows + n * 8 * S::STRIDE + k * 16, b);
#pragma unroll
                for (u32 m = 0; m < PARTS; m++) {
                    tensor_product(s[m][n], q[m][k], b[0], b[1]);
                    tensor_product(s[m][n + 1], q[m][k], b[2], b[3]);
                }
            }
        if ((tile + 1) * TILE > place.keys) {
#pragma unroll
            for (u32 n = 0; n < TILE / 8; n++)
#pragma unroll
                for (u32 i = 0; i < 4; i++)
                    if (tile * TILE + 8 * n + 2 * t + i % 2 >= place.keys)
#pragma unroll
                        for (u32 m = 0; m < PARTS; m++) s[m][n][i] = -infinity();
        }
        // What a row's exponentials are taken against follows its largest score only when that has grown by much: sums and
        // outputs are then rarely to be shrunk, and products of numbers up to 2^SLACK are as exact.
        float shrink[PARTS][2];
        bool grows = false;
#pragma unroll
        for (u32 m = 0; m < PARTS; m++)
#pragma unroll
            for (u32 half = 0; half < 2; half++) {
                float most = top[m][half];
#pragma unroll
                for (u32 n = 0; n < TILE / 8; n++) most = fmaxf(most, fmaxf(s[m][n][2 * half], s[m][n][2 * half + 1]));
                most = max_of_four(most);
                // The first tile has a key at least, so that `most` is finite.
                const bool is_much = (most - top[m][half]) * a.by_of_two > SLACK;
                shrink[m][half] = is_much ? exp2_approx((top[m][half] - most) * a.by_of_two) : 1.0f;
                top[m][half] = is_much ? most : top[m][half];
                grows = grows || is_much;
            }
        if (ballot(grows) != 0) {
#pragma unroll
            for (u32 m = 0; m < PARTS; m++)
#pragma unroll
                for (u32 half = 0; half < 2; half++) {
                    sum[m][half] *= shrink[m][half];
#pragma unroll
                    for (u32 n = 0; n < D / 8; n++) {
                        out[m][n][2 * half] *= shrink[m][half];
                        out[m][n][2 * half + 1] *= shrink[m][half];
                    }
                }
        }
#pragma unroll
        for (u32 m = 0; m < PARTS; m++)
#pragma unroll
            for (u32 half = 0; half < 2; half++) {
                const float less = top[m][half] * a.by_of_two;
#pragma unroll
                for (u32 n = 0; n < TILE / 8; n++)
#pragma unroll
                    for (u32 i = 2 * half; i < 2 * half + 2; i++) {
                        s[m][n][i] = exp2_approx(fmaf(s[m][n][i], a.by_of_two, -less));
                        sum[m][half] += s[m][n][i];
                    }
            }
        const bf16 *value_columns = stage + S::TILE_SIZE + offset_of_columns<D>();
#pragma unroll
        for (u32 k = 0; k < TILE / 16; k++) {
            u32 p[PARTS][4];
#pragma unroll
            for (u32 m = 0; m < PARTS; m++)
#pragma unroll
                for (u32 i = 0; i < 4; i++) {
                    const float *two = &s[m][2 * k + i / 2][i % 2 * 2];
                    const Kept own = kept_of(kept[m][i % 2], tile % 2 * 4 + k);
                    p[m][i] = pack_bf16(two[0], two[1]) & kept_two(own, i / 2);
                }
            add_columns<D>(out, p, value_columns + k * 16 * S::STRIDE);
        }
    }
    if (is_idle) return;
    const u32 from = forget(first);
#pragma unroll
    for (u32 m = 0; m < PARTS; m++)
#pragma unroll
        for (u32 half = 0; half < 2; half++) {
            const float all = sum_of_four(sum[m][half]);
            const u32 row = from + 16 * m + g + 8 * half;
            const u64 number = u64(place.head) * a.tokens + place.start + row;
            if (t == 0 && row < place.length) a.lse[number] = fmaf(top[m][half], a.by, logf(all));
            sum[m][half] = a.dropout.scale / all;
        }
    store_rows<D>(a.context, whole(a, place), from, place.length, a.size, out, sum);
}

KERNEL(attention_forward_16, AttentionArguments, Shape<16>::THREADS) { attend<16>(a); }
KERNEL(attention_forward_32, AttentionArguments, Shape<32>::THREADS) { attend<32>(a); }
KERNEL(attention_forward_64, AttentionArguments, Shape<64>::THREADS) { attend<64>(a); }
KERNEL(attention_forward_128, AttentionArguments, Shape<128>::THREADS) { attend<128>(a); }

#endif
