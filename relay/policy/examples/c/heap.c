// The small part of a C library that the generated bindings use, so that the policy imports nothing.
//
// The heap only grows during a call, and the next call starts again at its beginning. So a policy in C frees nothing
// and leaks nothing, and the heap carries nothing from one event to the next.

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define PAGE_BYTES 65536
#define ALIGN 16

// The linker places it after the last global.
extern unsigned char __heap_base;

static uintptr_t start; // where each call starts; 0 before the first allocation
static uintptr_t next;
static bool call_has_ended;

void heap_keep(void) { start = next; }

// The host still reads the answer, so the heap is reset only when the next event allocates.
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
        // In the relay, growth beyond the limit traps; other hosts return -1.
        if (__builtin_wasm_memory_grow(0, pages) == (size_t)-1) {
            abort();
        }
    }
    next = end;
    return (void *)block;
}

// The bindings call it only with NULL or to grow. It copies `bytes` bytes, which may read past the old block but not
// past the heap.
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
