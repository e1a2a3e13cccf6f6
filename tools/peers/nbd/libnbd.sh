#!/usr/bin/env bash
# Runs what applies of libnbd's own tests against our server: tools/peers/nbd/libnbd.sh SOURCE HEADSTACK. SOURCE is the unpacked
# source of Debian's package libnbd (`apt-get source libnbd`; its tests of 1.14 and 1.15 were tried). It takes gcc, libnbd-dev,
# libnbd-bin and python3-libnbd. By hand only: there is no package of the tests.
#
# The tests start nbdkit for themselves; here they get a socket of ours, where the bytes are those of nbdkit's `pattern`. Left
# out is what asks for sizes, extents or errors that only a plugin of nbdkit has. A line a test, and status 1 where one fails.
set -euo pipefail
source=$(realpath "$1") headstack=$(realpath "$2")
work=$(mktemp -d) server=
leave() {
    [ -z "$server" ] || { kill "$server"; wait "$server" || true; } 2>/dev/null
    rm -rf "$work"
}
trap leave EXIT
cd "$work"
export SOCK=$work/s srcdir=.

"$headstack" disk create --size 24M {0..3}.img > log
"$headstack" array create --level 5 --chunk 64K x {0..3}.img >> log
"$headstack" nbd --socket s {0..3}.img >> log 2>&1 &
server=$!
until [ -S s ]; do kill -0 "$server" || { cat log; exit 1; }; sleep 0.1; done
/usr/bin/python3 -c 'import struct, sys
for at in range(0, 64 << 20, 1 << 20):
    sys.stdout.buffer.write(struct.pack(f">{1 << 17}Q", *range(at, at + (1 << 20), 8)))' > pattern

failed=0
run() {
    local name=$1
    shift
    nbdcopy --flush pattern "nbd+unix:///x?socket=$SOCK"
    if timeout 300 "$@" > out 2>&1; then
        echo "ok      $name"
    else
        failed=1
        echo "FAILED  $name"
        tail -3 out
    fi
}

: "${CC:=gcc}"
: > config.h
for name in synch-parallel aio-parallel aio-parallel-load errors-server-invalid-offset errors-server-unknown-flags \
    errors-client-zerosize errors-pread-structured pread-initialize opt-abort; do
    sed -e 's/nbd_connect_command (nbd, [a-z()* ]*cmd)/nbd_connect_unix (nbd, getenv ("SOCK"))/' \
        -e 's/nbd_connect_command (nbd, args)/nbd_connect_unix (nbd, getenv ("SOCK"))/' \
        -e 's/nbd_get_size (nbd) == EXPORTSIZE/nbd_get_size (nbd) >= EXPORTSIZE/' "$source/tests/$name.c" > "$name.c"
    # shellcheck disable=SC2086 # It may have options.
    $CC -w -O1 -D_GNU_SOURCE -I. -I"$source"/{tests,common/include} "$name.c" -o "$name" -lnbd -lpthread
    run "$name" "./$name" "$SOCK"
done
for name in 210-opt-abort 400-pread 405-pread-structured 500-aio-pread 505-aio-pread-callback 585-aio-buffer-share \
    600-debug-callback 610-exception; do
    /usr/bin/python3 -c 'import re, sys
print(re.sub(r"connect_command\(\s*\[.*?\]\)", "connect_unix(\"s\")", sys.stdin.read(), flags=re.S))' \
        < "$source/python/t/$name.py" > "$name.py"
    run "$name" /usr/bin/python3 "$name.py"
done
exit "$failed"
