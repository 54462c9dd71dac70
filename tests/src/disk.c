/* A disk that fails, seen from one program: preloaded, this stands between the program and its C library.
 *
 * Concerned are the files whose path starts with FAULTY_DISK.
 *
 * FAULTY_DISK_SYNC=FIRST:COUNT  so many calls of fsync, from the FIRST (1, 2, ...) on, fail with EIO; COUNT 0 is all of them.
 * FAULTY_DISK_ROOM=BYTES        the files may grow by so much together, then writing fails with ENOSPC.
 * FAULTY_DISK_DURABLE=1         after every fsync that succeeded the file is copied to FILE.durable: that copy is what a
 *                               power cut would leave of it, for nothing else is promised to be on the disk.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static long syncs;
static off_t grown;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* The path of a concerned file. */
static int concerned(int fd, char path[PATH_MAX]) {
    const char *prefix = getenv("FAULTY_DISK");
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = prefix ? readlink(link, path, PATH_MAX - 1) : -1;
    if (length < 0) return 0;
    path[length] = 0;
    return strncmp(path, prefix, strlen(prefix)) == 0;
}

static void keep(const char *path) {
    char kept[PATH_MAX + 16], fresh[PATH_MAX + 16], buffer[65536];
    snprintf(kept, sizeof kept, "%s.durable", path);
    snprintf(fresh, sizeof fresh, "%s.copying", path);
    int from = open(path, O_RDONLY), to = open(fresh, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ssize_t length;
    while ((length = read(from, buffer, sizeof buffer)) > 0)
        if (REAL(write)(to, buffer, length) != length) abort();
    close(from);
    close(to);
    /* At once: the program may be killed at any time. */
    if (length < 0 || rename(fresh, kept) != 0) abort();
}

static int synced(int fd, int (*real)(int)) {
    char path[PATH_MAX];
    if (!concerned(fd, path)) return real(fd);
    pthread_mutex_lock(&turn);
    const char *fault = getenv("FAULTY_DISK_SYNC");
    long first = 0, count = 0;
    int failed = 0;
    if (fault && sscanf(fault, "%ld:%ld", &first, &count) == 2) {
        syncs++;
        failed = syncs >= first && (count == 0 || syncs < first + count);
    }
    int result = failed ? -1 : real(fd);
    if (result == 0 && getenv("FAULTY_DISK_DURABLE")) keep(path);
    pthread_mutex_unlock(&turn);
    if (failed) errno = EIO;
    return result;
}

/* Whether the file may hold `length` bytes from `offset` on; a negative offset is the file's own. */
static int has_room(int fd, off_t offset, size_t length) {
    char path[PATH_MAX];
    struct stat file;
    const char *room = getenv("FAULTY_DISK_ROOM");
    if (!room || !concerned(fd, path) || fstat(fd, &file) != 0) return 1;
    if (offset < 0) offset = lseek(fd, 0, SEEK_CUR);
    off_t more = offset + (off_t)length - file.st_size;
    pthread_mutex_lock(&turn);
    int fits = more <= 0 || grown + more <= atoll(room);
    if (fits && more > 0) grown += more;
    pthread_mutex_unlock(&turn);
    if (!fits) errno = ENOSPC;
    return fits;
}

int fsync(int fd) { return synced(fd, REAL(fsync)); }

int fdatasync(int fd) { return synced(fd, REAL(fdatasync)); }

ssize_t write(int fd, const void *bytes, size_t length) {
    return has_room(fd, -1, length) ? REAL(write)(fd, bytes, length) : -1;
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) {
    return has_room(fd, offset, length) ? REAL(pwrite)(fd, bytes, length, offset) : -1;
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset) {
    return has_room(fd, offset, length) ? REAL(pwrite64)(fd, bytes, length, offset) : -1;
}
