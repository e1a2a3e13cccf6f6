#!/usr/bin/env python3
"""Writes the damaged tapes of images/damaged/tape into the directory argv[2], each the golden tape argv[1] with one wound."""
import lzma
import pathlib
import struct
import sys

RECORD = 10 * 1024
golden = pathlib.Path(sys.argv[1]).read_bytes()
records = [golden[at : at + RECORD] for at in range(0, len(golden), RECORD)]


def without(number, *instead):
    return b"".join(records[:number] + list(instead) + records[number + 1 :])


def flipped(at):
    return golden[:at] + bytes([golden[at] ^ 1]) + golden[at + 1 :]


def tap(bad):
    """A SIMH image in which the drive could read nothing of one record."""
    word = struct.pack("<I", RECORD)
    out = [b"\0\0\0\x80" * 2 if at == bad else word + record + word for at, record in enumerate(records)]
    return b"".join(out) + b"\0" * 8 + b"\xff" * 4


wounds = {
    "zeroed_record": without(13, bytes(RECORD)),
    "flipped_header": flipped(79 * 1024 + 40),
    "missing_record": without(5),
    "truncated": golden[: 200 * 1024],
    "repeated_record": without(16, records[16], records[16]),
    "zeroed_beginning": without(0, bytes(RECORD)),
    "bad_record": tap(13),
}
for name, tape in wounds.items():
    folder = pathlib.Path(sys.argv[2]) / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tape.xz").write_bytes(lzma.compress(tape))
