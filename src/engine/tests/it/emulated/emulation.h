// The device on the CPU, for tests: blocks one after another, their threads as coroutines that are switched at barriers and
// warp operations, all in shuffled order. Shared memory is full of garbage when a block begins, as on a device.
#pragma once

#include <math.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include <vector>

#define DEVICE static inline
#define __restrict__ __restrict
#define SHARED(type, name, count) type *name = static_cast<type *>(emulated_shared(sizeof(type) * (count)))
#define SHARED_REST(type, name) type *name = static_cast<type *>(emulated_shared_rest())
#define KERNEL_NAMED(name, Arguments, most)                                                      \
    static void JOIN(name, _body)(const Arguments &a);                                           \
    static void JOIN(name, _start)(const void *bytes) {                                          \
        Arguments own;                                                                           \
        memcpy(&own, bytes, sizeof own);                                                         \
        JOIN(name, _body)(own);                                                                  \
    }                                                                                            \
    extern "C" const char *name(const EmulatedLaunch *launch, const void *bytes, size_t size) {  \
        if (size != sizeof(Arguments)) return "the structure of arguments has another size";     \
        if (launch->threads > (most)) return "a launch has more threads than the kernel is made for"; \
        return emulated_run(*launch, JOIN(name, _start), bytes);                                 \
    }                                                                                            \
    static void JOIN(name, _body)(const Arguments &a)

struct EmulatedIndex {
    unsigned x, y, z;
};

struct EmulatedLaunch {
    unsigned blocks[3];
    unsigned threads;
    unsigned shared;
    unsigned seed;
};

static thread_local EmulatedIndex blockIdx, blockDim, gridDim, threadIdx;

enum EmulatedState { READY, AT_BLOCK, AT_WARP, DONE };

// A copy to shared memory that is under way.
struct EmulatedCopy {
    void *to;
    const void *from;
    bool is_there;
    unsigned group;
};

struct EmulatedThread {
    ucontext_t first;
    jmp_buf at;
    bool has_begun;
    EmulatedState state;
    size_t shared_used;
    std::vector<char> stack;
    std::vector<EmulatedCopy> copies;
    unsigned group;
};

struct EmulatedBlock {
    std::vector<EmulatedThread> threads;
    std::vector<unsigned char> shared;
    // What the threads of each warp hand each other: 32 places of 64 bytes.
    std::vector<unsigned char> exchange;
    jmp_buf scheduler;
    unsigned current;
    void (*body)(const void *);
    const void *arguments;
    unsigned random;
};

static thread_local EmulatedBlock *emulated_block;

template <typename To, typename From> static inline To emulated_bits(From from) {
    static_assert(sizeof(To) == sizeof(From), "as many bits");
    To to;
    memcpy(&to, &from, sizeof to);
    return to;
}

static inline unsigned short emulated_bf16(float value) {
    unsigned bits = emulated_bits<unsigned>(value);
    if (value != value) return static_cast<unsigned short>(bits >> 16 | 0x40);
    bits += 0x7fff + (bits >> 16 & 1);
    return static_cast<unsigned short>(bits >> 16);
}

static inline unsigned emulated_next(unsigned &state) {
    state = state * 1664525u + 1013904223u;
    return state >> 8;
}

static void emulated_pause(EmulatedState state) {
    EmulatedThread &own = emulated_block->threads[emulated_block->current];
    own.state = state;
    if (_setjmp(own.at) == 0) _longjmp(emulated_block->scheduler, 1);
}

static void emulated_entry() {
    emulated_block->body(emulated_block->arguments);
    EmulatedThread &own = emulated_block->threads[emulated_block->current];
    own.state = DONE;
    _longjmp(emulated_block->scheduler, 1);
}

// What kernels declare lies first, then what a launch asks for, then bytes that nobody may write.
static const size_t EMULATED_DECLARED = 48 << 10, EMULATED_GUARD = 1 << 10;

static inline void *emulated_shared(size_t bytes) {
    EmulatedBlock &block = *emulated_block;
    size_t &used = block.threads[block.current].shared_used;
    used = (used + 15) / 16 * 16;
    void *at = block.shared.data() + used;
    used += bytes;
    if (used > EMULATED_DECLARED) {
        fprintf(stderr, "a block of the emulation has less shared memory than a kernel declares\n");
        abort();
    }
    return at;
}

static inline void *emulated_shared_rest() { return emulated_block->shared.data() + EMULATED_DECLARED; }

static inline unsigned min(unsigned a, unsigned b) { return a < b ? a : b; }
static inline unsigned max(unsigned a, unsigned b) { return a < b ? b : a; }
static inline int min(int a, int b) { return a < b ? a : b; }
static inline int max(int a, int b) { return a < b ? b : a; }

