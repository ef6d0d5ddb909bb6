// Tiles of rows in shared memory and in the registers of a warp, for the kernels on tensor cores.

#ifdef ACT_BF16

// Rows of a tile in shared memory: keys and values, or queries and gradients of their outputs.
constexpr u32 TILE = 64;
// How much of a tile is taken at a time.
constexpr u32 STEP = 16;

// What depends on the size of heads. Heads of 64, those of nearly all models, have kernels of their own; `D` is else the next of
// 16, 32 and 128, and columns beyond a head's size are zeros.
template <u32 D>
struct Shape {
    static constexpr bool IS_EXACT = D == 64;
    // Times 16 rows that a warp has. Two where registers suffice: what it loads from shared memory is then used twice.
    static constexpr u32 PARTS = D <= 64 ? 2 : 1;
    static constexpr u32 THREADS = ROWS / (16 * PARTS) * WARP;
    // Of a row in shared memory. An odd number of 16 bytes: eight rows of a matrix lie in different banks.
    static constexpr u32 STRIDE = D + 8;
    static constexpr u32 TILE_SIZE = TILE * STRIDE;
};

// Where thread `lane` points for `load_matrices` of 16 rows by 16 columns of a tile, whose rows are columns of the product's
// right side: words 0 and 1 are its first eight columns.
template <u32 D>
DEVICE u32 offset_of_rows() {
    return (lane() / 16 * 8 + lane() % 8) * Shape<D>::STRIDE + lane() / 8 % 2 * 8;
}

// The same for `load_matrices_turned`, where the tile's rows are rows of the product's right side.
template <u32 D>
DEVICE u32 offset_of_columns() {
    return lane() % 16 * Shape<D>::STRIDE + lane() / 16 * 8;
}

// Where a head's columns of a sequence's rows lie in a matrix: in few registers, since addresses would be more.
struct Part {
    u32 stride;
    u32 start;
    u32 column;
};

DEVICE u64 offset(const Part &part, u32 row, u32 column) {
    return u64(part.start + row) * part.stride + part.column + column;
}

// The queries (0), keys (1) or values (2) of a place.
DEVICE Part third(const AttentionArguments &a, const Place &place, u32 which) {
    return {3 * a.heads * a.size, place.start, (which * a.heads + place.head) * a.size};
}

// The place's columns where heads lie side by side once.
DEVICE Part whole(const AttentionArguments &a, const Place &place) {
    return {a.heads * a.size, place.start, place.head * a.size};
}

// Begins to copy a tile: rows from `first` on, of `count`.
template <u32 D>
DEVICE void fetch(bf16 *tile, const bf16 *from, const Part &part, u32 first, u32 count, u32 size) {
    using S = Shape<D>;
    constexpr u32 PIECES = D / EIGHT, AT_ONCE = S::THREADS / PIECES < TILE ? S::THREADS / PIECES : TILE;
    const u32 row = threadIdx.x / PIECES, column = threadIdx.x % PIECES * EIGHT;
    // Small tiles have fewer pieces than a block has threads.
    if (AT_ONCE < S::THREADS / PIECES && row >= TILE) return;
    const bf16 *at = from + offset(part, first + row, column);
    bf16 *to = tile + row * S::STRIDE + column;
#pragma unroll
    for (u32 i = 0; i < TILE; i += AT_ONCE) {
        copy_later(to + i * S::STRIDE, at, first + row + i < count && (S::IS_EXACT || column < size));
        at += u64(AT_ONCE) * part.stride;
    }
}

// Begins to copy a tile of keys and values into its stage, of which there are two.
template <u32 D>
DEVICE void fetch_keys(bf16 *tiles, const AttentionArguments &a, const Place &place, u32 tile) {
    bf16 *stage = tiles + tile % 2 * (2 * Shape<D>::TILE_SIZE);
    fetch<D>(stage, a.qkv, third(a, place, 1), tile * TILE, place.keys, a.size);
    fetch<D>(stage + Shape<D>::TILE_SIZE, a.qkv, third(a, place, 2), tile * TILE, place.keys, a.size);
    copies_end();
}

