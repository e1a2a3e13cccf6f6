/* System calls in a loop, timed: what the mount benchmark runs on a mounted file and on its native twin.
 *
 *     io append PATH WRITE_BYTES COUNT FIRST    COUNT write()s at the end, of 16 byte records: timestamp, zeros
 *     io sequential PATH READ_BYTES             read() from start to end
 *     io random PATH READ_BYTES COUNT           pread() at scattered multiples of READ_BYTES
 *     io stat PATH COUNT | io open PATH COUNT   stat(); open() and close()
 *
 * prints seconds and bytes or calls; making the records is not timed. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { RECORD = 16 };

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static int open_or_die(const char *path, int flags)
{
    int file = open(path, flags, 0600);
    if (file < 0)
        die(path);
    return file;
}

static unsigned char *buffer_of(size_t bytes)
{
    unsigned char *buffer = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
    if (buffer == NULL)
        die("memory");
    memset(buffer, 0, bytes);
    return buffer;
}

static double append(const char *path, size_t bytes, uint64_t count, uint64_t timestamp)
{
    int file = open_or_die(path, O_WRONLY | O_APPEND);
    unsigned char *buffer = buffer_of(bytes);
    double seconds = 0;
    for (uint64_t i = 0; i < count; i++) {
        for (size_t at = 0; at < bytes; at += RECORD, timestamp++)
            memcpy(buffer + at, &timestamp, sizeof timestamp);
        double start = now();
        if (write(file, buffer, bytes) != (ssize_t)bytes)
            die(path);
        seconds += now() - start;
    }
    if (close(file) != 0)
        die(path);
    return seconds;
}

static double sequential(const char *path, size_t bytes, uint64_t *total)
{
    unsigned char *buffer = buffer_of(bytes);
    double start = now();
    int file = open_or_die(path, O_RDONLY);
    ssize_t got;
    while ((got = read(file, buffer, bytes)) > 0)
        *total += (uint64_t)got;
    if (got < 0)
        die(path);
    close(file);
    return now() - start;
}

static double scattered(const char *path, size_t bytes, uint64_t count)
{
    unsigned char *buffer = buffer_of(bytes);
    int file = open_or_die(path, O_RDONLY);
    struct stat facts;
    if (fstat(file, &facts) != 0)
        die(path);
    uint64_t places = (uint64_t)facts.st_size / bytes, state = 88172645463325252u;
    double start = now();
    for (uint64_t i = 0; i < count; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        if (pread(file, buffer, bytes, (off_t)(state % places * bytes)) != (ssize_t)bytes)
            die(path);
    }
    return now() - start;
}

static double names(const char *path, uint64_t count, int opens)
{
    struct stat facts;
    double start = now();
    for (uint64_t i = 0; i < count; i++) {
        if (opens)
            close(open_or_die(path, O_RDONLY));
        else if (stat(path, &facts) != 0)
            die(path);
    }
    return now() - start;
}

int main(int argc, char **argv)
{
    if (argc < 4) {
        fprintf(stderr, "usage: %s append|sequential|random|stat|open PATH NUMBER...\n", argv[0]);
        return 64;
    }
    uint64_t number[3] = { 0 };
    for (int i = 3; i < argc && i < 6; i++)
        number[i - 3] = strtoull(argv[i], NULL, 10);
    double seconds;
    uint64_t done = number[1];
    if (strcmp(argv[1], "append") == 0)
        seconds = append(argv[2], number[0], number[1], number[2]);
    else if (strcmp(argv[1], "sequential") == 0)
        done = 0, seconds = sequential(argv[2], number[0], &done);
    else if (strcmp(argv[1], "random") == 0)
        seconds = scattered(argv[2], number[0], number[1]);
    else
        done = number[0], seconds = names(argv[2], number[0], strcmp(argv[1], "open") == 0);
    printf("%.9f %llu\n", seconds, (unsigned long long)done);
    return 0;
}
