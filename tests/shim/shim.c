/* The disk and the clock of a relay under test, interposed with LD_PRELOAD.
 *
 * Every change below one folder goes to the real file and to a journal. A power cut is a kill; afterwards the harness
 * (tests/src/chaos/disk_image.rs) builds the files that a disk could have kept from the journal: synced bytes stay,
 * of all others any part. Real syncs are not executed, because nothing here outlives a real power cut.
 *
 * A page of shared memory (struct control, written by tests/src/chaos/shim.rs) makes the disk refuse, the syncs lie,
 * the process die at its n-th change of the disk, and the wall clock jump. Without CHAOS_ROOT the shim does nothing.
 *
 * The relay must reach the disk through libc. If it reached the disk in another way, the journal would miss changes;
 * the harness compares the journal with the real files after an orderly end, so it notices. */
#define _GNU_SOURCE
#define _LARGEFILE64_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* Must match `Control` in tests/src/chaos/shim.rs. */
struct control {
    _Atomic int64_t clock_offset_ns; /* added to the wall clock */
    _Atomic int64_t die_in;          /* changes of the disk until SIGKILL; 0 is never */
    _Atomic uint64_t refused;        /* calls that were refused so far */
    _Atomic uint32_t refuse_errno;   /* what refused calls fail with */
    _Atomic uint32_t refuse;         /* which calls are refused: REFUSE_* */
    _Atomic uint32_t syncs_lie;      /* syncs succeed and keep nothing */
    _Atomic uint32_t sync_us_max;    /* longest time a sync takes */
};
enum { REFUSE_GROWTH = 1, REFUSE_WRITES = 2, REFUSE_SYNCS = 4, REFUSE_HALF = 8 };

/* Must match `disk_image.rs`. */
enum op { OP_WRITE = 1, OP_TRUNCATE, OP_SYNC_BEGIN, OP_SYNC_END, OP_CREATE, OP_UNLINK, OP_RENAME, OP_DIR_SYNC, OP_MKDIR,
          OP_UNSEEN };
struct record {
    uint32_t magic, op;
    uint64_t inode, offset;
    uint32_t name_len, data_len;
};
static const uint32_t MAGIC = 0x43484153;

static char root[PATH_MAX];
static size_t root_len;
static int journal = -1;
static struct control none, *control = &none;
static _Atomic uint64_t tokens;

/* The function of libc that this file stands before. */
#define REAL(name) ({ \
    static __typeof__(&name) found; \
    if (!found) found = (__typeof__(&name))dlsym(RTLD_NEXT, #name); \
    found; })

