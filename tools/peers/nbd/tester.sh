#!/usr/bin/env bash
# Runs the test suite of nbd's own server against ours: tools/peers/nbd/tester.sh SOURCE HEADSTACK. SOURCE is the unpacked source
# of Debian's package nbd (`apt-get source nbd`; 3.26.1 was tried), of which only the client of the suite is built; that takes
# gcc, libglib2.0-dev and libgnutls28-dev. By hand only: there is no package of the client.
#
# A line a test, and status 1 where one fails. `integrityhuge` is left out: it sends requests over 32 MiB, which are refused.
set -euo pipefail
source=$(realpath "$1") headstack=$(realpath "$2") runs=$(realpath "$1")/tests/run
work=$(mktemp -d) server=
leave() {
    stop
    rm -rf "$work"
}
stop() {
    [ -z "$server" ] || { kill "$server"; wait "$server" || true; } 2>/dev/null
    server=
}
trap leave EXIT
cd "$work"

: "${CC:=gcc}"
printf '#define %s\n' 'HAVE_GNUTLS 1' 'PACKAGE_VERSION "-"' 'SIZEOF_UNSIGNED_INT 4' 'SIZEOF_UNSIGNED_LONG_INT 8' \
    'SIZEOF_UNSIGNED_LONG_LONG_INT 8' > config.h
# shellcheck disable=SC2046 # Words of flags.
"$CC" -w -O1 -D_GNU_SOURCE -I. -I"$source" "$runs/nbd-tester-client.c" "$source"/{cliserv,buffer,crypto-gnutls}.c \
    -o tester $(pkg-config --cflags --libs glib-2.0 gnutls)

# Serves a new array, which is zeros, as export1 on the socket `s`, with more words for the server.
serve() {
    stop
    rm -f ./*.img* s s.control
    "$headstack" disk create --size 24M {0..3}.img > log
    "$headstack" array create --level 5 --chunk 64K export1 {0..3}.img >> log
    "$headstack" nbd --socket s "$@" {0..3}.img >> log 2>&1 &
    server=$!
    until [ -S s ]; do kill -0 "$server" || { cat log; exit 1; }; sleep 0.1; done
}

failed=0
run() {
    local name=$1
    shift
    if timeout 300 ./tester -u "$work/s" -N export1 "$@" > out 2>&1; then
        echo "ok      $name"
    else
        failed=1
        echo "FAILED  $name"
        tail -c 400 out | tr '\r' '\n' | tail -3
    fi
}

serve
run read
run oversized -o
run handshake -h
run integrity -i -t "$runs/integrity-test.tr"
run write -w
run flush -w -f
serve --read-only
run read-only -w -F
serve --tls "$runs/certs"
with=(-A "$runs/certs/ca-cert.pem" -C "$runs/certs/client-cert.pem" -K "$runs/certs/client-key.pem")
run tls -i -t "$runs/integrity-test.tr" "${with[@]}"
serve --tls "$runs/certs" --tls-verify-peer
run wrong-certificate -F -t "$runs/integrity-test.tr" -C "$runs/certs/selfsigned-cert.pem" -K "$runs/certs/selfsigned-key.pem"
exit $failed
