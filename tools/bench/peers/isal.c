/* ISA-L's erasure code and RAID functions on the buffers that the benchmark of parity uses.
 *
 *     isal p|pq|check|one|two CHUNKS STRIPES SECONDS
 *
 * goes over STRIPES stripes of CHUNKS data buffers of 256 KiB (1 stripe stays in the cache, many do not) for about SECONDS
 * and prints bytes of data per second: making P; making P and Q; checking P and Q; making one or two chunks again of CHUNKS
 * others with factors that are neither 0 nor 1. */
#include <isa-l.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { BUFFER = 256 * 1024, CHUNKS_MAX = 32 };

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static int run(const char *workload, int chunks, void **stripe, unsigned char *tables)
{
    unsigned char **buffers = (unsigned char **)stripe;
    if (!strcmp(workload, "p"))
        return xor_gen(chunks + 1, BUFFER, stripe);
    if (!strcmp(workload, "pq"))
        return pq_gen(chunks + 2, BUFFER, stripe);
    if (!strcmp(workload, "check"))
        return pq_check(chunks + 2, BUFFER, stripe);
    ec_encode_data(BUFFER, chunks, strcmp(workload, "one") ? 2 : 1, tables, buffers, buffers + chunks);
    return 0;
}

int main(int argc, char **argv)
{
    int chunks = argc == 5 ? atoi(argv[2]) : 0, stripes = argc == 5 ? atoi(argv[3]) : 0;
    if (chunks < 2 || chunks > CHUNKS_MAX || stripes < 1) {
        fprintf(stderr, "usage: %s p|pq|check|one|two CHUNKS STRIPES SECONDS\n", argv[0]);
        return 64;
    }
    double seconds = atof(argv[4]);
    void **buffers = calloc((size_t)stripes * (chunks + 2), sizeof *buffers);
    for (int i = 0; i < stripes * (chunks + 2); i++) {
        buffers[i] = aligned_alloc(4096, BUFFER);
        for (int at = 0; at < BUFFER; at++)
            ((unsigned char *)buffers[i])[at] = (unsigned char)(at * 7 + i * 13 + (at >> 8));
    }
    unsigned char factors[2 * CHUNKS_MAX], tables[2 * CHUNKS_MAX * 32];
    for (int i = 0; i < 2 * chunks; i++)
        factors[i] = (unsigned char)(3 + 5 * i);
    ec_init_tables(chunks, 2, factors, tables);
    for (int i = 0; i < stripes; i++)
        run(strcmp(argv[1], "check") ? argv[1] : "pq", chunks, buffers + (size_t)i * (chunks + 2), tables);
    double start = now(), end;
    uint64_t passes = 0;
    int wrong = 0;
    do {
        for (int i = 0; i < stripes; i++)
            wrong |= run(argv[1], chunks, buffers + (size_t)i * (chunks + 2), tables);
        passes += (uint64_t)stripes;
        end = now();
    } while (end - start < seconds);
    if (wrong) {
        fprintf(stderr, "%s failed\n", argv[1]);
        return 1;
    }
    printf("%.0f\n", (double)passes * chunks * BUFFER / (end - start));
    return 0;
}
