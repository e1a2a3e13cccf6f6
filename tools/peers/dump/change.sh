#!/usr/bin/env bash
# Changes the tree that fill.sh made in $1 in the ways that are hard for an increment.
set -euo pipefail
cd "$1"
echo modified >>file
rm many/f1
rm -r a/b/c
mv many/f2 many/renamed2
mv many/f3 f3_moved
mv hard hard_renamed
echo new >new
mkdir newdir
echo in >newdir/x
ln size5000 size5000_link
rm link
rm symlink
mkdir symlink
echo was >symlink/was_link
rm empty
mkfifo empty
chmod 600 size1023
chown 5:6 size1024
setfattr -n user.added -v yes many/f10
touch -d '2002-02-02' many/f20
truncate -s 2000 size5000
mv many/f30 third
mv many/f31 many/f30
mv third many/f31
mv a moved_a
mkdir a
mv moved_a/b a/b2