// Rows from `first` on as the left side of products, straight from memory; zeros for rows from `count` on.
template <u32 D>
DEVICE void load_rows(u32 (&to)[Shape<D>::PARTS][D / 16][4], const bf16 *from, const Part &part, u32 first, u32 count,
                      u32 size) {
#pragma unroll
    for (u32 m = 0; m < Shape<D>::PARTS; m++)
#pragma unroll
        for (u32 k = 0; k < D / 16; k++)
#pragma unroll
            for (u32 i = 0; i < 4; i++) {
                const u32 row = first + 16 * m + lane() / 4 + i % 2 * 8, column = 16 * k + lane() % 4 * 2 + i / 2 * 8;
                const bool is_there = row < count && (Shape<D>::IS_EXACT || column < size);
                to[m][k][i] = is_there ? *reinterpret_cast<const u32 *>(from + offset(part, row, column)) : 0u;
            }
}

// Two products over a head's columns at once, each of rows in registers with 16 rows of a tile: scores, and what their
// gradients are made of.
template <u32 D>
DEVICE void two_products(float (&s)[Shape<D>::PARTS][2][4], float (&d)[Shape<D>::PARTS][2][4],
                         const u32 (&s_rows)[Shape<D>::PARTS][D / 16][4], const u32 (&d_rows)[Shape<D>::PARTS][D / 16][4],
                         const bf16 *s_tile, const bf16 *d_tile) {
#pragma unroll
    for (u32 k = 0; k < D / 16; k++) {
        u32 b[4], c[4];
        load_matrices(s_tile + k * 16, b);
        load_matrices(d_tile + k * 16, c);
#pragma unroll
        for (u32 m = 0; m < Shape<D>::PARTS; m++)
#pragma unroll
            for (u32 n = 0; n < 2; n++) {
                tensor_product(s[m][n], s_rows[m][k], b[2 * n], b[2 * n + 1]);
                tensor_product(d[m][n], d_rows[m][k], c[2 * n], c[2 * n + 1]);
            }
    }
}

// Adds a product over 16 rows of a tile: `factors` with its columns, which `columns` points to.
template <u32 D>
DEVICE void add_columns(float (&sums)[Shape<D>::PARTS][D / 8][4], const u32 (&factors)[Shape<D>::PARTS][4], const bf16 *columns) {
#pragma unroll
    for (u32 n = 0; n < D / 8; n += 2) {
        u32 b[4];
        load_matrices_turned(columns + n * 8, b);
#pragma unroll
        for (u32 m = 0; m < Shape<D>::PARTS; m++) {
            tensor_product(sums[m][n], factors[m], b[0], b[1]);
            tensor_product(sums[m][n + 1], factors[m], b[2], b[3]);
        }
    }
}

struct alignas(8) two_words {
    u32 word[2];
};

// Rows from `first` on, of `count`, from sums as products leave them, each times its row's factor.
template <u32 D>
DEVICE void store_rows(bf16 *to, const Part &part, u32 first, u32 count, u32 size, const float (&sums)[Shape<D>::PARTS][D / 8][4],
                       const float (&factor)[Shape<D>::PARTS][2]) {
    const u32 t = lane() % 4;
#pragma unroll
    for (u32 m = 0; m < Shape<D>::PARTS; m++)
#pragma unroll
        for (u32 half = 0; half < 2; half++) {
            const u32 row = first + 16 * m + lane() / 4 + 8 * half;
            const float by = factor[m][half];
            // Neighbours exchange, so that each has four columns side by side and a row's 32 bytes are written at once.
#pragma unroll
            for (u32 n = 0; n < D / 8; n += 2) {
                const u32 left = pack_bf16(sums[m][n][2 * half] * by, sums[m][n][2 * half + 1] * by);
                const u32 right = pack_bf16(sums[m][n + 1][2 * half] * by, sums[m][n + 1][2 * half + 1] * by);
                const u32 got = shuffle_xor(t % 2 ? left : right, 1);
                two_words words;
                words.word[0] = t % 2 ? got : left;
                words.word[1] = t % 2 ? right : got;
                const u32 column = 8 * n + (t % 2 ? 8 + 2 * (t - 1) : 2 * t);
                if (row < count && (Shape<D>::IS_EXACT || column < size))
                    *reinterpret_cast<two_words *>(to + offset(part, row, column)) = words;
            }
        }
}

