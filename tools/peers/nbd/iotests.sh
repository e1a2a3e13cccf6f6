#!/usr/bin/env bash
# Runs qemu-iotests for raw images over NBD against our server: tools/peers/nbd/iotests.sh SOURCE HEADSTACK [TEST..]. SOURCE is the
# unpacked source of Debian's package qemu (`apt-get source qemu`), HEADSTACK the binary; qemu's own programs come from
# qemu-utils and qemu-system-x86. Without a TEST those run that know raw and nbd. By hand only: qemu has no package of them.
#
# What else fails fails with qemu-nbd itself where qemu is newer than SOURCE (output has more fields) or has no qtest; 104 makes
# images of a KiB, which no array has.
#
# Each image that a test makes is a new RAID 5 of three images, with exactly its size, at the socket that qemu-nbd would have.
set -euo pipefail
here=$(realpath "$(dirname "$0")")
source=$1/tests/qemu-iotests
HEADSTACK=$(realpath "$2")
shift 2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work"/{images,sockets,source}
cp -r "$source/." "$work/source"
cd "$work/source"
# They wait a second for the server; making an array may take longer.
sed -i 's/^\( *\)sleep 1 # FIXME: qemu-nbd .*/\1until [ -S "$SOCK_DIR\/nbd" ]; do sleep 0.1; done/' common.rc
if [ $# = 0 ]; then
    for test in [0-9][0-9][0-9]; do
        grep -q '_supported_proto.*\(nbd\|generic\|any\)' "$test" && grep -q '_supported_fmt.*\(raw\|generic\|any\)' "$test" || continue
        set -- "$@" "$test"
    done
fi
export HEADSTACK TEST_DIR=$work/images SOCK_DIR=$work/sockets QEMU_NBD_PROG=$here/qemu-nbd
export QEMU_PROG=/usr/bin/qemu-system-x86_64 QEMU_IMG_PROG=/usr/bin/qemu-img QEMU_IO_PROG=/usr/bin/qemu-io
export QSD_PROG=/usr/bin/qemu-storage-daemon
./check -raw -nbd "$@"