static inline void __syncthreads() { emulated_pause(AT_BLOCK); }
static inline void emulated_warp_wait() { emulated_pause(AT_WARP); }
static inline unsigned emulated_lane() { return threadIdx.x % 32; }

// Every thread of the warp gives a value of at most 64 bytes and sees all 32.
template <typename T> static inline void emulated_share(const T &own, T (&all)[32]) {
    static_assert(sizeof(T) <= 64, "values are small");
    unsigned char *room = emulated_block->exchange.data() + threadIdx.x / 32 * 32 * 64;
    memcpy(room + threadIdx.x % 32 * 64, &own, sizeof own);
    emulated_warp_wait();
    for (unsigned i = 0; i < 32; i++) memcpy(&all[i], room + i * 64, sizeof own);
    emulated_warp_wait();
}

template <typename T> static inline T emulated_shuffle(T own, unsigned from) {
    T all[32];
    emulated_share(own, all);
    return all[from % 32];
}

static inline unsigned emulated_ballot(bool bit) {
    unsigned all[32], bits = 0;
    emulated_share(unsigned(bit), all);
    for (unsigned i = 0; i < 32; i++) bits |= all[i] << i;
    return bits;
}

static inline float emulated_half(unsigned word, unsigned which) {
    return emulated_bits<float>(which ? word & 0xffff0000u : word << 16);
}

struct EmulatedFactors {
    unsigned a[4], b[2];
};

static inline void emulated_tensor_product(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
    const EmulatedFactors own = {{a[0], a[1], a[2], a[3]}, {b0, b1}};
    EmulatedFactors all[32];
    emulated_share(own, all);
    const unsigned g = emulated_lane() / 4, t = emulated_lane() % 4;
    for (unsigned k = 0; k < 16; k++) {
        const unsigned upper = k / 8, from = k % 8 / 2, half = k % 2;
        float rows[2], columns[2];
        for (unsigned i = 0; i < 2; i++) {
            rows[i] = emulated_half(all[4 * g + from].a[2 * upper + i], half);
            columns[i] = emulated_half(all[4 * (2 * t + i) + from].b[upper], half);
        }
        for (unsigned i = 0; i < 4; i++) c[i] += rows[i / 2] * columns[i % 2];
    }
}

static inline void emulated_load_matrices(const void *row, unsigned (&to)[4], bool is_turned) {
    if (reinterpret_cast<size_t>(row) % 16 != 0) {
        fprintf(stderr, "a row of a matrix is not at a multiple of 16 bytes\n");
        abort();
    }
    const void *all[32];
    emulated_share(row, all);
    const unsigned g = emulated_lane() / 4, t = emulated_lane() % 4;
    for (unsigned m = 0; m < 4; m++) {
        unsigned short halves[2];
        for (unsigned i = 0; i < 2; i++) {
            const unsigned r = is_turned ? 2 * t + i : g, column = is_turned ? g : 2 * t + i;
            halves[i] = static_cast<const unsigned short *>(all[8 * m + r])[column];
        }
        to[m] = halves[0] | unsigned(halves[1]) << 16;
    }
}

static inline void emulated_copy(const EmulatedCopy &copy) {
    if (copy.is_there)
        memcpy(copy.to, copy.from, 16);
    else
        memset(copy.to, 0, 16);
}

// Some copies are done at once and some when they are waited for, so that a kernel that relies on either is found out.
static inline void emulated_copy_later(void *to, const void *from, bool is_there) {
    EmulatedThread &own = emulated_block->threads[emulated_block->current];
    const EmulatedCopy copy = {to, from, is_there, own.group};
    if (emulated_next(emulated_block->random) & 1)
        emulated_copy(copy);
    else
        own.copies.push_back(copy);
}

static inline void emulated_copies_end() { emulated_block->threads[emulated_block->current].group++; }

static inline void emulated_copies_wait(unsigned left) {
    EmulatedThread &own = emulated_block->threads[emulated_block->current];
    size_t kept = 0;
    for (const EmulatedCopy &copy : own.copies) {
        if (copy.group + left < own.group)
            emulated_copy(copy);
        else
            own.copies[kept++] = copy;
    }
    own.copies.resize(kept);
}

