/* Preloaded into a node: a wall clock that is off, and a disk that is full.
 *
 * NEMESIS_CLOCK names a file with a number of seconds, by which the wall clock is ahead. While the file that NEMESIS_FULL
 * names is there, whatever would take room on a disk fails with ENOSPC; a file beside it, NAME.hit, says that it did.
 * What nodes log and send goes through write and send, which are left alone. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define REAL(type, name, ...) ((type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name))

static long ahead(void) {
    const char *path = getenv("NEMESIS_CLOCK");
    char text[32] = {0};
    int before = errno;
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file >= 0) {
        if (read(file, text, sizeof text - 1) < 0) text[0] = 0;
        close(file);
    }
    errno = before;
    return atol(text);
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    int result = REAL(int, clock_gettime, clockid_t, struct timespec *)(clock, time);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) time->tv_sec += ahead();
    return result;
}

int gettimeofday(struct timeval *restrict time, void *restrict zone) {
    int result = REAL(int, gettimeofday, struct timeval *, void *)(time, zone);
    if (result == 0) time->tv_sec += ahead();
    return result;
}

static int full(void) {
    const char *path = getenv("NEMESIS_FULL");
    char hit[4096];
    if (!path || access(path, F_OK) != 0) return 0;
    snprintf(hit, sizeof hit, "%s.hit", path);
    int file = open(hit, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (file >= 0) close(file);
    errno = ENOSPC;
    return 1;
}

ssize_t pwrite(int file, const void *bytes, size_t count, off_t at) {
    return full() ? -1 : REAL(ssize_t, pwrite, int, const void *, size_t, off_t)(file, bytes, count, at);
}

ssize_t pwrite64(int file, const void *bytes, size_t count, off64_t at) {
    return full() ? -1 : REAL(ssize_t, pwrite64, int, const void *, size_t, off64_t)(file, bytes, count, at);
}

int ftruncate(int file, off_t length) {
    return full() ? -1 : REAL(int, ftruncate, int, off_t)(file, length);
}

int ftruncate64(int file, off64_t length) {
    return full() ? -1 : REAL(int, ftruncate64, int, off64_t)(file, length);
}

int fsync(int file) {
    return full() ? -1 : REAL(int, fsync, int)(file);
}

int fdatasync(int file) {
    return full() ? -1 : REAL(int, fdatasync, int)(file);
}
