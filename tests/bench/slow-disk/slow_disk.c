/* A disk whose flushes take longer: preloaded into the relay, it delays fsync and fdatasync. Nothing else is slowed.
 * strace can delay calls too, but its version 6.1 stops a new thread at each system call until that thread has
 * made a traced one, which costs half of the throughput. */

#define _GNU_SOURCE
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static void delay(void) {
    struct timespec left = {0, SLOW_MS * 1000000L};
    while (nanosleep(&left, &left) != 0) {
    }
}

int fsync(int file) {
    delay();
    return (int)syscall(SYS_fsync, file);
}

int fdatasync(int file) {
    delay();
    return (int)syscall(SYS_fdatasync, file);
}
