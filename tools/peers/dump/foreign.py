#!/usr/bin/env python3
"""Writes the tree $3 to standard output as a tape of a program that is not to be had here, in the form $1 and the byte order $2.

Forms: `ufs2` (FreeBSD 14, magic 0x19540119), `bsd43` (4.3BSD, magic 60012 with inodes and directories of the old form),
`old` (before 4.2BSD, magic 60011, directories in entries of 16 bytes). Laid out by hand from protocols/dumprestore.h and
sbin/restore of FreeBSD and from no code of this project. Byte orders: `little`, `big`.

With the form `swapped` $3 is a tape of dump of Linux instead, a stream, and what is written is the same tape as a
machine of the other byte order writes it; $2 means nothing then.
"""
import os
import stat
import struct
import sys

BLOCK = 1024
DATE = 500_000_000


def checked(block, order):
    """The header with the checksum that its byte order needs."""
    words = struct.unpack(order + "256I", block)
    missing = (84446 - sum(words) + words[7]) & 0xFFFFFFFF
    return block[:28] + struct.pack(order + "I", missing) + block[32:]


class Tape:
    """Headers of one form and byte order."""

    def __init__(self, form, order):
        self.form, self.order, self.blocks = form, order, []
        self.cells_max = 256 if form == "old" else 512

    def header(self, kind, number, count=0, cells=b"", state=None, size=0):
        """One header, with facts about an object where there is one."""
        order, at = self.order, len(self.blocks)
        block = bytearray(BLOCK)

        def put(offset, form, *values):
            struct.pack_into(order + form, block, offset, *values)

        mode, links, uid, gid, atime, mtime, ctime, device = 0, 0, 0, 0, 0, 0, 0, 0
        if state:
            mode, links, uid, gid = state.st_mode, state.st_nlink, state.st_uid, state.st_gid
            atime, mtime, ctime = state.st_atime_ns, state.st_mtime_ns, state.st_ctime_ns
            if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
                device = os.major(state.st_rdev) << 8 | os.minor(state.st_rdev)
        if self.form == "old":
            put(0, "5i", kind, DATE, 0, 1, at)
            put(20, "H", number)
            put(24, "I", 60011)
            put(32, "4H2I", mode, links, uid, gid, size, device)
            put(84, "3i", atime // 10**9, mtime // 10**9, ctime // 10**9)
            put(96, "i", count)
            block[100 : 100 + len(cells)] = cells
        else:
            put(0, "i", kind)
            put(12, "i", 1)
            put(20, "I", number)
            put(32, "H", mode)
            put(40, "Q", size)
            put(72, "I", device)
            put(160, "i", count)
            block[164 : 164 + len(cells)] = cells
            block[676:681] = b"label"
            block[696:700] = b"/old"
            block[824:828] = b"host"
            if self.form == "ufs2":
                put(24, "I", 0x19540119)
                put(52, "i", atime % 10**9)
                put(60, "i", mtime % 10**9)
                put(80, "3q", 0, atime // 10**9, mtime // 10**9)
                put(144, "2I", uid, gid)
                put(888, "I", 3)
                put(896, "4q", DATE, 0, at, 0)
            else:
                put(4, "2i", DATE, 0)
                put(16, "i", at)
                put(24, "I", 60012)
                put(34, "3H", links, uid, gid)
                put(48, "i4xi4xi4x", atime // 10**9, mtime // 10**9, ctime // 10**9)
                put(888, "I", 1)
        self.blocks.append(checked(bytes(block), order))

    def map(self, kind, numbers):
        """A map of numbers, a block for 8192 of them."""
        bits = bytearray(BLOCK * (max(numbers) // (8 * BLOCK) + 1))
        for number in numbers:
            bits[(number - 1) // 8] |= 1 << (number - 1) % 8
        self.header(kind, max(numbers), count=len(bits) // BLOCK)
        self.blocks += [bytes(bits[at : at + BLOCK]) for at in range(0, len(bits), BLOCK)]

    def object(self, number, state, data):
        """An object with its data, in as many segments as it takes; cells of zeros are holes."""
        cells = [data[at : at + BLOCK].ljust(BLOCK, b"\0") for at in range(0, len(data), BLOCK)]
        kind = 2
        while kind == 2 or cells:
            now, cells = cells[: self.cells_max], cells[self.cells_max :]
            is_data = bytes(int(any(cell) or not stat.S_ISREG(state.st_mode)) for cell in now)
            self.header(kind, number, len(now), is_data, state, len(data))
            self.blocks += [cell for cell, there in zip(now, is_data) if there]
            kind = 4

    def directory(self, entries):
        """Data of a directory: pairs of number and name, with types where the form has them."""
        order, chunks = self.order, [b""]
        if self.form == "old":
            data = b"".join(struct.pack(order + "H14s", number, name) for number, name, _ in entries)
            return data
        last = 0
        for number, name, mode in entries:
            length = (len(name) + 12) & ~3
            if len(chunks[-1]) + length > 512:
                chunks[-1] = self.stretched(chunks[-1], last)
                chunks.append(b"")
            last = len(chunks[-1])
            if self.form == "ufs2":
                head = struct.pack(order + "IHBB", number, length, mode >> 12, len(name))
            else:
                head = struct.pack(order + "IHH", number, length, len(name))
            chunks[-1] += (head + name).ljust(length, b"\0")
        chunks[-1] = self.stretched(chunks[-1], last)
        return b"".join(chunks)

    def stretched(self, chunk, last):
        """A chunk whose last entry reaches to its end."""
        length = struct.pack(self.order + "H", 512 - last)
        return (chunk[: last + 4] + length + chunk[last + 6 :]).ljust(512, b"\0")


def tape_of(form, order, top):
    """The whole tape of a tree."""
    tape, numbers, parents, listed, objects = Tape(form, order), {}, {}, [], []
    for directory, folders, files in os.walk(top):
        folders.sort()
        for name in [b"."] * (directory == top) + sorted(folders + files):
            path = os.path.normpath(os.path.join(directory, name))
            state = os.lstat(path)
            key = (state.st_dev, state.st_ino)
            if key not in numbers:
                numbers[key] = len(numbers) + 2
                (listed if stat.S_ISDIR(state.st_mode) else objects).append((numbers[key], path, state))
    numbers_of = lambda path: numbers[(os.lstat(path).st_dev, os.lstat(path).st_ino)]
    tape.header(1, 0)
    tape.map(6, list(numbers.values()))
    tape.map(3, list(numbers.values()))
    for number, path, state in sorted(listed):
        parent = number if path == top else numbers_of(os.path.dirname(path))
        entries = [(number, b".", 0o40000), (parent, b"..", 0o40000)]
        for name in sorted(os.listdir(path)):
            inner = os.path.join(path, name)
            entries.append((numbers_of(inner), name, os.lstat(inner).st_mode))
        tape.object(number, state, tape.directory(entries))
    for number, path, state in sorted(objects):
        data = b""
        if stat.S_ISREG(state.st_mode):
            with open(path, "rb") as file:
                data = file.read()
        elif stat.S_ISLNK(state.st_mode):
            data = os.readlink(path)
        tape.object(number, state, data)
    tape.header(5, 0)
    while len(tape.blocks) % 10:
        tape.header(5, 0)
    return b"".join(tape.blocks)


def swapped(stream):
    """A tape of Linux as a machine of the other byte order writes it: headers and directories, not maps and data."""
    out, at = bytearray(stream), 0
    words = lambda block, first, last, width: b"".join(
        block[offset : offset + width][::-1] for offset in range(first, last, width)
    )
    while at < len(stream):
        block = stream[at : at + BLOCK]
        kind, mode, flags = struct.unpack_from("<i", block)[0], struct.unpack_from("<H", block, 32)[0], block[888:892]
        size, count = struct.unpack_from("<Q", block, 40)[0], struct.unpack_from("<i", block, 160)[0]
        cells = block[164 : 164 + min(count, 512)] if kind in (2, 4) else b"\1" * count if kind in (3, 6) else b""
        if flags[1] & 0x80:
            cells = b"\1" * count
        inodes = words(block, 164, 676, 4) if kind in (1, 5) else block[164:676]
        turned = (
            words(block, 0, 32, 4) + words(block, 32, 40, 2) + words(block, 40, 48, 8) + words(block, 48, 164, 4)
            + inodes + block[676:692] + words(block, 692, 696, 4) + block[696:888] + words(block, 888, 928, 4) + block[928:]
        )
        out[at : at + BLOCK] = checked(turned, ">")
        at += BLOCK
        length = BLOCK * sum(map(bool, cells))
        if kind in (2, 4) and stat.S_ISDIR(mode) and not flags[1] & 0x80:
            here = 0
            while here < min(size, length):
                entry = at + here
                step = struct.unpack_from("<H", stream, entry + 4)[0]
                out[entry : entry + 4] = stream[entry : entry + 4][::-1]
                out[entry + 4 : entry + 6] = stream[entry + 4 : entry + 6][::-1]
                here += step
        at += length
    return bytes(out)


def main():
    form, order, source = sys.argv[1], {"little": "<", "big": ">"}[sys.argv[2]], os.fsencode(sys.argv[3])
    if form == "swapped":
        with open(source, "rb") as file:
            tape = swapped(file.read())
    else:
        tape = tape_of(form, order, source)
    sys.stdout.buffer.write(tape)


main()
