/* What the benchmark's C peers share: the command line, a clock, the workload's timestamps and values.
 *
 *     PEER append|scan|rescan|point|range VALUE_BYTES COUNT DIRECTORY
 *
 * fills a fresh store in DIRECTORY with COUNT records, timestamps 1, 2, .., and prints the seconds that the workload took:
 * the filling itself; the first pass over all records, or the second; LOOKUPS lookups of one record; LOOKUPS lookups of RANGE records in a row.
 * Every record read adds its timestamp and the first 8 bytes of its value to a sum, which is checked at the end. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { RANGE = 100, LOOKUPS = 100000, VALUE_MAX = 4096, PATH_LENGTH = 4096 };

struct job {
    const char *workload;
    size_t value_bytes;
    uint64_t count;
    const char *directory;
};

static struct job parse(int argc, char **argv)
{
    if (argc != 5) {
        fprintf(stderr, "usage: %s append|scan|rescan|point|range VALUE_BYTES COUNT DIRECTORY\n", argv[0]);
        exit(64);
    }
    struct job job = { argv[1], strtoull(argv[2], NULL, 10), strtoull(argv[3], NULL, 10), argv[4] };
    if (job.value_bytes < 8 || job.value_bytes > VALUE_MAX || job.count < 2 * RANGE) {
        fprintf(stderr, "%s: values of 8 to %d bytes, at least %d records\n", argv[0], VALUE_MAX, 2 * RANGE);
        exit(64);
    }
    return job;
}

static int is(const struct job *job, const char *workload)
{
    return strcmp(job->workload, workload) == 0;
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

/* The value of a record: its timestamp's complement, then zeros. */
static void fill(unsigned char *value, uint64_t timestamp)
{
    uint64_t head = ~timestamp;
    memcpy(value, &head, sizeof head);
}

static uint64_t head_of(const void *value)
{
    uint64_t head;
    memcpy(&head, value, sizeof head);
    return head;
}

/* Timestamps to look up: 1 .. limit, scattered, the same in every peer. */
static uint64_t scattered(uint64_t *state, uint64_t limit)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state % limit + 1;
}

/* A record's timestamp and head add up to all ones, that is -1. */
static void finish(double seconds, uint64_t sum, uint64_t records_read)
{
    if (sum != (uint64_t)0 - records_read) {
        fprintf(stderr, "read the wrong records\n");
        exit(1);
    }
    printf("%.9f\n", seconds);
}
