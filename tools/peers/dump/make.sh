#!/usr/bin/env bash
# Writes two tapes of stock dump, levels 0 and 1, of a little ext4 file system into the directory $1, and beside each what a
# restore up to it must give; with `compressed` as $2 three tapes of level 0, each compressed in another way, with `volumes` level 0 on three
# volumes. Needs root: it takes a loop device and a mount, and gives both back.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=$1
mkdir -p "$out"
work=$(mktemp -d)
device=
leave() {
    mountpoint -q "$work/mounted" && umount "$work/mounted"
    [ -n "$device" ] && losetup -d "$device"
    rm -rf "$work"
}
trap leave EXIT
mkdir "$work/mounted"
truncate -s 24M "$work/image"
mke2fs -q -t ext4 -b 4096 -I 256 "$work/image"
device=$(losetup -f --show "$work/image")
if [ -n "${2-}" ]; then
    mount "$device" "$work/mounted"
    bash "$here/fill.sh" "$work/mounted"
    python3 "$here/describe.py" "$work/mounted" >"$out/level0.txt"
    umount "$work/mounted"
    if [ "$2" = volumes ]; then
        dump -q -0 -D "$work/dumpdates" -b 10 -B 120 -M -f "$out/plain" "$device" >/dev/null 2>&1
        exit
    fi
    for kind in z:zlib j:bzip2 y:lzo; do
        dump -q -0 "-${kind%:*}" -D "$work/dumpdates" -b 10 -f "$out/${kind#*:}.dump" "$device" >/dev/null 2>&1
    done
    exit
fi
for level in 0 1; do
    mount "$device" "$work/mounted"
    if [ $level = 0 ]; then bash "$here/fill.sh" "$work/mounted"; else bash "$here/change.sh" "$work/mounted"; fi
    python3 "$here/describe.py" "$work/mounted" >"$out/level$level.txt"
    umount "$work/mounted"
    # Increments tell dates apart by the second: what changed in the second of the base is taken again.
    now=$(date +%s)
    while [ "$(date +%s)" = "$now" ]; do :; done
    dump -q -"$level" -u -D "$work/dumpdates" -b 10 -f "$out/level$level.dump" "$device" >/dev/null 2>&1
done
