// What the generated bindings and the policy use of <stdlib.h>; heap.c has it.
#pragma once
#include <stdbool.h>
#include <stddef.h>

void *malloc(size_t bytes);
void *realloc(void *old, size_t bytes);
void free(void *block);
_Noreturn void abort(void);

// Everything allocated so far stays for ever.
void heap_keep(void);
// The event in hand is done: the next allocation forgets what this call allocated.
void heap_end_call(void);
