/* The wall clock of a process, set off by the seconds in the file that CHAOS_WALLCLOCK names; read anew while it runs.
 *
 * For LD_PRELOAD (`tests.chaos.faults.wallclock` compiles it). Only the wall clock jumps: CLOCK_MONOTONIC goes on, as on
 * a machine whose clock is set. Waits go by CLOCK_MONOTONIC in Python and in glibc's own timers, and are left alone.
 * System calls are made directly: looking up the functions that are replaced here would call them.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define READ_EVERY_NS 50000000LL

static _Atomic long long offset;  /* seconds */
static _Atomic long long read_at; /* CLOCK_MONOTONIC, nanoseconds */

static long long seconds_off(void) {
    struct timespec now;
    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
    long long moment = now.tv_sec * 1000000000LL + now.tv_nsec;
    if (read_at != 0 && moment - read_at < READ_EVERY_NS) return offset;
    read_at = moment;
    int kept = errno;
    const char *path = getenv("CHAOS_WALLCLOCK");
    int file = path ? (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC) : -1;
    if (file >= 0) {
        char text[32];
        long count = syscall(SYS_read, file, text, sizeof text - 1);
        syscall(SYS_close, file);
        if (count > 0) { /* empty while it is being written: the former offset holds */
            text[count] = 0;
            offset = strtoll(text, NULL, 10);
        }
    }
    errno = kept;
    return offset;
}

int clock_gettime(clockid_t clock, struct timespec *found) {
    long status = syscall(SYS_clock_gettime, clock, found);
    if (status == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) found->tv_sec += seconds_off();
    return (int)status;
}

int gettimeofday(struct timeval *restrict found, void *restrict zone) {
    struct timespec now;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &now) != 0) return -1;
    found->tv_sec = now.tv_sec;
    found->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *found) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (found) *found = now.tv_sec;
    return now.tv_sec;
}
