// Attention on tensor cores, backward, in two kernels that both find the scores again: gradients of queries by blocks of 128
// queries, which also leave `delta`, then gradients of keys and values by blocks of 128 keys. Nothing is added across blocks.

#ifdef ACT_BF16

constexpr float LOG2_E = 1.4426950408889634f;

// The gradient of a score, but for factors that all share: `p (kept d - delta)`.
DEVICE float score_gradient(float p, float kept, float d, float delta) { return fmaf(kept, d, -(p * delta)); }

template <u32 D>
DEVICE void differentiate_queries(const AttentionArguments &a) {
    using S = Shape<D>;
    constexpr u32 PARTS = S::PARTS;
    SHARED_REST(bf16, tiles);  // by stage: keys, values
    Place place;
    if (!find_place(a, place)) return;
    if (place.keys == 0) {
        clear_rows(a.d_qkv, third(a, place, 0), place, a.size);
        return;
    }
    const u32 g = lane() / 4, t = lane() % 4;
    const u32 first = place.first + warp() * 16 * PARTS;
    const bool is_idle = first >= place.length;
    const bool drops = a.dropout.threshold != 0;

    fetch_keys<D>(tiles, a, place, 0);
    u32 q[PARTS][D / 16][4], d_out[PARTS][D / 16][4];
    float delta[PARTS][2] = {}, lse[PARTS][2];
    load_rows<D>(q, a.context, whole(a, place), first, place.length, a.size);
    load_rows<D>(d_out, a.d_context, whole(a, place), first, place.length, a.size);
#pragma unroll
    for (u32 m = 0; m < PARTS; m++)
#pragma unroll
        for (u32 half = 0; half < 2; half++) {
#pragma unroll
            for (u32 k = 0; k < D / 16; k++)
#pragma unroll
                for (u32 i = half; i < 4; i += 2) {
                    const u32 x = q[m][k][i], y = d_out[m][k][i];
                    delta[m][half] = fmaf(as_float(x << 16), as_float(y << 16), delta[m][half]);
                    delta[m][half] = fmaf(as_float(x & 0xffff0000u), as_float(y & 0xffff0000u), delta[m][half]);
                }
            delta[m][half] = sum_of_four(delta[m][half]) / a.dropout.scale;
            const u32 row = first + 16 * m + g + 8 * half;
            const u64 number = u64(place.head) * a.tokens + place.start + row;
            // Rows that are not there have no probabilities.
            lse[m][half] = row < place.length ? a.lse[number] * LOG2_E : infinity();
            if (t == 0 && row < place.length) a.delta[number] = delta[m][half];
        }
    load_rows<D>(q, a.qkv, third(a, place, 0), first, place.length, a.size);
    float dq[PARTS][D / 8][4] = {};
    u32 kept[PARTS][2];
#pragma unroll
    for (u32 m = 0; m < PARTS; m++) kept[m][0] = kept[m][1] = ~0u;
    const u32 n_tiles = (place.keys + TILE - 1) / TILE;
    for (u32 tile = 0; tile < n_tiles; tile++) {
        const bf16 *stage = tiles + tile % 2 * (2 * S::TILE_SIZE);
        copies_wait<0>();
        __syncthreads();
        if (tile + 1 < n_tiles) fetch_keys<D>(tiles, a, place, tile + 1);
        if (is_idle) continue;
        if (drops && tile % 2 == 0) keep_keys<D>(kept, a, place, first, tile);
        const bf16 *key_rows = stage + offset_of_rows<D>(), *value_rows = key_rows + S::TILE_SIZE;
        const bf16 *key_columns = stage + offset_of_columns<D>();
#pragma unroll 1
        for (u32 step = 0; step < TILE; step += STEP) {
            float s[PARTS][2][4] = {}, d[PARTS][2][4] = {};
            two_products<D>(s, d, q, d_out, key_rows + step * S::STRIDE, value_rows + step * S::STRIDE);
            const u32 key = tile * TILE + step;
            if (key + STEP > place.keys) {
#pragma unroll
                for (u32 n = 0; n < 2; n++)
#pragma unroll
                    for (u32 i = 0; i < 4; i++)
                        if (key + 8 * n + 2 * t + i % 2 >= place.keys)
#pragma unroll
                            for (u32 m = 0; m < PARTS; m++) s[m][n][i] = -infinity();
            }
            u32 ds[PARTS][4];
#pragma unroll
            for (u32 m = 0; m < PARTS; m++)
#pragma unroll
                for (u32 i = 0; i < 4; i++) {
                    const u32 n = i / 2, half = i % 2;
                    const Kept own = kept_of(kept[m][half], tile % 2 * 4 + step / 16);
                    float made[2];
#pragma unroll
                    for (u32 j = 0; j < 2; j++) {
                        const float p = exp2_approx(fmaf(s[m][n][2 * half + j], a.by_of_two, -lse[m][half]));
                        const float left = as_float(as_bits(p) & kept_one(own, 2 * n + j));
                        made[j] = score_gradient(p, left, d[m][n][2 * half + j], delta[m][half]);
                    }
                    ds[m][i] = pack_bf16(made[0], made[1]);
                }
            add_columns<D>(dq, ds, key_columns + step * S::STRIDE);
        }
    }
    if (is_idle) return;
    float factor[PARTS][2];
#pragma unroll
    for (u32 m = 0; m < PARTS; m++) factor[m][0] = factor[m][1] = a.by * a.dropout.scale;
    store_rows<D>(a.d_qkv, third(a, place, 0), forget(first), place.length, a.size, dq, factor);
}

