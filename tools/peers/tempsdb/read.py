"""Prints what the real tempsdb finds in databases, one line of JSON each in the shape of make.py's manifest.

    read.py DB...

A series that the library cannot open or read stands there as {"error": "Type: text"}. Series are found by listing the directory
(the library's own listing is broken) and read in ways that its range bugs do not touch: fixed ones chunk by chunk from the
chunk's first timestamp and once more as a whole, variable-length ones from 0.
"""
import itertools
import json
import logging
import os
import sys
import warnings

warnings.simplefilter('ignore')
logging.disable(logging.CRITICAL)

from tempsdb.database import Database  # noqa: E402

TOP = 2 ** 64 - 1
WHOLE_READ_CHUNKS = 200  # each open chunk costs the library two descriptors


def take(iterator, most):
    """Everything that an iterator yields; the library's may not stop."""
    try:
        found = list(itertools.islice(iterator, most + 1))
    finally:
        iterator.close()
    if len(found) > most:
        raise RuntimeError('the iterator does not stop')
    return found


def parameters(folder):
    with open(os.path.join(folder, 'metadata.txt')) as file:
        return json.load(file)


def read_fixed(database, path, name):
    folder = os.path.join(path, name)
    series = database.get_series(name)
    stored = parameters(folder)
    chunks = sorted(int(chunk) for chunk in os.listdir(folder) if not chunk.startswith('metadata.'))
    entries = []
    for first, following in zip(chunks, chunks[1:] + [TOP + 1]):
        entries += take(series.iterate_range(first, following - 1), 1 << 40)
        series.close_chunks()
    if len(chunks) <= WHOLE_READ_CHUNKS and take(series.iterate_range(0, TOP), len(entries)) != entries:
        raise RuntimeError('a whole read differs from reading chunk by chunk')
    if entries and series.get_current_value() != entries[-1]:
        raise RuntimeError('the current value is not the last entry')
    facts = {'block_size': series.block_size, 'max_entries_per_chunk': stored['max_entries_per_chunk'],
             'page_size': stored.get('page_size', 4096), 'metadata': series.metadata,
             'last_entry_synced': series.last_entry_synced, 'chunks': chunks}
    series.close()
    return facts, entries


def read_varlen(database, path, name):
    folder = os.path.join(path, 'varlen', name, 'root')
    series = database.get_varlen_series(name)
    # An empty series' iterator never stops, and an entry at timestamp 0 looks like an empty series.
    holds = len(os.listdir(folder)) > 1
    entries = take(series.iterate_range(0, TOP, True), 1 << 24) if holds else []
    facts = {'length_profile': list(series.length_profile), 'size_struct': parameters(folder)['metadata']['size_field'],
             'max_entries_per_chunk': series.max_entries_per_chunk, 'last_entry_synced': series.last_entry_synced,
             'parts': [[part.name, part.block_size] for part in series.series]}
    series.close(True)
    return facts, entries


def names(folder):
    """Directories that hold a series; ours may hold others, which begin with a dot and have no metadata."""
    for name in sorted(os.listdir(folder)):
        held = os.path.join(folder, name)
        if os.path.isfile(os.path.join(held, 'metadata.txt')) or os.path.isdir(os.path.join(held, 'root')):
            yield name


def read_database(path):
    database = Database(path)
    found = {'metadata': database.metadata or None, 'fixed': {}, 'varlen': {}}
    for kind, read, folder in (('fixed', read_fixed, path), ('varlen', read_varlen, os.path.join(path, 'varlen'))):
        for name in names(folder):
            if (kind, name) == ('fixed', 'varlen'):
                continue
            try:
                facts, entries = read(database, path, name)
                facts['entries'] = [[timestamp, value.hex()] for timestamp, value in entries]
            except Exception as error:
                facts = {'error': '%s: %s' % (type(error).__name__, error)}
            found[kind][name] = facts
    database.close()
    print(json.dumps(found))


def main():
    for path in sys.argv[1:]:
        read_database(path)


if __name__ == '__main__':
    main()
