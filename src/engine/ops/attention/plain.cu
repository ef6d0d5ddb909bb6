// Attention without tensor cores, for f32 and for sizes of heads that tiles do not have: a warp takes one row of a head, the
// other rows lie across its lanes, 32 at a time. Right and short; nothing here is meant to be fast.

// What a warp keeps in shared memory: four rows of a head, and two numbers for each of 32 other rows.
struct Room {
    float *row[4];
    float *number[2];
};

DEVICE Room room_of_warp(float *all, u32 size) {
    float *own = all + warp() * (4 * size + 2 * WARP);
    Room room;
    for (u32 i = 0; i < 4; i++) room.row[i] = own + i * size;
    room.number[0] = own + 4 * size;
    room.number[1] = own + 4 * size + WARP;
    return room;
}

// The row of a warp. False where there is none.
DEVICE bool find_row(const AttentionArguments &a, Place &place) {
    const u32 number = blockIdx.x * warps() + warp(), row = number / a.heads;
    if (row >= a.tokens) return false;
    const u32 i = find_last(a.count + 1, [&](u32 i) { return a.starts[i] <= row; });
    place = place_of(a, i, number % a.heads);
    place.first = row - place.start;
    return true;
}

// A row into shared memory; seen after `warp_wait`.
DEVICE void keep_row(float *to, const act *from, u32 size) {
    for (u32 i = lane(); i < size; i += WARP) to[i] = to_float(from[i]);
}

DEVICE void fill_row(float *to, u32 size, float value) {
    for (u32 i = lane(); i < size; i += WARP) to[i] = value;
}

// A row out of what each lane has written itself.
DEVICE void put_row(act *to, const float *from, u32 size, float by) {
    for (u32 i = lane(); i < size; i += WARP) to[i] = to_act(from[i] * by);
}

DEVICE float dot(const float *a, const act *b, u32 size) {
    float sum = 0.0f;
    for (u32 i = 0; i < size; i++) sum = fmaf(a[i], to_float(b[i]), sum);
    return sum;
}

// `to = shrink to + the sum of number[j] * row j` for `count` rows that lie `stride` apart.
DEVICE void add_rows(float *to, float shrink, const float *number, const act *rows, u32 stride, u32 count, u32 size) {
    for (u32 i = lane(); i < size; i += WARP) {
        float sum = to[i] * shrink;
        for (u32 j = 0; j < count; j++) sum = fmaf(number[j], to_float(rows[u64(j) * stride + i]), sum);
        to[i] = sum;
    }
}

DEVICE bool is_kept(const AttentionArguments &a, const Place &place, u32 query, u32 key) {
    if (a.dropout.threshold == 0) return true;
    const u64 block = dropout_row(place, query) + key / 128;
    return kept_bits(a.dropout, block * 16 + key % 16, place.index) >> (key % 128 / 16) & 1u;
}

KERNEL(attention_plain_forward, AttentionArguments, 256) {
    SHARED_REST(float, all);
    Place place;
    if (!find_row(a, place)) return;
    const u32 width = a.heads * a.size, stride = 3 * width, column = place.head * a.size;
    const Room room = room_of_warp(all, a.size);
    const u64 row = place.start + place.first, number = u64(place.head) * a.tokens + row;
    float *query = room.row[0], *out = room.row[1];
    fill_row(out, a.size, 0.0f);
    if (place.keys == 0) {
        put_row(a.context + row * width + column, out, a.size, 0.0f);
        if (lane() == 0) a.lse[number] = 0.0f;
        return;
    }
    keep_row(query, a.qkv + row * stride + column, a.size);
    warp_wait();
    const act *keys = a.qkv + u64(place.start) * stride + width + column, *values = keys + width;
    float top = -infinity(), sum = 0.0f;
    for (u32 first = 0; first < place.keys; first += WARP) {
        const u32 key = first + lane();
        const bool is_there = key < place.keys;
        const float score = is_there ? dot(query, keys + u64(key) * stride, a.size) * a.by : -infinity();
        const float most = fmaxf(top, warp_max(score)), shrink = expf(top - most);
        const float p = is_there ? expf(score - most) : 0.0f;
        sum = fmaf(sum, shrink, p);
        top = most;
        room.number[0][lane()] = is_there && is_kept(a, place, place.first, key) ? p : 0.0f;
        warp_wait();
        const u32 count = min(WARP, place.keys - first);
        add_rows(out, shrink, room.number[0], values + u64(first) * stride, stride, count, a.size);
        warp_wait();
    }
    sum = warp_sum(sum);
    put_row(a.context + row * width + column, out, a.size, a.dropout.scale / sum);
    if (lane() == 0) a.lse[number] = top + logf(sum);
}

