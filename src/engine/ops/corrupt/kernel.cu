#include "prelude.cuh"

// The discriminator's input: originals everywhere, then what was drawn over them.

struct CorruptArguments {
    const u32 *original;  // by row
    const u32 *real;
    const u32 *slot_rows; // by slot, equal ones side by side
    const u32 *samples;
    u32 *ids;             // by row
    u32 *labels;
    u32 rows;
    u32 slots;
};

constexpr u32 IGNORED = 0xffffffffu;
constexpr u32 NOWHERE = 0xffffffffu;

KERNEL(corrupt_rows, CorruptArguments, 256) {
    const u32 row = blockIdx.x * blockDim.x + threadIdx.x;
    if (row >= a.rows) return;
    a.ids[row] = a.original[row];
    a.labels[row] = a.real[row] == 1 ? 0 : IGNORED;
}

// The first slot of a row writes the average of all of them.
KERNEL(corrupt_slots, CorruptArguments, 256) {
    const u32 slot = blockIdx.x * blockDim.x + threadIdx.x;
    if (slot >= a.slots) return;
    const u32 row = a.slot_rows[slot];
    if (row == NOWHERE || (slot > 0 && a.slot_rows[slot - 1] == row)) return;
    u64 sum = 0;
    u32 n = 0;
    for (u32 i = slot; i < a.slots && a.slot_rows[i] == row; i++, n++) sum += a.samples[i];
    const u32 id = u32(sum / n);
    a.ids[row] = id;
    if (a.real[row] == 1) a.labels[row] = id != a.original[row] ? 1 : 0;
}
