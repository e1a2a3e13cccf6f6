#!/usr/bin/env bash
# Fills the empty directory $1 with a little of everything that a tape can hold.
set -euo pipefail
cd "$1"
echo hello >file
ln file link
mkdir -p hard a/b/c sticky
ln file hard/link
echo deep >a/b/c/deep
ln -s file symlink
ln -s "$(printf 'y%.0s' {1..60})" symlink60
ln -s "$(printf 'z%.0s' {1..1200})" symlink1200
: >empty
for size in 1 1023 1024 1025 5000; do
    head -c "$size" < <(seq 1 10000) >"size$size"
done
truncate -s 700K sparse
printf middle | dd of=sparse bs=1 seek=600000 conv=notrunc status=none
truncate -s 9M huge
printf START | dd of=huge bs=1 conv=notrunc status=none
mknod null c 1 3
mknod block b 8 300
mkfifo fifo
touch "$(printf 'n%.0s' {1..254})" -- "sp ace" $'new\nline' 'quote"s' "./-dash" $'bad\xff\xfeutf' "unicode-жёлтый"
setfattr -n user.k1 -v "value one" file
setfattr -n user.big -v "$(printf 'v%.0s' {1..900})" size1024
setfattr -n trusted.t -v tt size1025
setfattr -n security.foo -v bar size1023
setfattr -n user.dirx -v dx hard
setfacl -m u:1000:rw,g:1001:r,u:1002:--- size5000
setfacl -d -m u:1000:rwx,g:1001:rx a/b
mkdir many
for number in {1..40}; do echo "file $number" >"many/f$number"; done
chown 1000:1001 size1
chmod 4755 size5000
chmod 1777 sticky
chown 70000:80000 size1025
touch -d '2001-02-03 04:05:06.789012' size1025
touch -h -d '1999-01-01' symlink
touch -d '1971-01-01' size1023
