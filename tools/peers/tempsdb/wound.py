"""Writes the damaged databases of images/damaged/series: each is a copy of one small healthy database with one wound.

    wound.py OUTDIR

The healthy database is written by the real tempsdb: the fixed series `s` has 25 entries, 10, 20, .. 250, in the chunks 10, 110 and
210 (10 to a chunk, pages of 64 bytes), and the variable-length series `v` has 6 values in two parts. A wound is a function of
the database's path below; its doc string is what was done.
"""
import logging
import os
import shutil
import struct
import sys
import tempfile
import warnings

warnings.simplefilter('ignore')
logging.disable(logging.CRITICAL)

from tempsdb.database import create_database  # noqa: E402

RECORD = 16


def healthy_fixed(path):
    database = create_database(path)
    series = database.create_series('s', 8, 10, page_size=64)
    for i in range(1, 26):
        series.append(i * 10, b'value%03d' % i)
    series.close()
    database.close()
    os.rmdir(os.path.join(path, 'varlen'))


def healthy_varlen(path):
    database = create_database(path)
    series = database.create_varlen_series('v', [4, 6], 2, 10)
    for i in range(1, 7):
        series.append(i * 10, b'part0part1'[:i + 4])
    series.close()
    database.close()


def put(path, name, offset, bytes_):
    """Overwrites; a negative offset counts from the end."""
    with open(os.path.join(path, name), 'r+b') as file:
        file.seek(offset, os.SEEK_END if offset < 0 else os.SEEK_SET)
        file.write(bytes_)


def put_count(path, name, count):
    put(path, name, -4, struct.pack('<I', count))


def put_timestamp(path, name, index, timestamp):
    put(path, name, 4 + index * RECORD, struct.pack('<Q', timestamp))


def overwrite(path, name, bytes_):
    with open(os.path.join(path, name), 'wb') as file:
        file.write(bytes_)


def chunk_of_0_bytes(path):
    """The last chunk is empty."""
    os.truncate(os.path.join(path, 's/210'), 0)


def chunk_of_3_bytes(path):
    """The last chunk is cut within its header."""
    os.truncate(os.path.join(path, 's/210'), 3)


def chunk_of_zeros(path):
    """The last chunk has its size but holds zeros only, as after a power cut."""
    overwrite(path, 's/210', bytes(128))


def count_plus_one(path):
    """The last chunk claims 6 entries and holds 5."""
    put_count(path, 's/210', 6)


def count_0(path):
    """The last chunk claims 0 entries and holds 5."""
    put_count(path, 's/210', 0)


def count_huge(path):
    """The last chunk claims 4294967295 entries."""
    put_count(path, 's/210', 2 ** 32 - 1)


def count_small_in_closed_chunk(path):
    """A closed chunk claims 7 of its 10 entries."""
    put_count(path, 's/110', 7)


def truncated(path):
    """The last chunk is cut within its third entry, so that its count is lost."""
    os.truncate(os.path.join(path, 's/210'), 50)


def truncated_closed_chunk(path):
    """The middle chunk is cut within its seventh entry."""
    os.truncate(os.path.join(path, 's/110'), 110)


def zero_page_at_the_end(path):
    """The last chunk was extended by a page of zeros, and the count at the new end never written."""
    os.truncate(os.path.join(path, 's/210'), 192)


def header_block_size(path):
    """The middle chunk's header says 9 byte values."""
    put(path, 's/110', 0, struct.pack('<I', 9))


def first_timestamp(path):
    """The middle chunk's first entry is 111 under the name 110."""
    put_timestamp(path, 's/110', 0, 111)


def order_in_the_middle(path):
    """The fifth entry of the first chunk has timestamp 5 after 40."""
    put_timestamp(path, 's/10', 4, 5)


def overlap(path):
    """The first chunk's last entry is 115, after the next chunk's beginning."""
    put_timestamp(path, 's/10', 9, 115)


def stray_file(path):
    """A file that is no chunk lies in the series."""
    overwrite(path, 's/notes.txt', b'remember the milk\n')


def stray_directory(path):
    """A directory under a chunk's name lies in the series."""
    os.mkdir(os.path.join(path, 's/310'))
    overwrite(path, 's/310/.keep', b'')


def metadata_cut(path):
    """The metadata stops in the middle."""
    overwrite(path, 's/metadata.txt', b'{"block_size": 8, "max_entr')


def metadata_list(path):
    """The metadata is a JSON list."""
    overwrite(path, 's/metadata.txt', b'[]')


def metadata_empty(path):
    """The metadata is an empty file, as the library leaves it when killed while writing it."""
    overwrite(path, 's/metadata.txt', b'')


def metadata_missing(path):
    """There is no metadata."""
    os.remove(os.path.join(path, 's/metadata.txt'))


def metadata_wrong_types(path):
    """The block size is a string."""
    overwrite(path, 's/metadata.txt', b'{"block_size": "8", "max_entries_per_chunk": 10, "last_entry_synced": 0, "page_size": 64}')


def varlen_root_ahead(path):
    """The last value's head was written to the root, its rest was not."""
    put_count(path, 'varlen/v/1/10', 5)
    put(path, 'varlen/v/1/10', 4 + 5 * 14, bytes(14))


def varlen_parts_ahead(path):
    """The last value's rest was written, its head was not."""
    put_count(path, 'varlen/v/root/10', 5)


def varlen_part_missing(path):
    """The directory of the second part is gone."""
    shutil.rmtree(os.path.join(path, 'varlen/v/1'))


def varlen_hole(path):
    """A value in the middle lacks its second part."""
    with open(os.path.join(path, 'varlen/v/1/10'), 'rb') as file:
        records = file.read()[4:4 + 6 * 14]
    put(path, 'varlen/v/1/10', 4, records[:28] + records[42:] + bytes(14))
    put_count(path, 'varlen/v/1/10', 5)


def varlen_length(path):
    """A value claims 65535 bytes."""
    put(path, 'varlen/v/root/10', 4 + 2 * 14 + 8, b'\xff\xff')


WOUNDS = [
    chunk_of_0_bytes, chunk_of_3_bytes, chunk_of_zeros, count_plus_one, count_0, count_huge, count_small_in_closed_chunk, truncated,
    truncated_closed_chunk, zero_page_at_the_end, header_block_size, first_timestamp, order_in_the_middle, overlap, stray_file,
    stray_directory, metadata_cut, metadata_list, metadata_empty, metadata_missing, metadata_wrong_types, varlen_root_ahead,
    varlen_parts_ahead, varlen_part_missing, varlen_hole, varlen_length,
]


def main():
    target = sys.argv[1]
    with tempfile.TemporaryDirectory() as scratch:
        healthy = {False: os.path.join(scratch, 'fixed'), True: os.path.join(scratch, 'varlen')}
        healthy_fixed(healthy[False])
        healthy_varlen(healthy[True])
        for wound in WOUNDS:
            path = os.path.join(target, wound.__name__)
            shutil.copytree(healthy[wound.__name__.startswith('varlen')], path)
            wound(path)
            print('%s: %s' % (wound.__name__, wound.__doc__))


if __name__ == '__main__':
    main()