__attribute__((constructor)) static void begin(void) {
    const char *folder = getenv("CHAOS_ROOT"), *file = getenv("CHAOS_JOURNAL"), *page = getenv("CHAOS_CONTROL");
    if (!folder || !file || !page || strlen(folder) >= sizeof root) return;
    int shared = syscall(SYS_openat, AT_FDCWD, page, O_RDWR | O_CLOEXEC);
    void *at = (void *)syscall(SYS_mmap, 0, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, shared, 0);
    syscall(SYS_close, shared);
    if (at == MAP_FAILED) abort();
    control = at;
    int opened = syscall(SYS_openat, AT_FDCWD, file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    /* Out of the way of descriptors that the relay counts on. */
    journal = syscall(SYS_fcntl, opened, F_DUPFD_CLOEXEC, 200);
    syscall(SYS_close, opened);
    if (journal < 0) abort();
    strcpy(root, folder);
    root_len = strlen(root);
}

/* Appends a record in one write, so that those of several threads do not mix. */
static void note(enum op op, uint64_t inode, uint64_t offset, const char *name, size_t name_len, const void *data,
                 size_t data_len) {
    if (journal < 0) return;
    size_t length = sizeof(struct record) + name_len + data_len;
    char small[8192], *bytes = length <= sizeof small ? small : malloc(length);
    if (!bytes) abort();
    struct record head = {MAGIC, op, inode, offset, (uint32_t)name_len, (uint32_t)data_len};
    memcpy(bytes, &head, sizeof head);
    if (name_len) memcpy(bytes + sizeof head, name, name_len);
    if (data_len) memcpy(bytes + sizeof head + name_len, data, data_len);
    if (syscall(SYS_write, journal, bytes, length) != (long)length) abort();
    if (bytes != small) free(bytes);
    if (atomic_load(&control->die_in) > 0 && atomic_fetch_sub(&control->die_in, 1) == 1)
        syscall(SYS_kill, getpid(), SIGKILL);
}

/* Where a descriptor points to; the length, negative on failure. */
static ssize_t path_of(int fd, char path[PATH_MAX]) {
    char link[64] = "/proc/self/fd/", digits[16], *end = link + strlen(link);
    int n = 0;
    do digits[n++] = (char)('0' + fd % 10); while (fd /= 10);
    while (n) *end++ = digits[--n];
    *end = 0;
    ssize_t length = readlink(link, path, PATH_MAX - NAME_MAX - 2);
    if (length >= 0) path[length] = 0;
    return length;
}

static int is_below(const char *path) {
    return root_len && !strncmp(path, root, root_len) && (path[root_len] == '/' || !path[root_len]);
}

/* The part of a path below the root; 0 if it is elsewhere. */
static const char *below(int folder, const char *path, char whole[PATH_MAX]) {
    if (!root_len || !path) return 0;
    if (*path == '/') {
        strncpy(whole, path, PATH_MAX - 1);
        whole[PATH_MAX - 1] = 0;
    } else {
        ssize_t n = folder == AT_FDCWD ? readlink("/proc/self/cwd", whole, PATH_MAX - NAME_MAX - 2)
                                       : path_of(folder, whole);
        if (n < 0 || strlen(path) > NAME_MAX) return 0;
        whole[n] = '/';
        strcpy(whole + n + 1, path);
    }
    return is_below(whole) && whole[root_len] ? whole + root_len + 1 : 0;
}

/* Open regular files below the root, by inode. A descriptor may be duplicated, so descriptors are not kept. */
#define FILES_MAX 512
static _Atomic uint64_t known[FILES_MAX];
static _Atomic uint64_t device;

static void know(uint64_t inode) {
    for (int i = 0; i < FILES_MAX; i++) {
        uint64_t empty = 0;
        if (atomic_load(&known[i]) == inode || atomic_compare_exchange_strong(&known[i], &empty, inode)) return;
    }
    abort();
}

/* Whether a descriptor is of a file below the root. */
static int is_known(int fd, struct stat *found) {
    if (!root_len || fstat(fd, found) || !S_ISREG(found->st_mode) || found->st_dev != atomic_load(&device)) return 0;
    for (int i = 0; i < FILES_MAX; i++) {
        uint64_t inode = atomic_load(&known[i]);
        if (!inode) return 0;
        if (inode == found->st_ino) return 1;
    }
    return 0;
}

static int refuses(uint32_t what) {
    if (!(atomic_load(&control->refuse) & what)) return 0;
    atomic_fetch_add(&control->refused, 1);
    errno = (int)atomic_load(&control->refuse_errno);
    return 1;
}

/* Whether a write is refused. A full disk takes what overwrites, and only part of what grows. */
static int refuses_write(const struct stat *file, uint64_t offset, size_t *length) {
    if (refuses(REFUSE_WRITES)) return 1;
    if (offset + *length <= (uint64_t)file->st_size) return 0;
    if ((atomic_load(&control->refuse) & REFUSE_HALF) && *length > 1) {
        *length /= 2;
        atomic_fetch_add(&control->refused, 1);
        return 0;
    }
    return refuses(REFUSE_GROWTH);
}

static int opened(int fd, const char *name, int existed, int flags) {
    struct stat file;
    if (fd < 0 || fstat(fd, &file) || !S_ISREG(file.st_mode)) return fd;
    atomic_store(&device, file.st_dev);
    know(file.st_ino);
    if (!existed) note(OP_CREATE, file.st_ino, 0, name, strlen(name), 0, 0);
    else if (flags & O_TRUNC) note(OP_TRUNCATE, file.st_ino, 0, 0, 0, 0, 0);
    return fd;
}

static int open_at(int folder, const char *path, int flags, mode_t mode) {
    char whole[PATH_MAX];
    const char *name = below(folder, path, whole);
    if (!name) return (int)syscall(SYS_openat, folder, path, flags, mode);
    struct stat before;
    int existed = !fstatat(folder, path, &before, 0);
    if (!existed && (flags & O_CREAT) && refuses(REFUSE_GROWTH | REFUSE_WRITES)) return -1;
    long fd = syscall(SYS_openat, folder, path, flags, mode);
    return opened((int)fd, name, existed, flags);
}

#define MODE(flags, last) \
    mode_t mode = 0; \
    if ((flags) & (O_CREAT | O_TMPFILE)) { va_list more; va_start(more, last); mode = va_arg(more, mode_t); va_end(more); }

int open(const char *path, int flags, ...) { MODE(flags, flags) return open_at(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE(flags, flags) return open_at(AT_FDCWD, path, flags | O_LARGEFILE, mode); }
int openat(int folder, const char *path, int flags, ...) { MODE(flags, flags) return open_at(folder, path, flags, mode); }
int openat64(int folder, const char *path, int flags, ...) { MODE(flags, flags) return open_at(folder, path, flags | O_LARGEFILE, mode); }

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset) {
    struct stat file;
    if (is_known(fd, &file)) {
        if (refuses_write(&file, (uint64_t)offset, &length)) return -1;
        note(OP_WRITE, file.st_ino, (uint64_t)offset, 0, 0, bytes, length);
    }
    return REAL(pwrite64)(fd, bytes, length, offset);
}
ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) { return pwrite64(fd, bytes, length, offset); }