// Zeros in the block's rows.
DEVICE void clear_rows(bf16 *to, const Part &part, const Place &place, u32 size) {
    const u32 rows = min(ROWS, place.length - place.first), pieces = size / EIGHT;
    const float zeros[EIGHT] = {};
    for (u32 i = threadIdx.x; i < rows * pieces; i += blockDim.x)
        store_eight(to + offset(part, place.first + i / pieces, i % pieces * EIGHT), zeros);
}

// Sums over the four threads that share rows.
DEVICE float sum_of_four(float value) {
    value += shuffle_xor(value, 1);
    return value + shuffle_xor(value, 2);
}

DEVICE float max_of_four(float value) {
    value = fmaxf(value, shuffle_xor(value, 1));
    return fmaxf(value, shuffle_xor(value, 2));
}

// Draws of 16 bits two at a time: the highest bits of both halves say whether they are at least the threshold.
DEVICE u32 at_least(u32 threshold, u32 draws) {
    const u32 rest = (draws | 0x80008000u) - (threshold & 0x7fffu) * 0x10001u;
    // Where the threshold has no highest bit, that of a draw suffices, or that the rest of it is enough; else it takes both.
    const u32 either = threshold & 0x8000u ? 0u : ~0u;
    return (draws & rest) | (draws & either) | (rest & either);
}

// What the eight draws of a counter decide: bits 12 + w for units 32 w + i of a block of 128, where `i` is the counter's number in
// it, and bits 28 + w for units 32 w + 16 + i. The others are zeros.
DEVICE u32 kept_halves(const Dropout &dropout, u64 counter, u32 index) {
    const four words = philox(dropout.key[0], dropout.key[1], counter, index, dropout.step);
    u32 bits = 0;
#pragma unroll
    for (u32 w = 0; w < 4; w++) bits = bits >> 1 | (at_least(dropout.threshold, words.word[w]) & 0x80008000u);
    return bits;
}

// Those of four counters in a word, digit `j` of either half for counter `j`.
DEVICE u32 join_kept(u32 first, u32 second, u32 third, u32 fourth) {
    return (first >> 12 | second >> 8) | (third >> 4 | fourth);
}

// Which of a query's 128 keys of a block of counters are kept, as a thread of a product has them: digits 0 to 3 of either half
// are for keys 2t, 2t + 1, 2t + 8 and 2t + 9 of each 16, bit `w` of a digit for the 16 keys number `2 w`, or `2 w + 1` in the
// upper half.
DEVICE u32 kept_keys(const Dropout &dropout, u64 block, u32 index) {
    const u64 counter = block * 16 + lane() % 4 * 2;
    return join_kept(kept_halves(dropout, counter, index), kept_halves(dropout, counter + 1, index),
                     kept_halves(dropout, counter + 8, index), kept_halves(dropout, counter + 9, index));
}

// Those of the queries that a thread has of a product, from `first` on, for the 128 keys that begin at `tile` and the next.
template <u32 D>
DEVICE void keep_keys(u32 (&kept)[Shape<D>::PARTS][2], const AttentionArguments &a, const Place &place, u32 first, u32 tile) {
#pragma unroll
    for (u32 m = 0; m < Shape<D>::PARTS; m++)
#pragma unroll
        for (u32 half = 0; half < 2; half++) {
            const u64 block = dropout_row(place, first + 16 * m + lane() / 4 + 8 * half) + tile / 2;
            kept[m][half] = kept_keys(a.dropout, block, place.index);
        }
}

// The bits of such a word for the 16 keys number `group`: digits 1 and 3 at the highest bits of one word's bytes, 0 and 2 at
// those of the other's, in the upper halves for odd groups.
struct Kept {
    u32 odd;
    u32 even;
    u32 upper;
};

DEVICE Kept kept_of(u32 word, u32 group) {
    Kept kept;
    kept.odd = word << (3 - group / 2);
    kept.even = word << (7 - group / 2);
    kept.upper = group % 2 * 2;
    return kept;
}

// All ones where the number of digit `j` is kept, else 0.
DEVICE u32 kept_one(const Kept &kept, u32 j) {
    return signs_of_bytes(j % 2 ? kept.odd : kept.even, 0u, 0x8888u + 0x1111u * (j / 2 + kept.upper));
}

// The same for two numbers of 16 bits, of digits `2 n` and `2 n + 1`.
DEVICE u32 kept_two(const Kept &kept, u32 n) {
    return signs_of_bytes(kept.even, kept.odd, 0xcc88u + 0x1111u * (n + kept.upper));
}

#endif
