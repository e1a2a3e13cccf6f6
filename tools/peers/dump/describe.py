#!/usr/bin/env python3
"""Prints everything that a restore must bring back of the tree $1, one sorted line an object, names in hexadecimal."""
import hashlib
import os
import stat
import sys

def content(path, size):
    """Digest of the data that is not zero, by its place; holes cost nothing."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        at = 0
        while at < size:
            try:
                at = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError:
                break
            at -= at % 1024
            file.seek(at)
            cell = file.read(1024)
            if cell.strip(b"\0"):
                digest.update(at.to_bytes(8, "little") + cell.rstrip(b"\0"))
            at += 1024
    return digest.hexdigest()[:32]

def attributes(path):
    """Extended attributes, those of the security module aside."""
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError:
        names = []
    found = {name: os.getxattr(path, name, follow_symlinks=False).hex() for name in names if name != "security.selinux"}
    return ",".join(f"{name}={value}" for name, value in sorted(found.items()))

def main():
    top = os.fsencode(sys.argv[1])
    objects, groups = [], {}
    for directory, folders, files in os.walk(top):
        names = folders + files
        for name in names + ([b"."] if directory == top else []):
            path = os.path.join(directory, name)
            relative = os.path.relpath(path, top)
            if relative in (b"lost+found", b"restoresymtable"):
                continue
            state = os.lstat(path)
            if not stat.S_ISDIR(state.st_mode):
                groups.setdefault((state.st_dev, state.st_ino), []).append(relative)
            objects.append((relative, path, state))
    for relative, path, state in sorted(objects):
        mode = state.st_mode
        line = [relative.hex(), f"{mode:o}", f"{state.st_uid}:{state.st_gid}", str(int(state.st_mtime))]
        if stat.S_ISREG(mode):
            line += [str(state.st_size), content(path, state.st_size)]
        elif stat.S_ISLNK(mode):
            line += [os.readlink(path).hex()]
        elif stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
            line += [f"{os.major(state.st_rdev)}:{os.minor(state.st_rdev)}"]
        group = sorted(groups.get((state.st_dev, state.st_ino), []))
        line += ["links=" + ",".join(name.hex() for name in group) if len(group) > 1 else "-", attributes(path) or "-"]
        print(" ".join(line))

main()
