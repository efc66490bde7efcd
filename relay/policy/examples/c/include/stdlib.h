// The part of <stdlib.h> that the generated bindings and the policy use; heap.c implements it.
#pragma once
#include <stdbool.h>
#include <stddef.h>

void *malloc(size_t bytes);
void *realloc(void *old, size_t bytes);
void free(void *block);
_Noreturn void abort(void);

// Keeps everything allocated so far for the lifetime of the instance.
void heap_keep(void);
// Ends the call: the next allocation reuses the memory that this call allocated.
void heap_end_call(void);
