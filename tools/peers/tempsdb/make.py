"""Writes a varied database with the real tempsdb, and a manifest of everything that a reader must find in it.

    make.py OUTDIR [--golden]

OUTDIR/db is the database, OUTDIR/manifest.json says what is in it:

    metadata   of the database, or null
    fixed      NAME: block_size, max_entries_per_chunk, page_size, metadata, last_entry_synced, chunks (first timestamps),
               entries [[timestamp, value in hex], ..]; trimmed series: also `written`, all entries, and `trim`, the bound
    varlen     NAME: length_profile, size_struct, max_entries_per_chunk, last_entry_synced, parts [[name, block_size], ..], entries
    ranges     [kind, name, from, to, count, first, last]: what {from <= timestamp <= to} holds; first and last are null if nothing

The same arguments always give the same bytes. --golden leaves out what is large. Releases before 0.6 write what they can:
only the default page size and no metadata of the database, and before 0.5 neither metadata of
series nor variable-length series.
"""
import json
import logging
import os
import random
import sys
import warnings
from importlib.metadata import version

warnings.simplefilter('ignore')
logging.disable(logging.CRITICAL)

from tempsdb.database import create_database  # noqa: E402

TOP = 2 ** 64 - 1
STRANGE_NAMES = ('two words', 'żółć', '.hidden', '123', 'name.gz', '-', 'n' * 255, 'root', '0', 'UPPER', 'a,b;c"d\'e\\f', '%41')


