#!/usr/bin/env bash
# Compares amikit with qemu-img on the formats that both have, on one image.
#
#   benches/convert.sh IMAGE [WORKDIR]
#
# IMAGE is a raw disk image. Files go into a new folder in WORKDIR (default: $TMPDIR, or /tmp) and are
# removed at the end; there must be room for about seven times the allocated bytes of IMAGE.
#
# Needs: bash 5, cargo, python3, qemu-img, and memory for the page cache to hold IMAGE twice. Settings in
# the environment: ROUNDS (5) for what takes seconds, SLOW_ROUNDS (1) for zlib and VMDK, where qemu-img
# takes minutes.
#
# Both take turns; medians count. The page cache is warm and has nothing left to write when a program
# starts. amikit syncs what it writes. qemu-img does not, and where the disk counts it runs a second
# time with `-t writeback`, which makes it. The table is Markdown, on standard output.
set -euo pipefail
export LC_ALL=C

# shellcheck source=benches/common.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

[[ $# -ge 1 && $# -le 2 ]] || die 'usage: benches/convert.sh IMAGE [WORKDIR]'
[[ -f $1 ]] || die "$1: it is not a regular file, expected a raw disk image"
image=$(realpath -- "$1")
base=$(realpath -- "${2:-${TMPDIR:-/tmp}}")
rounds=${ROUNDS:-5}
slow_rounds=${SLOW_ROUNDS:-1}
for count in "$rounds" "$slow_rounds"; do
    [[ $count =~ ^[1-9][0-9]*$ ]] || die "a number of rounds is $count, expected one above 0"
done
for tool in cargo python3 qemu-img; do
    command -v "$tool" >/dev/null || die "$tool is not installed"
done

say 'building'
amikit=$(build amikit build --release --bin amikit)
[[ -x $amikit ]] || die 'the build made no executable'

work=$(mktemp -d -- "$base/amikit-convert.XXXXXX")
trap 'rm -rf -- "$work"' EXIT
results=$work/results.tsv

# run ROW WHO OUTPUT COMMAND...: appends row, who, wall seconds and the bytes of the output.
run() {
    local row=$1 who=$2 output=$3 start end
    shift 3
    rm -f -- "$work/amikit.out" "$work/qemu.out"
    sync -f -- "$work"
    start=$EPOCHREALTIME
    "$@" >"$work/text" 2>&1 || {
        cat -- "$work/text" >&2
        die "$who failed: $*"
    }
    end=$EPOCHREALTIME
    printf '%s\t%s\t%s\t%s\t%s\n' "$row" "$who" "$start" "$end" \
        "$([[ -n $output ]] && stat -c %s -- "$output" || echo 0)" >>"$results"
}
ours() { # ROW IN ARGUMENTS...
    run "$1" amikit "$work/amikit.out" "$amikit" --quiet convert "$2" "$work/amikit.out" "${@:3}"
}
theirs() { # ROW IN ARGUMENTS...
    run "$1" qemu-img "$work/qemu.out" qemu-img convert "${@:3}" "$2" "$work/qemu.out"
}
theirs_durable() { # ROW IN ARGUMENTS...
    run "$1" qemu-img-durable "$work/qemu.out" \
        qemu-img convert -t writeback "${@:3}" "$2" "$work/qemu.out"
}
all() { # ROW IN OURS THEIR-INPUT THEIRS [OPTIONS]
    ours "$1" "$2" --format "$3"
    theirs "$1" "$2" -f "$4" -O "${@:5}"
    theirs_durable "$1" "$2" -f "$4" -O "${@:5}"
}

say 'copying the image, which also warms the cache'
cp --sparse=always -- "$image" "$work/copy.raw"
qemu-img convert -O qcow2 -c -o compression_type=zstd -- "$image" "$work/packed.qcow2"
for format in qcow2 vpc vhdx; do
    # A VHD of qemu-img has its own idea of the size unless it is told.
    options=()
    [[ $format != vpc ]] || options=(-o force_size=on)
    qemu-img convert -f raw -O "$format" "${options[@]}" -- "$image" "$work/plain.$format"
done
cat -- "$image" "$work/copy.raw" >/dev/null

for ((round = 1; round <= rounds; round++)); do
    say "round $round of $rounds"
    row='raw to qcow2-zstd'
    ours "$row" "$image" --format qcow2-zstd
    theirs "$row" "$image" -f raw -O qcow2 -c -o compression_type=zstd
    ours "$row, \`--level 1\`" "$image" --format qcow2-zstd --level 1
    row='qcow2-zstd to raw'
    ours "$row" "$work/packed.qcow2" --format raw
    if ((round == 1)); then
        cmp -- "$image" "$work/amikit.out" || die 'what came back differs'
    fi
    theirs "$row" "$work/packed.qcow2" -f qcow2 -O raw
    theirs_durable "$row" "$work/packed.qcow2" -f qcow2 -O raw
    cat -- "$image" "$work"/plain.* >/dev/null
    all 'raw to raw' "$image" raw raw raw
    all 'raw to qcow2' "$image" qcow2 raw qcow2
    all 'raw to VMDK monolithicSparse' "$image" vmdk-sparse raw vmdk
    all 'raw to VHD' "$image" vhd raw vpc -o force_size=on
    all 'raw to VHDX' "$image" vhdx raw vhdx
    all 'qcow2 to raw' "$work/plain.qcow2" raw qcow2 raw
    all 'VHD to raw' "$work/plain.vpc" raw vpc raw
    all 'VHDX to raw' "$work/plain.vhdx" raw vhdx raw
    # What qemu-img makes of the zeros that the blocks of its own VHDX are by their state.
    ours 'VHDX to raw, `--zeros hole`' "$work/plain.vhdx" --format raw --zeros hole
done
say 'comparing'
rm -f -- "$work/amikit.out" "$work/qemu.out"
sync -f -- "$work"
for ((round = 1; round <= rounds; round++)); do
    # Both are short, so the kernel should be done with giving away what the others have freed.
    cat -- "$image" "$work/copy.raw" >/dev/null
    sleep 3
    row='`compare` of equal raws'
    run "$row" amikit '' "$amikit" --quiet compare "$image" "$work/copy.raw"
    run "$row" qemu-img '' qemu-img compare -f raw -F raw "$image" "$work/copy.raw"
done
for ((round = 1; round <= slow_rounds; round++)); do
    say "slow round $round of $slow_rounds"
    row='raw to qcow2-zlib'
    ours "$row" "$image" --format qcow2-zlib
    theirs "$row" "$image" -f raw -O qcow2 -c
    row='raw to VMDK streamOptimized'
    ours "$row" "$image" --format vmdk
    theirs "$row" "$image" -f raw -O vmdk -o subformat=streamOptimized
done

printf 'Machine: %s, %s cores; %s; %s. %s; %s.\n\n' \
    "$(lscpu | sed -n 's/^Model name: *//p' | head -n 1)" "$(nproc)" "$(uname -sr)" \
    "$(date -u +%Y-%m-%d)" "$("$amikit" --version)" "$(qemu-img --version | head -n 1)"
python3 - "$results" <<'PYTHON'
import collections, statistics, sys

times, lens = collections.defaultdict(list), {}
for line in open(sys.argv[1]):
    row, who, start, end, output_len = line.rstrip("\n").split("\t")
    times[row, who].append(float(end) - float(start))
    lens[row, who] = int(output_len)


def seconds(key):
    one = times[key]
    spread = f" ({min(one):.2f} to {max(one):.2f})" if len(one) > 1 else ", once"
    return f"{statistics.median(one):.2f} s{spread}"


def beside(ours, theirs):
    if theirs not in times:
        return " | "
    ratio = statistics.median(times[theirs]) / statistics.median(times[ours])
    return f"{seconds(theirs)} | {ratio:.2f}"


print("| | amikit, durable | qemu-img, durable | ratio | qemu-img, not durable | ratio | bytes |")
print("|---|---|---|---|---|---|---|")
for row in dict.fromkeys(row for row, _ in times):
    ours, theirs, durable = (row, "amikit"), (row, "qemu-img"), (row, "qemu-img-durable")
    if theirs not in times:
        # The same work with another option: beside the row that it follows.
        theirs, durable = ((row.split(",")[0], who) for who in ("qemu-img", "qemu-img-durable"))
    told = f"{lens[ours]:,} against {lens[theirs]:,}" if lens[ours] and not row.split(",")[0].endswith("raw") else ""
    print(f"| {row} | {seconds(ours)} | {beside(ours, durable)} | {beside(ours, theirs)} | {told} |")
PYTHON
