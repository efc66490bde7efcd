// The part of <string.h> that the generated bindings use; heap.c implements it.
#pragma once
#include <stddef.h>

void *memcpy(void *to, const void *from, size_t bytes);
size_t strlen(const char *text);
