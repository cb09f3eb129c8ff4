/* Preloaded into a redis-server: a disk that fails, is slow, or is full.
 *
 * DISK_FAULTS names a directory. While there is a file sync-fails in it, no sync succeeds; while there is sync-takes, each
 * takes the milliseconds that it says; while there is full, half of what is written to a file still finds room. What goes
 * to sockets and pipes is left alone. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define REAL(type, name, ...) ((type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name))

/* Whether that file is there, and the number in it. */
static int there(const char *name, long *number) {
    const char *directory = getenv("DISK_FAULTS");
    char path[4096], text[32] = {0};
    if (!directory) return 0;
    snprintf(path, sizeof path, "%s/%s", directory, name);
    int before = errno, file = open(path, O_RDONLY | O_CLOEXEC);
    errno = before;
    if (file < 0) return 0;
    if (number && read(file, text, sizeof text - 1) > 0) *number = atol(text);
    close(file);
    return 1;
}

/* Whether a sync fails, after the time that it takes. */
static int sync_fails(void) {
    long takes = 0;
    if (there("sync-takes", &takes)) {
        struct timespec time = {takes / 1000, takes % 1000 * 1000000};
        while (nanosleep(&time, &time) != 0 && errno == EINTR) {}
    }
    if (!there("sync-fails", NULL)) return 0;
    errno = EIO;
    return 1;
}

int fsync(int file) {
    return sync_fails() ? -1 : REAL(int, fsync, int)(file);
}

int fdatasync(int file) {
    return sync_fails() ? -1 : REAL(int, fdatasync, int)(file);
}

static int full(int file) {
    struct stat found;
    return there("full", NULL) && fstat(file, &found) == 0 && S_ISREG(found.st_mode);
}

ssize_t write(int file, const void *bytes, size_t count) {
    if (!full(file)) return REAL(ssize_t, write, int, const void *, size_t)(file, bytes, count);
    if (count > 1) return REAL(ssize_t, write, int, const void *, size_t)(file, bytes, count / 2);
    errno = ENOSPC;
    return -1;
}

int ftruncate(int file, off_t length) {
    if (!full(file)) return REAL(int, ftruncate, int, off_t)(file, length);
    errno = ENOSPC;
    return -1;
}

int ftruncate64(int file, off64_t length) {
    if (!full(file)) return REAL(int, ftruncate64, int, off64_t)(file, length);
    errno = ENOSPC;
    return -1;
}
