#!/usr/bin/env bash
# Runs a fuzz target over seeds that amikit makes itself.
#
#   fuzz/run.sh walk [RUNS]     any bytes as an image of any format
#   fuzz/run.sh round [RUNS]    any volume, written and read again
#
# Needs cargo-fuzz. A run that takes over a second or over 64 MiB counts as a
# failure.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${1:?walk or round}
runs=${2:-2000000}
corpus=fuzz/corpus/$target
mkdir -p "$corpus"

if [ "$target" = walk ]; then
    cargo build --quiet --bin amikit
    amikit=${CARGO_TARGET_DIR:-target}/debug/amikit
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    truncate -s 384K "$work/in.raw"
    printf 'data' | dd of="$work/in.raw" bs=1 seek=70000 conv=notrunc status=none
    dd if=/dev/zero of="$work/in.raw" bs=64K seek=4 count=1 conv=notrunc status=none
    # The byte in front chooses the row; the order is that of FORMATS without the further ways to write.
    # An image that is longer than the fuzzer's inputs should be is given in pieces.
    seed() { # number file
        python3 - "$1" "$2" "$corpus/$(basename "$2")" << 'SEED'
import sys

ROWS, LONGEST, SECTOR = 12, 64 << 10, 512
row, image = int(sys.argv[1]), open(sys.argv[2], "rb").read()
if len(image) <= LONGEST:
    seed = bytes([row]) + image
else:
    seed, gap = bytes([row + ROWS]), 0
    for at in range(0, len(image), SECTOR):
        piece = image[at : at + SECTOR]
        if any(piece) or at + SECTOR >= len(image):
            seed += gap.to_bytes(2, "little") + len(piece).to_bytes(2, "little") + piece
            gap = 0
        else:
            gap += 1
open(sys.argv[3], "wb").write(seed)
SEED
    }
    number=0
    for formats in raw android-sparse qcow2,qcow2-zstd,qcow2-zlib vmdk,vmdk-sparse vhd,vhd-fixed vhdx raw-zstd; do
        for format in ${formats//,/ }; do
            "$amikit" convert "$work/in.raw" "$work/$format" --format "$format" --quiet > "$work/log"
            seed "$number" "$work/$format"
        done
        number=$((number + 1))
    done
    zstd -q "$work/in.raw" -o "$work/plain.zst" && seed 6 "$work/plain.zst"
    gzip -c "$work/in.raw" > "$work/in.gz" && seed 7 "$work/in.gz"
    xz -c "$work/in.raw" > "$work/in.xz" && seed 8 "$work/in.xz"
    # Its window is 64 MiB long.
    xz -9 -c "$work/in.raw" > "$work/in9.xz" && seed 8 "$work/in9.xz"
    bzip2 -c "$work/in.raw" > "$work/in.bz2" && seed 9 "$work/in.bz2"
    cat "$work/in.bz2" "$work/in.bz2" > "$work/twice.bz2" && seed 9 "$work/twice.bz2"
    for version in 0.0 0.1 1.0; do
        tar -C "$work" --format=pax --sparse --sparse-version=$version -cf "$work/pax$version" in.raw
        seed 10 "$work/pax$version"
    done
    tar -C "$work" --format=gnu --sparse -cf "$work/gnu" in.raw && seed 10 "$work/gnu"
    "$amikit" convert "$work/in.raw" "$work/ova" --format ova --quiet > "$work/log" && seed 11 "$work/ova"
    for image in fixtures/images/*.simg; do
        [ "$(stat -c %s "$image")" -gt 65536 ] || seed 1 "$image"
    done
fi

# The one stable toolchain there is, allowed what only coverage needs.
RUSTC_BOOTSTRAP=1 cargo fuzz run --release --sanitizer none "$target" "$corpus" -- \
    -runs="$runs" -timeout=1 -rss_limit_mb=256 -max_len=262144 -print_final_stats=1