KERNEL(attention_plain_d_queries, AttentionArguments, 256) {
    SHARED_REST(float, all);
    Place place;
    if (!find_row(a, place)) return;
    const u32 width = a.heads * a.size, stride = 3 * width, column = place.head * a.size;
    const Room room = room_of_warp(all, a.size);
    const u64 row = place.start + place.first, number = u64(place.head) * a.tokens + row;
    float *query = room.row[0], *d_out = room.row[1], *d_query = room.row[2];
    fill_row(d_query, a.size, 0.0f);
    if (place.keys > 0) {
        keep_row(query, a.qkv + row * stride + column, a.size);
        keep_row(d_out, a.d_context + row * width + column, a.size);
        warp_wait();
        float delta = 0.0f;
        for (u32 i = lane(); i < a.size; i += WARP)
            delta = fmaf(d_out[i], to_float(a.context[row * width + column + i]), delta);
        delta = warp_sum(delta) / a.dropout.scale;
        if (lane() == 0) a.delta[number] = delta;
        const float lse = a.lse[number];
        const act *keys = a.qkv + u64(place.start) * stride + width + column, *values = keys + width;
        for (u32 first = 0; first < place.keys; first += WARP) {
            const u32 key = first + lane();
            float d_score = 0.0f;
            if (key < place.keys) {
                const float p = expf(dot(query, keys + u64(key) * stride, a.size) * a.by - lse);
                const float d = dot(d_out, values + u64(key) * stride, a.size);
                d_score = fmaf(is_kept(a, place, place.first, key) ? p : 0.0f, d, -(p * delta));
            }
            room.number[0][lane()] = d_score;
            warp_wait();
            const u32 count = min(WARP, place.keys - first);
            add_rows(d_query, 1.0f, room.number[0], keys + u64(first) * stride, stride, count, a.size);
            warp_wait();
        }
    }
    put_row(a.d_qkv + row * stride + column, d_query, a.size, a.by * a.dropout.scale);
}

KERNEL(attention_plain_d_keys, AttentionArguments, 256) {
    SHARED_REST(float, all);
    Place place;
    if (!find_row(a, place)) return;
    const u32 width = a.heads * a.size, stride = 3 * width, column = place.head * a.size;
    const Room room = room_of_warp(all, a.size);
    const u64 row = place.start + place.first;
    float *key = room.row[0], *value = room.row[1], *d_key = room.row[2], *d_value = room.row[3];
    fill_row(d_key, a.size, 0.0f);
    fill_row(d_value, a.size, 0.0f);
    if (place.first < place.keys) {
        keep_row(key, a.qkv + row * stride + width + column, a.size);
        keep_row(value, a.qkv + row * stride + 2 * width + column, a.size);
        warp_wait();
        const act *queries = a.qkv + u64(place.start) * stride + column;
        const act *d_out = a.d_context + u64(place.start) * width + column;
        for (u32 first = 0; first < place.length; first += WARP) {
            const u32 query = first + lane();
            float p = 0.0f, d_score = 0.0f;
            if (query < place.length) {
                const u64 number = u64(place.head) * a.tokens + place.start + query;
                const float whole = expf(dot(key, queries + u64(query) * stride, a.size) * a.by - a.lse[number]);
                const float d = dot(value, d_out + u64(query) * width, a.size);
                p = is_kept(a, place, query, place.first) ? whole : 0.0f;
                d_score = fmaf(p, d, -(whole * a.delta[number]));
            }
            room.number[0][lane()] = p;
            room.number[1][lane()] = d_score;
            warp_wait();
            const u32 count = min(WARP, place.length - first);
            add_rows(d_value, 1.0f, room.number[0], d_out + u64(first) * width, width, count, a.size);
            add_rows(d_key, 1.0f, room.number[1], queries + u64(first) * stride, stride, count, a.size);
            warp_wait();
        }
    }
    put_row(a.d_qkv + row * stride + width + column, d_key, a.size, a.by * a.dropout.scale);
    put_row(a.d_qkv + row * stride + 2 * width + column, d_value, a.size, a.dropout.scale);
}