// Lets those go on that wait for nobody any more. Whether there were any.
static bool emulated_release(EmulatedBlock &block) {
    bool any = false;
    const unsigned n = static_cast<unsigned>(block.threads.size());
    for (unsigned first = 0; first < n; first += 32) {
        unsigned waiting = 0, alive = 0;
        for (unsigned i = first; i < first + 32 && i < n; i++) {
            waiting += block.threads[i].state == AT_WARP;
            alive += block.threads[i].state != DONE;
        }
        if (waiting == 32 && alive == 32) {
            for (unsigned i = first; i < first + 32; i++) block.threads[i].state = READY;
            any = true;
        }
    }
    if (any) return true;
    for (auto &thread : block.threads)
        if (thread.state != AT_BLOCK && thread.state != DONE) return false;
    for (auto &thread : block.threads)
        if (thread.state == AT_BLOCK) {
            thread.state = READY;
            any = true;
        }
    return any;
}

static const char *emulated_one_block(EmulatedBlock &block, unsigned &random) {
    const unsigned n = static_cast<unsigned>(block.threads.size());
    for (auto &byte : block.shared) byte = static_cast<unsigned char>(0x7f | emulated_next(random));
    const unsigned char guard = 0xab;
    memset(block.shared.data() + block.shared.size() - EMULATED_GUARD, guard, EMULATED_GUARD);
    std::vector<unsigned> warps((n + 31) / 32);
    for (auto &thread : block.threads) {
        thread.has_begun = false;
        thread.state = READY;
        thread.shared_used = 0;
        thread.copies.clear();
        thread.group = 0;
    }
    volatile unsigned done = 0;
    while (done < n) {
        for (unsigned i = 0; i < warps.size(); i++) warps[i] = i;
        for (unsigned i = static_cast<unsigned>(warps.size()); i > 1; i--) {
            const unsigned j = emulated_next(random) % i, kept = warps[i - 1];
            warps[i - 1] = warps[j];
            warps[j] = kept;
        }
        volatile bool any = false;
        const bool backwards = emulated_next(random) & 1;
        for (volatile unsigned w = 0; w < warps.size(); w = w + 1) {
            for (volatile unsigned l = 0; l < 32; l = l + 1) {
                const unsigned i = warps[w] * 32 + (backwards ? 31 - l : l);
                if (i >= n || block.threads[i].state != READY) continue;
                any = true;
                block.current = i;
                threadIdx.x = i;
                if (_setjmp(block.scheduler) == 0) {
                    EmulatedThread &thread = block.threads[i];
                    if (thread.has_begun) _longjmp(thread.at, 1);
                    thread.has_begun = true;
                    getcontext(&thread.first);
                    thread.first.uc_stack.ss_sp = thread.stack.data();
                    thread.first.uc_stack.ss_size = thread.stack.size();
                    thread.first.uc_link = nullptr;
                    makecontext(&thread.first, emulated_entry, 0);
                    setcontext(&thread.first);
                }
                if (block.threads[block.current].state == DONE) done = done + 1;
            }
        }
        if (done < n && !any && !emulated_release(block)) return "some threads wait at a barrier that others never reach";
    }
    for (size_t i = block.shared.size() - EMULATED_GUARD; i < block.shared.size(); i++)
        if (block.shared[i] != guard) return "something wrote behind a block's shared memory";
    return nullptr;
}

static const char *emulated_run(const EmulatedLaunch &launch, void (*body)(const void *), const void *arguments) {
    // Stacks are kept from launch to launch.
    static thread_local EmulatedBlock block;
    block.threads.resize(launch.threads);
    for (auto &thread : block.threads) thread.stack.resize(64 << 10);
    block.shared.resize(EMULATED_DECLARED + launch.shared + EMULATED_GUARD);
    block.exchange.resize((launch.threads + 31) / 32 * 32 * 64);
    block.body = body;
    block.arguments = arguments;
    block.random = launch.seed;
    emulated_block = &block;
    blockDim = EmulatedIndex{launch.threads, 1, 1};
    gridDim = EmulatedIndex{launch.blocks[0], launch.blocks[1], launch.blocks[2]};
    const unsigned n = launch.blocks[0] * launch.blocks[1] * launch.blocks[2];
    std::vector<unsigned> order(n);
    unsigned random = launch.seed;
    for (unsigned i = 0; i < n; i++) order[i] = i;
    for (unsigned i = n; i > 1; i--) {
        const unsigned j = emulated_next(random) % i, kept = order[i - 1];
        order[i - 1] = order[j];
        order[j] = kept;
    }
    for (unsigned i : order) {
        blockIdx = EmulatedIndex{i % gridDim.x, i / gridDim.x % gridDim.y, i / gridDim.x / gridDim.y};
        if (const char *fault = emulated_one_block(block, random)) return fault;
    }
    emulated_block = nullptr;
    return nullptr;
}
