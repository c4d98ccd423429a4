#!/bin/sh
# A test of one's own: it finds the unpacked images in its environment.
set -eu
test -s "$AMIKIT_IMAGE"
# Bytes 510 and 511 of a disk that boots are 55 aa.
test "$(od -An -tx1 -j510 -N2 "$AMIKIT_IMAGE" | tr -d ' ')" = 55aa
