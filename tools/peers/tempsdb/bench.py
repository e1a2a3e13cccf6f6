"""The real tempsdb at the benchmark's workloads.

    bench.py append|scan|point|range|varlen|varlen-scan|footprint VALUE_BYTES COUNT DIRECTORY

As the C peers in tools/bench/peers do, fills a fresh database with COUNT records, timestamps 1, 2, .., 100,000 to a chunk, and
prints the seconds that the workload took; point and range do LOOKUPS lookups. varlen appends to a series with the length
profile [16, 64, 256], varlen-scan reads it as bytes. footprint scans COUNT chunks of 100 records and prints descriptors, mappings and resident bytes gained.
"""
import itertools
import logging
import os
import struct
import sys
import time
import warnings

warnings.simplefilter('ignore')
logging.disable(logging.CRITICAL)

from tempsdb.database import create_database  # noqa: E402

LOOKUPS = 2000
RANGE = 100


def scattered(limit):
    state = 88172645463325252
    while True:
        state ^= state << 13 & 2 ** 64 - 1
        state ^= state >> 7
        state ^= state << 17 & 2 ** 64 - 1
        yield state % limit + 1


def fill(series, value_bytes, count):
    value = bytes(value_bytes)
    append = series.append
    start = time.perf_counter()
    for timestamp in range(1, count + 1):
        append(timestamp, value)
    return time.perf_counter() - start


def read(iterator):
    count = 0
    advance = iterator.next_item
    while advance() is not None:
        count += 1
    iterator.close()
    return count


def lookups(series, count, length):
    start = time.perf_counter()
    for first in itertools.islice(scattered(count - length + 1), LOOKUPS):
        assert read(series.iterate_range(first, first + length - 1)) == length
    return time.perf_counter() - start


def held():
    """Descriptors, mappings and resident bytes of this process."""
    with open('/proc/self/maps') as maps, open('/proc/self/statm') as statm:
        return len(os.listdir('/proc/self/fd')), len(maps.readlines()), int(statm.read().split()[1]) * 4096


def footprint(database, value_bytes, count):
    series = database.create_series('s', value_bytes, 100, page_size=4096)
    fill(series, value_bytes, 10)
    series.close()
    folder = os.path.join(database.path, 's')
    value = bytes(value_bytes)
    os.remove(os.path.join(folder, '1'))
    for chunk in range(count):  # written by hand: the library runs out of descriptors while it appends this many
        first = chunk * 100 + 1
        body = struct.pack('<I', value_bytes) + b''.join(struct.pack('<Q', first + i) + value for i in range(100))
        size = -(-(len(body) + 4) // 4096) * 4096
        with open(os.path.join(folder, str(first)), 'wb') as file:
            file.write(body.ljust(size - 4, b'\0') + struct.pack('<I', 100))
    series = database.get_series('s')
    before = held()
    assert read(series.iterate_range(1, count * 100)) == count * 100
    print(*(now - then for now, then in zip(held(), before)))


def main():
    workload, value_bytes, count, directory = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    database = create_database(os.path.join(directory, 'tempsdb'))
    if workload == 'footprint':
        return footprint(database, value_bytes, count)
    if workload.startswith('varlen'):
        series = database.create_varlen_series('v', [16, 64, 256], 2, 100000)
        seconds = fill(series, value_bytes, count)
    else:
        series = database.create_series('s', value_bytes, 100000, page_size=4096)
        seconds = fill(series, value_bytes, count)
    if workload == 'scan':
        start = time.perf_counter()
        assert read(series.iterate_range(1, count)) == count
        seconds = time.perf_counter() - start
    elif workload == 'varlen-scan':
        start = time.perf_counter()
        assert sum(1 for _ in itertools.islice(series.iterate_range(0, count, True), count)) == count
        seconds = time.perf_counter() - start
    elif workload in ('point', 'range'):
        seconds = lookups(series, count, RANGE if workload == 'range' else 1)
    print('%.9f' % seconds)


if __name__ == '__main__':
    main()