ssize_t write(int fd, const void *bytes, size_t length) {
    struct stat file;
    if (is_known(fd, &file)) {
        int append = fcntl(fd, F_GETFL) & O_APPEND;
        off_t offset = append ? file.st_size : lseek(fd, 0, SEEK_CUR);
        if (refuses_write(&file, (uint64_t)offset, &length)) return -1;
        note(OP_WRITE, file.st_ino, (uint64_t)offset, 0, 0, bytes, length);
    }
    return syscall(SYS_write, fd, bytes, length);
}

/* One piece after the other. A short write is allowed. */
ssize_t writev(int fd, const struct iovec *pieces, int count) {
    struct stat file;
    if (!is_known(fd, &file)) return REAL(writev)(fd, pieces, count);
    for (int i = 0; i < count; i++)
        if (pieces[i].iov_len) return write(fd, pieces[i].iov_base, pieces[i].iov_len);
    return 0;
}

/* Whoever copies in the kernel has to copy by hand. */
ssize_t copy_file_range(int from, off64_t *at, int to, off64_t *where, size_t length, unsigned flags) {
    struct stat file;
    if (is_known(to, &file)) { errno = ENOSYS; return -1; }
    return REAL(copy_file_range)(from, at, to, where, length, flags);
}
ssize_t sendfile64(int to, int from, off64_t *at, size_t length) {
    struct stat file;
    if (is_known(to, &file)) { errno = EINVAL; return -1; }
    return syscall(SYS_sendfile, to, from, at, length);
}
ssize_t sendfile(int to, int from, off_t *at, size_t length) { return sendfile64(to, from, at, length); }

int ftruncate64(int fd, off64_t length) {
    struct stat file;
    if (is_known(fd, &file)) {
        if (refuses(REFUSE_WRITES) || (length > file.st_size && refuses(REFUSE_GROWTH))) return -1;
        note(OP_TRUNCATE, file.st_ino, (uint64_t)length, 0, 0, 0, 0);
    }
    return (int)syscall(SYS_ftruncate, fd, length);
}
int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }
int posix_fallocate(int fd, off_t offset, off_t length) {
    struct stat file;
    if (is_known(fd, &file)) return EINVAL;
    return REAL(posix_fallocate)(fd, offset, length);
}
int fallocate(int fd, int mode, off_t offset, off_t length) {
    struct stat file;
    if (is_known(fd, &file)) { errno = EOPNOTSUPP; return -1; }
    return REAL(fallocate)(fd, mode, offset, length);
}

/* What was written before the sync began is on disk when it ends. */
static int sync_of(int fd) {
    struct stat file;
    if (!root_len || fstat(fd, &file)) return (int)syscall(SYS_fsync, fd);
    int is_file = is_known(fd, &file);
    char path[PATH_MAX];
    if (!is_file && (!S_ISDIR(file.st_mode) || path_of(fd, path) < 0 || !is_below(path)))
        return (int)syscall(SYS_fsync, fd);
    if (refuses(REFUSE_SYNCS)) return -1;
    uint64_t token = atomic_fetch_add(&tokens, 1) ^ ((uint64_t)getpid() << 32);
    if (is_file) note(OP_SYNC_BEGIN, file.st_ino, token, 0, 0, 0, 0);
    uint32_t most = atomic_load(&control->sync_us_max);
    if (most) {
        struct timespec pause = {0, (long)(token * 2654435761u % most) * 1000};
        nanosleep(&pause, 0);
    }
    if (atomic_load(&control->syncs_lie)) return 0;
    if (is_file) note(OP_SYNC_END, file.st_ino, token, 0, 0, 0, 0);
    else {
        const char *name = path[root_len] ? path + root_len + 1 : "";
        note(OP_DIR_SYNC, 0, 0, name, strlen(name), 0, 0);
    }
    return 0;
}
int fsync(int fd) { return sync_of(fd); }
int fdatasync(int fd) { return sync_of(fd); }

