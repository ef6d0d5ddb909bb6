// Tiles of rows in shared memory and in the registers of a warp, for the kernels on tensor cores.

#ifdef ACT_BF16

// Rows of a tile in shared memory: keys and values, or queries and gradients of their outputs.
constexpr u32 TILE = 64;
// How much of a tile is taken at a time.
constexpr u32 STEP = 16;

// What depends on the size of heads; `D` is the next of 16, 32, 64 and 128, and columns beyond a head's size are zeros.
template <u32 D>
struct Shape {
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

// Begins to copy a tile: rows from `first` on, of `count`, of a matrix whose rows are `stride` apart.
template <u32 D>
DEVICE void fetch(bf16 *tile, const bf16 *from, u32 stride, u32 first, u32 count, u32 size) {
    using S = Shape<D>;
    constexpr u32 PIECES = D / EIGHT;
#pragma unroll
    for (u32 i = 0; i < TILE * PIECES; i += S::THREADS) {
        const u32 row = (i + threadIdx.x) / PIECES, column = (i + threadIdx.x) % PIECES * EIGHT;
        // Few threads have something to do where a tile is smaller than a block of threads has places.
        if (TILE * PIECES % S::THREADS != 0 && row >= TILE) break;
        const bool is_there = first + row < count && column < size;
        const bf16 *at = is_there ? from + u64(first + row) * stride + column : from;
        copy_later(tile + row * S::STRIDE + column, at, is_there);
    }
}

// Rows from `first` on as the left side of products, straight from memory; zeros for rows from `count` on.
template <u32 D>
DEVICE void load_rows(u32 (&to)[Shape<D>::PARTS][D / 16][4], const bf16 *from, u32 stride, u32 first, u32 count, u32 size) {
#pragma unroll
    for (u32 m = 0; m < Shape<D>::PARTS; m++)
#pragma unroll
        for (u32 k = 0; k < D / 16; k++)
#pragma unroll
            for (u32 i = 0; i < 4; i++) {
                const u32 row = first + 16 * m + lane() / 4 + i % 2 * 8, column = 16 * k + lane() % 4 * 2 + i / 2 * 8;
                const bool is_there = row < count && column < size;
                to[m][k][i] = is_there ? *reinterpret_cast<const u32 *>(from + u64(row) * stride + column) : 0u;
            }
}

struct alignas(8) two_words {
    u32 word[2];
};

// Rows from `first` on, of `count`, from sums as products leave them, each times its row's factor.
template <u32 D>
DEVICE void store_rows(bf16 *to, u32 stride, u32 first, u32 count, u32 size, const float (&sums)[Shape<D>::PARTS][D / 8][4],
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
                if (row < count && column < size)
                    *reinterpret_cast<two_words *>(to + u64(row) * stride + column) = words;
            }
        }
}

// Zeros in the block's rows, of a matrix that begins at the place's first row.
DEVICE void clear_rows(bf16 *to, u32 stride, const Place &place, u32 size) {
    const u32 rows = min(ROWS, place.length - place.first), pieces = size / EIGHT;
    const float zeros[EIGHT] = {};
    for (u32 i = threadIdx.x; i < rows * pieces; i += blockDim.x)
        store_eight(to + u64(place.first + i / pieces) * stride + i % pieces * EIGHT, zeros);
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

// Which of a query's 128 keys of a block of counters are kept, as a thread of a product has them: byte `j` is for keys 2t, 2t + 1,
// 2t + 8, 2t + 9 of each 16, bit `i` for the 16 keys number `i`.
DEVICE u32 kept_keys(const Dropout &dropout, u64 block, u32 index) {
    const u64 counter = block * 16 + lane() % 4 * 2;
    return kept_bits(dropout, counter, index) | kept_bits(dropout, counter + 1, index) << 8 |
           kept_bits(dropout, counter + 8, index) << 16 | kept_bits(dropout, counter + 9, index) << 24;
}

// All ones where byte `j` of a word, shifted so that its highest bit is the one in question, says that a number is kept.
DEVICE u32 kept_one(u32 word, u32 j) { return signs_of_bytes(word, 0x8888u + 0x1111u * j); }

// The same for two numbers of 16 bits, of bytes `2 n` and `2 n + 1`.
DEVICE u32 kept_two(u32 word, u32 n) { return signs_of_bytes(word, n == 0 ? 0x9988u : 0xbbaau); }

#endif
