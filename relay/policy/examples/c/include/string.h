// What the generated bindings use of <string.h>; heap.c has it.
#pragma once
#include <stddef.h>

void *memcpy(void *to, const void *from, size_t bytes);
size_t strlen(const char *text);