class Maker:
    def __init__(self, directory, golden):
        self.random = random.Random(64)
        self.golden = golden
        self.database_path = os.path.join(directory, 'db')
        self.database = create_database(self.database_path)
        self.manifest = {'metadata': None, 'fixed': {}, 'varlen': {}, 'ranges': []}

    def value(self, length):
        return bytes(self.random.getrandbits(8) for _ in range(length))

    def run(self, count, block_size, start=1, step=1):
        return [(start + i * step, self.value(block_size)) for i in range(count)]

    def fixed(self, name, block_size, per_chunk, entries, page_size=4096, metadata=None, synced=None, padded=False, trim=None):
        series = self.database.create_series(name, block_size, per_chunk, page_size=page_size)
        written = [(timestamp, value.ljust(block_size, b'\0')) for timestamp, value in entries]
        if padded and release() >= (0, 5):
            for timestamp, value in entries:
                series.append_padded(timestamp, value)
        else:
            for timestamp, value in written:
                series.append(timestamp, value)
        if release() < (0, 5):
            metadata = None
        if metadata is not None:
            series.set_metadata(metadata)
        if synced is not None:
            series.mark_synced_up_to(synced)
        series.close()
        if trim is not None:
            series = self.database.get_series(name)
            series.trim(trim)
            series.close()
        names = os.listdir(os.path.join(self.database_path, name))
        chunks = sorted(int(chunk) for chunk in names if not chunk.startswith('metadata'))
        kept = [entry for entry in written if entry[0] >= chunks[0]] if chunks else []
        facts = {'block_size': block_size, 'max_entries_per_chunk': per_chunk, 'page_size': page_size or 4096, 'metadata': metadata,
                 'last_entry_synced': synced or 0, 'chunks': chunks, 'entries': hexed(kept)}
        if trim is not None:
            facts.update(written=hexed(written), trim=trim)
        self.manifest['fixed'][name] = facts
        self.ranges('fixed', name, kept)

    def varlen(self, name, profile, size_struct, per_chunk, entries, synced=None):
        series = self.database.create_varlen_series(name, profile, size_struct, per_chunk)
        for timestamp, value in entries:
            series.append(timestamp, value)
        if synced is not None:
            series.mark_synced_up_to(synced)
        try:
            series.close(True)
        except TypeError:
            series.close()
        parts = []
        folder = os.path.join(self.database_path, 'varlen', name)
        for part in sorted(os.listdir(folder), key=lambda part: 0 if part == 'root' else int(part)):
            with open(os.path.join(folder, part, 'metadata.txt')) as file:
                parts.append([part, json.load(file)['block_size']])
        self.manifest['varlen'][name] = {
            'length_profile': profile, 'size_struct': size_struct, 'max_entries_per_chunk': per_chunk,
            'last_entry_synced': synced or 0, 'parts': parts, 'entries': hexed(entries)}
        self.ranges('varlen', name, entries)

    def ranges(self, kind, name, entries):
        """Bounds on entries, beside them, in gaps, before the first and after the last."""
        stamps = [entry[0] for entry in entries]
        bounds = {(0, TOP), (0, 0), (TOP, TOP)}
        if stamps:
            bounds |= {(stamps[0], stamps[-1]), (stamps[-1], TOP), (0, stamps[0]), (0, max(stamps[0], 1) - 1)}
            bounds.add((min(stamps[-1] + 1, TOP), TOP))
            for _ in range(12):
                pair = [min(max(self.random.choice(stamps) + self.random.randint(-3, 3), 0), TOP) for _ in range(2)]
                bounds.add((min(pair), max(pair)))
        for low, high in sorted(bounds):
            inside = [stamp for stamp in stamps if low <= stamp <= high]
            ends = [inside[0], inside[-1]] if inside else [None, None]
            self.manifest['ranges'].append([kind, name, low, high, len(inside)] + ends)

    def fixed_series(self):
        self.fixed('chunks_full', 8, 100, self.run(300 if self.golden else 1000, 8))
        self.fixed('chunk_half_full', 8, 100, self.run(250, 8, 1600000000000, 1000))
        self.fixed('one_byte', 1, 1000, self.run(300, 1))
        self.fixed('page_just_full', 8, 1000, self.run(255, 8))
        self.fixed('page_and_one', 8, 1000, self.run(256, 8))
        self.fixed('annotated', 24, 5000, self.run(120 if self.golden else 2500, 24, 7, 3), synced=300,
                   metadata={'unit': 'kPa', 'nested': {'a': [1, 2.5, None, True, 'ż']}})
        self.fixed('chunk_each', 8, 1, self.run(25, 8, 5, 5))
        self.fixed('empty', 16, 10, [], page_size=4096)
        self.fixed('one', 4, 10, self.run(1, 4, 42))
        stamps = (0, 1, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 53 + 1, 2 ** 63 - 1, 2 ** 63, TOP - 1, TOP)
        self.fixed('extremes', 8, 3, [(stamp, self.value(8)) for stamp in stamps])
        self.fixed('zeros', 8, 4, [(stamp, bytes(8)) for stamp in range(1, 11)])
        self.fixed('padded', 8, 4, [(stamp, self.value(stamp % 9)) for stamp in range(1, 20)], padded=True)
        stamp, gaps = 10, []
        for _ in range(100 if self.golden else 400):
            stamp += self.random.choice((1, 1, 2, 50, 1000))
            gaps.append((stamp, self.value(12)))
        self.fixed('gaps', 12, 37, gaps)
        self.fixed('trimmed', 8, 10, self.run(100, 8, 10, 10), trim=555)
        for name in STRANGE_NAMES:
            self.fixed(name, 8, 5, self.run(7, 8))

    def paged_series(self):
        """Other page sizes than the default, which releases before 0.6 get wrong."""
        self.fixed('page_64', 8, 50, self.run(120, 8), page_size=64)
        self.fixed('page_5000', 32, 1000, self.run(200 if self.golden else 700, 32), page_size=5000)
        self.fixed('empty_annotated', 16, 10, [], metadata={}, synced=12345)
        self.fixed('default_page', 8, 100, self.run(20, 8), page_size=0)
        if not self.golden:
            self.fixed('page_65536', 8, 10000, self.run(9000, 8), page_size=65536)
            self.fixed('page_1m', 8, 10, self.run(15, 8), page_size=1 << 20)
            self.fixed('block_4080', 4080, 10, self.run(3, 4080))
            self.fixed('block_4084', 4084, 10, self.run(3, 4084))
            self.fixed('block_4088', 4088, 10, self.run(12, 4088))

    def varlen_series(self):
        lengths = (0, 1, 2, 9, 10, 11, 19, 20, 21, 100, 264, 265, 266, 519, 520, 521, 1024, 1100)
        self.varlen('borders', [10, 255], 2, 7, [(i + 1, self.value(n)) for i, n in enumerate(lengths)], synced=5)
        self.varlen('size_1', [1], 1, 100, [(i * 2, self.value(n)) for i, n in enumerate((0, 1, 2, 3, 50, 255))])
        lengths = (0, 15, 16, 17, 40, 80, 81, 336, 337, 1000)
        count = 30 if self.golden else 150
        self.varlen('size_3', [16, 64, 256], 3, 20, [(100 + i, self.value(self.random.choice(lengths))) for i in range(count)])
        count = 60 if self.golden else 300
        self.varlen('size_4', [4, 4, 32], 4, 1000, [(i * i + 1, self.value(self.random.randint(0, 90))) for i in range(count)])
        self.varlen('zeros', [8, 8], 2, 5, [(i + 1, bytes(i)) for i in range(40)])
        self.varlen('sparse', [4, 4], 2, 2, [(i, self.value(2 if i % 5 else 8)) for i in range(1, 61)])
        self.varlen('empty', [16], 2, 10, [])
        self.varlen('chunks_full', [16, 64], 2, 10, [(i + 1, self.value(i)) for i in range(30)])  # a fixed series has this name too
        self.varlen('v żółć', [5], 1, 3, [(i + 1, self.value(i * 7 % 23)) for i in range(12)])
        if not self.golden:
            self.varlen('forty', [16, 64, 256], 2, 100, [(i + 1, self.value(40)) for i in range(500)])
            self.varlen('big', [100, 4080], 4, 50, [(1, self.value(20000)), (2, self.value(5)), (3, self.value(70000))])

    def finish(self, path):
        if release() >= (0, 6):  # 0.5.4 stores it one level deeper
            self.manifest['metadata'] = {'owner': 'make.py', 'list': [1, 2, 3], 'text': 'ż'}
            self.database.set_metadata(self.manifest['metadata'])
        self.database.close()
        with open(path, 'w') as file:
            json.dump(self.manifest, file)


def hexed(entries):
    return [[timestamp, value.hex()] for timestamp, value in entries]


def release():
    """Version of the library, major and minor."""
    return tuple(int(part) for part in version('tempsdb').split('.')[:2])


def main():
    directory = sys.argv[1]
    os.makedirs(directory)
    maker = Maker(directory, '--golden' in sys.argv[2:])
    maker.fixed_series()
    if release() >= (0, 6):
        maker.paged_series()
    if release() >= (0, 5):
        maker.varlen_series()
    maker.finish(os.path.join(directory, 'manifest.json'))


if __name__ == '__main__':
    main()