// Which of 128 keys each of 64 queries keeps, made by the block's threads together: word `(group * 16 + i) * 4 + t` has a digit in
// either half for queries 2t, 2t + 1, 2t + 8, 2t + 9 of a group of 16, bit `w` of it for key `32 w + i`, or `32 w + 16 + i`.
template <u32 THREADS>
DEVICE void keep_queries(u32 *words, const AttentionArguments &a, const Place &place, u32 first_query) {
#pragma unroll 1
    for (u32 i = threadIdx.x; i < TILE * 4; i += THREADS) {
        const u32 query = first_query + i / 64 * 16 + i % 4 * 2;
        // Keys of the rounds are made here, and not kept in registers, which are scarce.
        Dropout dropout = a.dropout;
        dropout.key[0] = forget(dropout.key[0]);
        dropout.key[1] = forget(dropout.key[1]);
        u32 word = 0;
#pragma unroll
        for (u32 j = 0; j < 4; j++) {
            const u64 block = dropout_row(place, query + j % 2 + j / 2 * 8) + place.first / 128;
            word = word >> 4 | kept_halves(dropout, block * 16 + i / 4 % 16, place.index);
        }
        words[i] = word;
    }
}

template <u32 D>
DEVICE void differentiate_keys(const AttentionArguments &a) {
    using S = Shape<D>;
    constexpr u32 PARTS = S::PARTS;
    SHARED(float, rows, 2 * 2 * TILE);  // by stage: logarithms, deltas
    SHARED(u32, words, 2 * TILE * 4);   // by stage: what is kept
    SHARED(Place, own, 1);              // not in registers, which are scarce
    SHARED_REST(bf16, tiles);           // by stage: queries, gradients of their outputs
    {
        Place place;
        if (!find_place(a, place)) return;
        if (place.first >= place.keys) {
            // Rows that are no keys, or of no sequence.
            clear_rows(a.d_qkv, third(a, place, 1), place, a.size);
            clear_rows(a.d_qkv, third(a, place, 2), place, a.size);
            return;
        }
        if (threadIdx.x == 0) *own = place;
        __syncthreads();
    }
    const bool drops = a.dropout.threshold != 0;
    auto first = [&] { return own->first + warp() * 16 * PARTS; };
    auto begin = [&](u32 tile) {
        const u32 from = tile * TILE;
        bf16 *stage = tiles + tile % 2 * (2 * S::TILE_SIZE);
        fetch<D>(stage, a.qkv, third(a, *own, 0), from, own->length, a.size);
        fetch<D>(stage + S::TILE_SIZE, a.d_context, whole(a, *own), from, own->length, a.size);
        copies_end();
        if (threadIdx.x < 2 * TILE) {
            const u32 row = from + threadIdx.x % TILE;
            const bool is_lse = threadIdx.x < TILE, is_there = row < own->length;
            float value = is_lse ? infinity() : 0.0f;
            const u64 number = u64(own->head) * a.tokens + own->start + row;
            if (is_there) value = is_lse ? a.lse[number] * LOG2_E : a.delta[number];
            rows[tile % 2 * (2 * TILE) + threadIdx.x] = value;
        }
        if (drops) keep_queries<S::THREADS>(words + tile % 2 * (TILE * 4), a, *own, from);
    };
    begin(0);
    u32 k_rows[PARTS][D / 16][4], v_rows[PARTS][D / 16][4];
    load_rows<D>(k_rows, a.qkv, third(a, *own, 1), first(), own->keys, a.size);
    load_rows<D>(v_rows, a.qkv, third(a, *own, 2), first(), own->keys, a.size);
    float dk[PARTS][D / 8][4] = {}, dv[PARTS][D / 8][4] = {};
    for (u32 tile = 0; tile == 0 || tile * TILE < own->length; tile++) {
        const bf16 *stage = tiles + tile % 2 * (2 * S::TILE_SIZE);
        const float *lse = rows + tile % 2 * (2 * TILE), *delta = lse + TILE;
        const u32 *kept = words + tile % 2 * (TILE * 4);
        copies_wait<0>();
        __syncthreads();
        if ((tile + 1) * TILE < own->length) begin(tile + 1);
        if (first() >= own->keys) continue;
        const bf16 *query_rows = stage + offset_of_rows<D>(), *out_rows = query_rows + S::TILE_SIZE;
        const bf16 *query_columns = stage + offset_of_columns<D>(), *out_columns = query_columns + S::TILE_SIZE;
        const u32 end = min(TILE, own->length - tile * TILE);
#pragma unroll 1
        for (u32 step = 0; step < end; step += STEP) {
            float s[PARTS][2][4] = {}, d[PARTS][2][4] = {};
            two_products<D>(s, d, k_rows, v_rows, query_rows + step * S::STRIDE, out_rows + step * S::STRIDE);
            const u32 g = lane() / 4, t = lane() % 4;
            u32 word[2] = {~0u, ~0u};
            if (drops) {
                word[0] = kept[(step + g) * 4 + t];
                word[1] = kept[(step + g + 8) * 4 + t];
            }
            u32 p_rows[PARTS][4], ds[PARTS][4];
#pragma unroll
            for (u32 m = 0; m < PARTS; m++)
#pragma unroll
                for (u32 i = 0; i < 4; i++) {
                    const u32 n = i / 2, half = i % 2;
                    const Kept bits = kept_of(word[half], warp() * PARTS + m);
                    float p[2], made[2];
#pragma unroll
                    for (u32 j = 0; j < 2; j++) {
                        const u32 query = step + 8 * n + 2 * t + j;
                        const float whole = exp2_approx(fmaf(s[m][n][2 * half + j], a.by_of_two, -lse[query]));
                        p[j] = as_float(as_bits(whole) & kept_one(bits, 2 * n + j));
                        made[j] = score_gradient(whole, p[j], d[m][n][2 * half + j], delta[query]);
                    }
                    p_rows[m][i] = pack_bf16(p[0], p[1]);
                    ds[m][i] = pack_bf16(made[0], made[1]);
                }
#pragma unroll
            for (u32 n = 0; n < D / 8; n += 2) {
                u32 b[4], c[4];
                load_matrices_turned(out_columns + step * S::STRIDE + n * 8, b);
                load_matrices_turned(query_columns + step * S::STRIDE + n * 8, c);
#pragma unroll
                for (u32 m = 0; m < PARTS; m++) {
                    tensor_product(dv[m][n], p_rows[m], b[0], b[1]);
                    tensor_product(dv[m][n + 1], p_rows[m], b[2], b[3]);
                    tensor_product(dk[m][n], ds[m], c[0], c[1]);
                    tensor_product(dk[m][n + 1], ds[m], c[2], c[3]);
                }
            }
        }
    }
    const u32 from = first();
    if (from >= own->length) return;
    if (from + 16 * PARTS > own->keys) {
        // Rows behind the keys had zeros for keys, and probabilities that mean nothing.
#pragma unroll
        for (u32 m = 0; m < PARTS; m++)
#pragma unroll
            for (u32 i = 0; i < 4; i++)
                if (from + 16 * m + lane() / 4 + i / 2 * 8 >= own->keys)
#pragma unroll
                    for (u32 n = 0; n < D / 8; n++) dk[m][n][i] = dv[m][n][i] = 0.0f;
    }
    float key_factor[PARTS][2], value_factor[PARTS][2];
#pragma unroll
    for (u32 m = 0; m < PARTS; m++)
#pragma unroll
        for (u32 half = 0; half < 2; half++) {
            key_factor[m][half] = a.by * a.dropout.scale;
            value_factor[m][half] = a.dropout.scale;
        }
    store_rows<D>(a.d_qkv, third(a, *own, 1), from, own->length, a.size, dk, key_factor);
    store_rows<D>(a.d_qkv, third(a, *own, 2), from, own->length, a.size, dv, value_factor);
}

KERNEL(attention_d_queries_16, AttentionArguments, Shape<16>::THREADS) { differentiate_queries<16>(a); }
KERNEL(attention_d_queries_32, AttentionArguments, Shape<32>::THREADS) { differentiate_queries<32>(a); }
KERNEL(attention_d_queries_64, AttentionArguments, Shape<64>::THREADS) { differentiate_queries<64>(a); }
KERNEL(attention_d_queries_128, AttentionArguments, Shape<128>::THREADS) { differentiate_queries<128>(a); }
KERNEL(attention_d_keys_16, AttentionArguments, Shape<16>::THREADS) { differentiate_keys<16>(a); }
KERNEL(attention_d_keys_32, AttentionArguments, Shape<32>::THREADS) { differentiate_keys<32>(a); }
KERNEL(attention_d_keys_64, AttentionArguments, Shape<64>::THREADS) { differentiate_keys<64>(a); }
KERNEL(attention_d_keys_128, AttentionArguments, Shape<128>::THREADS) { differentiate_keys<128>(a); }

#endif
