"""Appends to an existing series with the real tempsdb, then syncs and closes it.

    append.py DB fixed|varlen NAME < lines

A line is a JSON list: timestamp, value in hex. Prints how many entries were appended.
"""
import json
import logging
import sys
import warnings

warnings.simplefilter('ignore')
logging.disable(logging.CRITICAL)

from tempsdb.database import Database  # noqa: E402


def main():
    path, kind, name = sys.argv[1:]
    database = Database(path)
    series = database.get_series(name) if kind == 'fixed' else database.get_varlen_series(name)
    count = 0
    for line in sys.stdin:
        timestamp, value = json.loads(line)
        series.append(timestamp, bytes.fromhex(value))
        count += 1
    series.sync()
    series.close()
    database.close()
    print(count)


if __name__ == '__main__':
    main()
