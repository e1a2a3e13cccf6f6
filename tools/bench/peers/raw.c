/* The floor: records copied one by one into a shared mapping of a file of the final size, and loops over a
 * mapping: a fresh one for the first pass, as a reader has it, else the one that is there. */
#include "peer.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static uint64_t timestamp_at(const unsigned char *records, size_t record_bytes, uint64_t index)
{
    return head_of(records + index * record_bytes);
}

static uint64_t lower_bound(const unsigned char *records, size_t record_bytes, uint64_t count, uint64_t timestamp)
{
    uint64_t low = 0;
    while (count > 0) {
        uint64_t half = count / 2;
        if (timestamp_at(records, record_bytes, low + half) < timestamp) {
            low += half + 1;
            count -= half + 1;
        } else {
            count = half;
        }
    }
    return low;
}

static uint64_t sum_of(const unsigned char *records, size_t record_bytes, uint64_t from, uint64_t to)
{
    uint64_t sum = 0;
    for (uint64_t i = from; i < to; i++)
        sum += timestamp_at(records, record_bytes, i) + head_of(records + i * record_bytes + 8);
    return sum;
}

int main(int argc, char **argv)
{
    struct job job = parse(argc, argv);
    char path[PATH_LENGTH];
    snprintf(path, sizeof path, "%s/raw", job.directory);
    size_t record_bytes = 8 + job.value_bytes, size = record_bytes * job.count;
    int file = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (file < 0)
        die(path);
    unsigned char value[VALUE_MAX] = { 0 };
    double start = now();
    if (ftruncate(file, (off_t)size) != 0)
        die(path);
    unsigned char *records = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (records == MAP_FAILED)
        die(path);
    unsigned char *end = records;
    for (uint64_t timestamp = 1; timestamp <= job.count; timestamp++) {
        fill(value, timestamp);
        memcpy(end, &timestamp, 8);
        memcpy(end + 8, value, job.value_bytes);
        end += record_bytes;
    }
    double seconds = now() - start;
    uint64_t sum = 0, read = 0, state = 88172645463325252u;
    if (is(&job, "rescan"))
        sum = sum_of(records, record_bytes, 0, job.count);
    else
        munmap(records, size);
    start = now();
    if (!is(&job, "rescan"))
        records = mmap(NULL, size, PROT_READ, MAP_SHARED, file, 0);
    if (records == MAP_FAILED)
        die(path);
    if (is(&job, "scan") || is(&job, "rescan")) {
        sum = sum_of(records, record_bytes, 0, job.count);
        read = job.count;
    } else if (!is(&job, "append")) {
        uint64_t length = is(&job, "range") ? RANGE : 1;
        for (int i = 0; i < LOOKUPS; i++) {
            uint64_t timestamp = scattered(&state, job.count - length + 1);
            uint64_t from = lower_bound(records, record_bytes, job.count, timestamp);
            sum += sum_of(records, record_bytes, from, from + length);
            read += length;
        }
    }
    finish(is(&job, "append") ? seconds : now() - start, sum, read);
    return 0;
}
