// The little of a C library that the generated bindings use, so that the policy imports nothing.
//
// The heap only grows during a call, and the next call starts again at its beginning. So a policy in C
// frees nothing, leaks nothing, and finds nothing of an earlier event by way of the heap.

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define PAGE_BYTES 65536
#define ALIGN 16

// The linker puts it after the last global.
extern unsigned char __heap_base;

static uintptr_t start; // where each call starts; 0 before the first allocation
static uintptr_t next;
static bool call_has_ended;

void heap_keep(void) { start = next; }

// The host still reads the answer, so the heap is only forgotten when the next event needs it.
void heap_end_call(void) { call_has_ended = true; }

void *malloc(size_t bytes) {
    if (start == 0) {
        start = next = (uintptr_t)&__heap_base;
    }
    if (call_has_ended) {
        call_has_ended = false;
        next = start;
    }
    uintptr_t block = (next + ALIGN - 1) & ~(uintptr_t)(ALIGN - 1);
    uintptr_t end = block + bytes;
    uintptr_t have = __builtin_wasm_memory_size(0) * (uintptr_t)PAGE_BYTES;
    if (end < block) {
        abort();
    }
    if (end > have) {
        size_t pages = (end - have + PAGE_BYTES - 1) / PAGE_BYTES;
        // In the relay a growth beyond the limit traps by itself; other hosts answer -1.
        if (__builtin_wasm_memory_grow(0, pages) == (size_t)-1) {
            abort();
        }
    }
    next = end;
    return (void *)block;
}

// The bindings ask for it with nothing or to grow, so what is copied is at most as long as the new block.
void *realloc(void *old, size_t bytes) {
    void *block = malloc(bytes);
    return old == NULL ? block : memcpy(block, old, bytes);
}

void free(void *block) { (void)block; }

void abort(void) { __builtin_trap(); }

void *memcpy(void *to, const void *from, size_t bytes) {
    unsigned char *t = to;
    const unsigned char *f = from;
    while (bytes--) {
        *t++ = *f++;
    }
    return to;
}

size_t strlen(const char *text) {
    size_t n = 0;
    while (text[n] != 0) {
        n++;
    }
    return n;
}
