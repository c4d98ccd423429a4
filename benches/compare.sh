#!/usr/bin/env bash
# Compares amikit on one image with the tools that people have, and with what the machine can do.
#
#   benches/compare.sh IMAGE [WORKDIR]
#
# IMAGE is a raw disk image, best of a file system that tells holes. Files go into a new folder in
# WORKDIR (default: $TMPDIR, or /tmp) and are removed at the end; there must be room for about five
# times the allocated bytes of IMAGE. They should be on the same disk as IMAGE.
#
# Needs: bash 5, cargo, python3, openssl 3, zstd, GNU time, lscpu, and memory for the page cache to
# hold IMAGE. Optional: qemu-img, casync. Settings in the environment: ROUNDS (5).
#
# All programs take turns, so that a busy machine slows them alike; medians count. The page cache
# is warm and has nothing left to write when a program starts. "Durable" means that the time
# includes the sync of the output to the disk; amikit always does that, most others never do.
# Programs run on all processors. The table is Markdown, on standard output.
set -euo pipefail
export LC_ALL=C

# shellcheck source=benches/common.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

[[ $# -ge 1 && $# -le 2 ]] || die 'usage: benches/compare.sh IMAGE [WORKDIR]'
[[ -f $1 ]] || die "$1: it is not a regular file, expected a raw disk image"
image=$(realpath -- "$1")
base=$(realpath -- "${2:-${TMPDIR:-/tmp}}")
rounds=${ROUNDS:-5}
[[ $rounds =~ ^[1-9][0-9]*$ ]] || die "ROUNDS is $rounds, expected a number above 0"
for tool in cargo python3 openssl zstd lscpu sha256sum; do
    command -v "$tool" >/dev/null || die "$tool is not installed"
done
gnu_time=$(type -P time) || die 'GNU time is not installed'
"$gnu_time" --version 2>&1 | grep -q GNU || die "$gnu_time is not GNU time"
cores=$(nproc)

say 'building'
amikit=$(build amikit build --release --bin amikit)
unpack_limit=$(build unpack_limit bench --bench unpack_limit --no-run)
[[ -x $amikit && -x $unpack_limit ]] || die 'the build made no executables'

work=$(mktemp -d -- "$base/amikit-compare.XXXXXX")
trap 'rm -rf -- "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
results=$work/results.tsv
facts=$work/facts.tsv
fact() {
    printf '%s\t%s\n' "$1" "$2" >>"$facts"
}

# run NAME COMMAND...: runs the command with nothing waiting to be written, and appends its name,
# wall seconds and peak KiB to the results.
run() {
    # On a virtual machine, memory that lay idle goes back to the host, and coming again it is eight
    # times slower to write to. A program that runs right after another would have an advantage.
    cp -- "$plain" "$work/warm"
    rm -f -- "$work/warm"
    sync -f -- "$work"
    measure "$@"
}

# rest_and_run NAME COMMAND...: the same for a command that reads and writes next to nothing. It has no
# use for memory, and would share the processors with the kernel that gives the freed memory away.
rest_and_run() {
    sync -f -- "$work"
    cat -- "$image" >/dev/null
    sleep 3
    measure "$@"
}

measure() {
    local name=$1 start end peak
    shift
    start=$EPOCHREALTIME
    "$gnu_time" -q -f %M -o "$work/peak" -- "$@" >"$work/output" 2>&1 || {
        cat -- "$work/output" >&2
        die "$name failed: $*"
    }
    end=$EPOCHREALTIME
    peak=$(tail -n 1 -- "$work/peak")
    printf '%s\t%s\t%s\t%s\n' "$name" "$start" "$end" "$peak" >>"$results"
}

say 'copying the allocated bytes, which also warms the cache'
plain=$work/allocated
python3 - "$image" "$plain" <<'PYTHON'
import errno, os, sys

source, target = os.open(sys.argv[1], os.O_RDONLY), open(sys.argv[2], "wb")
size, at = os.fstat(source).st_size, 0
while at < size:
    try:
        start = os.lseek(source, at, os.SEEK_DATA)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        break
    at = os.lseek(source, start, os.SEEK_HOLE)
    while start < at:
        piece = os.pread(source, min(1 << 20, at - start), start)
        target.write(piece)
        start += len(piece)
target.close()
PYTHON
plain_len=$(stat -c %s -- "$plain")
[[ $plain_len -gt 0 ]] || die "$image: it holds no data"
fact bytes "$plain_len"
fact size "$(stat -c %s -- "$image")"
fact image "$(basename -- "$image")"
fact sha256 "$(sha256sum -- "$image" | cut -d ' ' -f 1)"
fact cores "$cores"
fact rounds "$rounds"

# hash_alone: what openssl does on one core, in bytes a second of wall time.
hash_alone() {
    local speed
    speed=$(openssl speed -elapsed -mr -seconds 2 -bytes 524288 -evp sha256 2>/dev/null |
        awk -F : '/^\+F:/ { print $NF }')
    [[ -n $speed ]] || die 'openssl speed printed no speed'
    fact openssl "$speed"
}

# bundle_len BUNDLE: all of its bytes.
bundle_len() {
    find "$1" -type f -printf '%s\n' | awk '{ sum += $1 } END { printf "%d", sum }'
}

for ((round = 1; round <= rounds; round++)); do
    say "round $round of $rounds"
    # As short as it is, once says little.
    for _ in 1 2 3; do
        rest_and_run snapshot "$amikit" --quiet snapshot "$image" -o "$work/snapshot"
        hash_alone
    done
    rm -rf -- "$work/bundle.ami"
    run pack "$amikit" --quiet pack "$image" -o "$work/bundle.ami"
    run zstd zstd --quiet --force -3 "-T$cores" "$plain" -o "$work/stream.zst"
    run zstd-back sh -c 'zstd --quiet --force -d "$1" -o "$2" && rm -f -- "$2"' sh \
        "$work/stream.zst" "$work/stream.raw"
    run verify "$amikit" --quiet verify "$work/bundle.ami"
    if ((round == 1)); then
        fact pack_len "$(bundle_len "$work/bundle.ami")"
        fact zstd_len "$(stat -c %s -- "$work/stream.zst")"
    fi
    rm -f -- "$work/stream.zst"
    run pack-3 "$amikit" --quiet pack "$image" -o "$work/other.ami" --level 3
    if ((round == 1)); then
        fact pack_3_len "$(bundle_len "$work/other.ami")"
    fi
    rm -rf -- "$work/other.ami"
    run unpack "$amikit" --quiet unpack "$work/bundle.ami" -o "$work/unpacked.raw"
    if ((round == 1)); then
        cmp -- "$image" "$work/unpacked.raw" || die 'the unpacked image differs'
    fi
    rm -f -- "$work/unpacked.raw"
    run limit "$unpack_limit" "$work/bundle.ami" "$work/limit.raw"
    if ((round == 1)); then
        cmp -- "$image" "$work/limit.raw" || die 'the image of the limit differs'
    fi
    rm -f -- "$work/limit.raw"
    run limit-sync "$unpack_limit" "$work/bundle.ami" "$work/limit.raw" --sync
    rm -f -- "$work/limit.raw"
done

say 'level 9, once: it takes a minute'
run pack-9 "$amikit" --quiet pack "$image" -o "$work/other.ami" --level 9
fact pack_9_len "$(bundle_len "$work/other.ami")"
rm -rf -- "$work/other.ami"
run zstd-9 zstd --quiet --force -9 "-T$cores" "$plain" -o "$work/stream.zst"
fact zstd_9_len "$(stat -c %s -- "$work/stream.zst")"
rm -f -- "$work/stream.zst"

say 'a sparse disk of 1 TiB'
python3 - "$work/sparse.raw" <<'PYTHON'
import os, sys

with open(sys.argv[1], "wb") as file:
    file.truncate(1 << 40)
    for at in (0, 1 << 39, (1 << 40) - (512 << 10)):
        file.seek(at)
        file.write(os.urandom(512 << 10))
PYTHON
for ((round = 1; round <= rounds; round++)); do
    rm -rf -- "$work/sparse.ami"
    run sparse "$amikit" --quiet pack "$work/sparse.raw" -o "$work/sparse.ami"
done
rm -rf -- "$work/sparse.raw" "$work/sparse.ami"

if command -v qemu-img >/dev/null; then
    say 'qemu-img'
    for ((round = 1; round <= rounds; round++)); do
        run qemu-img qemu-img convert -f raw -O raw "$image" "$work/qemu.raw"
        rm -f -- "$work/qemu.raw"
        run convert "$amikit" --quiet convert "$image" "$work/convert.raw" --format raw
        rm -f -- "$work/convert.raw"
    done
    fact qemu-img "$(qemu-img --version | head -n 1)"
else
    say 'no qemu-img, its row is left out'
fi
if command -v casync >/dev/null; then
    say 'casync, once'
    run casync casync make "--store=$work/casync.castr" "$work/image.caibx" "$image"
    fact casync_len "$(find "$work/casync.castr" -type f -printf '%s\n' |
        awk '{ sum += $1 } END { printf "%d", sum }')"
    fact casync "$(casync --version | head -n 1)"
else
    say 'no casync, its row is left out'
fi

fact machine "$(lscpu | sed -n 's/^Model name: *//p' | head -n 1), $cores cores"
fact system "$(uname -sr), $(stat -f -c %T -- "$work")"
fact date "$(date -u +%Y-%m-%d)"
fact amikit "$("$amikit" --version)"
fact openssl_version "$(openssl version | cut -d ' ' -f 1,2)"
fact zstd_version "$(zstd --version | grep -o 'v[0-9.]*' | head -n 1)"

python3 - "$results" "$facts" <<'PYTHON'
import collections, statistics, sys

times, peaks, facts, openssl = (
    collections.defaultdict(list), collections.defaultdict(list), {}, [])
for line in open(sys.argv[1]):
    name, start, end, peak = line.rstrip("\n").split("\t")
    times[name].append(float(end) - float(start))
    peaks[name].append(int(peak))
for line in open(sys.argv[2]):
    name, value = line.rstrip("\n").split("\t", 1)
    if name == "openssl":
        openssl.append(float(value))
    facts[name] = value

plain, cores = int(facts["bytes"]), int(facts["cores"])
seconds = {name: statistics.median(list_) for name, list_ in times.items()}
memory = {name: f"{max(list_) / 1024:.0f} MiB" for name, list_ in peaks.items()}


def spread(name):
    return f"{min(times[name]):.2f} to {max(times[name]):.2f}"


def rate(name):
    return f"{seconds[name]:.2f} s ({spread(name)}), {plain / seconds[name] / 1e9:.2f} GB/s"


def row(*cells):
    print("| " + " | ".join(cells) + " |")


print(f"Machine: {facts['machine']}; {facts['system']}; {facts['date']}.  ")
print(f"Image: {facts['image']}, {facts['size']} bytes, of which {plain} are allocated; "
      f"SHA-256 {facts['sha256']}.  ")
versions = [facts["amikit"], "OpenSSL " + facts["openssl_version"].split()[-1],
            "zstd " + facts["zstd_version"]]
versions += [facts[name] for name in ("qemu-img", "casync") if name in facts]
print("Tools: " + "; ".join(versions) + ".  ")
print(f"Warm cache, all cores, {facts['rounds']} rounds in turn; medians, and the range in "
      "brackets; GB/s over allocated bytes.\n")
row("amikit", "", "beside", "", "ratio", "target", "peak memory")
row(*["---"] * 7)
ours, theirs = plain / seconds["snapshot"] / cores, statistics.median(openssl)
row("`snapshot`", rate("snapshot") + f", {ours / 1e9:.2f} a core",
    "`openssl speed -evp sha256`, one core", f"{theirs / 1e9:.2f} GB/s",
    f"{ours / theirs:.2f} of the speed a core", "1.6", memory["snapshot"])
for level, ours, theirs, speed, size in (
        ("", "pack", "zstd", "1.10", "0.93"), (" --level 3", "pack-3", "zstd", "0.80", "0.89"),
        (" --level 9", "pack-9", "zstd-9", "1.00", "0.81 of `zstd -3`")):
    row(f"`pack{level}`, durable", rate(ours),
        f"`zstd -{'9' if '9' in theirs else '3'} -T{cores}` of the allocated bytes, not durable",
        rate(theirs), f"{seconds[theirs] / seconds[ours]:.2f} of the speed", speed,
        f"{memory[ours]}, zstd {memory[theirs]}")
    our_len, their_len = (int(facts[name.replace("-", "_") + "_len"]) for name in (ours, theirs))
    row("its bytes", str(our_len), "its bytes", str(their_len),
        f"{our_len / their_len:.3f} of the size, "
        f"{our_len / int(facts['zstd_len']):.3f} of that of `zstd -3`", size, "")
row("`verify`", rate("verify"), "", "", "", "", memory["verify"])
row("`unpack`, durable", rate("unpack"), "`zstd -d` of the one stream to a file, not durable",
    rate("zstd-back"), f"{seconds['zstd-back'] / seconds['unpack']:.2f} of the speed", "1.3",
    f"{memory['unpack']}, zstd {memory['zstd-back']}")
row("`unpack`, durable", rate("unpack"), "decompress and write, not durable", rate("limit"),
    f"{seconds['limit'] / seconds['unpack']:.2f} of the speed", "",
    f"{memory['unpack']}, limit {memory['limit']}")
row("`unpack`, durable", rate("unpack"), "decompress and write, durable", rate("limit-sync"),
    f"{seconds['limit-sync'] / seconds['unpack']:.2f} of the speed", "",
    f"{memory['unpack']}, limit {memory['limit-sync']}")
row("`pack` of a sparse 1 TiB with 3 data blocks",
    f"{seconds['sparse']:.3f} s ({spread('sparse')})", "", "", "", "0.5 s", memory["sparse"])
if "qemu-img" in seconds:
    row("`convert --format raw`, durable", rate("convert"),
        "`qemu-img convert`, raw to raw, not durable", rate("qemu-img"),
        f"{seconds['qemu-img'] / seconds['convert']:.2f} of the speed", "",
        f"{memory['convert']}, qemu-img {memory['qemu-img']}")
if "casync" in seconds:
    row("`pack`, durable", rate("pack"),
        f"`casync make`, once, {facts['casync_len']} bytes", rate("casync"),
        f"{seconds['casync'] / seconds['pack']:.2f} of the speed", "",
        f"{memory['pack']}, casync {memory['casync']}")
PYTHON