static void note_name(enum op op, int folder, const char *path) {
    char whole[PATH_MAX];
    const char *name = below(folder, path, whole);
    if (name) note(op, 0, 0, name, strlen(name), 0, 0);
}
static int exists(int folder, const char *path) {
    struct stat found;
    return !fstatat(folder, path, &found, AT_SYMLINK_NOFOLLOW);
}
int unlinkat(int folder, const char *path, int flags) {
    if (exists(folder, path)) note_name(OP_UNLINK, folder, path);
    return (int)syscall(SYS_unlinkat, folder, path, flags);
}
int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }
int remove(const char *path) {
    struct stat found;
    int is_folder = !lstat(path, &found) && S_ISDIR(found.st_mode);
    return unlinkat(AT_FDCWD, path, is_folder ? AT_REMOVEDIR : 0);
}
int mkdirat(int folder, const char *path, mode_t mode) {
    if (!exists(folder, path)) note_name(OP_MKDIR, folder, path);
    return (int)syscall(SYS_mkdirat, folder, path, mode);
}
int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }

int renameat2(int folder, const char *from, int into, const char *to, unsigned flags) {
    char whole[PATH_MAX], other[PATH_MAX], both[2 * PATH_MAX];
    const char *old = below(folder, from, whole), *new = below(into, to, other);
    if (old && new && exists(folder, from)) {
        size_t first = strlen(old) + 1, second = strlen(new);
        memcpy(both, old, first);
        memcpy(both + first, new, second);
        note(OP_RENAME, 0, 0, both, first + second, 0, 0);
    } else if (old || new) note(OP_UNSEEN, 0, 0, from, strlen(from), 0, 0);
    return (int)syscall(SYS_renameat2, folder, from, into, to, flags);
}
int renameat(int folder, const char *from, int into, const char *to) { return renameat2(folder, from, into, to, 0); }
int rename(const char *from, const char *to) { return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0); }
int linkat(int folder, const char *from, int into, const char *to, int flags) {
    char whole[PATH_MAX];
    if (below(into, to, whole)) note(OP_UNSEEN, 0, 0, to, strlen(to), 0, 0);
    return (int)syscall(SYS_linkat, folder, from, into, to, flags);
}
int link(const char *from, const char *to) { return linkat(AT_FDCWD, from, AT_FDCWD, to, 0); }

/* Memory that is written to disk would bypass the journal. SQLite's index of its log is one; it does not outlive a
 * power cut, since SQLite makes it anew. */
void *mmap64(void *at, size_t length, int protection, int flags, int fd, off64_t offset) {
    struct stat file;
    if ((flags & MAP_SHARED) && (protection & PROT_WRITE) && fd >= 0 && is_known(fd, &file)) {
        char path[PATH_MAX];
        ssize_t size = path_of(fd, path);
        if (size < 4 || strncmp(path + size - 4, "-shm", 4)) note(OP_UNSEEN, file.st_ino, 0, 0, 0, 0, 0);
    }
    return (void *)syscall(SYS_mmap, at, length, protection, flags, fd, offset);
}
void *mmap(void *at, size_t length, int protection, int flags, int fd, off_t offset) {
    return mmap64(at, length, protection, flags, fd, offset);
}

/* The wall clock. */
static int is_wall(clockid_t clock) { return clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE; }
int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = REAL(clock_gettime)(clock, now);
    int64_t offset = is_wall(clock) ? atomic_load(&control->clock_offset_ns) : 0;
    if (failed || !offset) return failed;
    int64_t ns = now->tv_nsec + offset % 1000000000;
    now->tv_sec += offset / 1000000000 + (ns < 0 ? -1 : ns / 1000000000);
    now->tv_nsec = ns < 0 ? ns + 1000000000 : ns % 1000000000;
    return 0;
}
int gettimeofday(struct timeval *now, void *zone) {
    (void)zone;
    struct timespec precise;
    int failed = clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return failed;
}
time_t time(time_t *into) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (into) *into = now.tv_sec;
    return now.tv_sec;
}
