#!/usr/bin/env bash
# Compares amikit's deltas with those of other tools, on one pair of images.
#
#   benches/delta.sh OLD NEW [WORKDIR]
#
# OLD and NEW are raw disk images of one line: NEW is OLD after an update, or built anew. Files go into
# a new folder in WORKDIR (default: $TMPDIR, or /tmp) and are removed at the end.
#
# Needs: bash 5, cargo, python3, GNU time, and memory for the page cache to hold both images. Others are
# measured where they are installed: casync, xdelta3, rdiff, zstd (--patch-from), borg. TOOLS in the
# environment chooses (default: "casync xdelta3 rdiff zstd borg"); ROUNDS (3) is how often amikit runs,
# the others run once: some take minutes. LEVEL is the level of amikit and zstd (2 and 3).
#
# The others take whole files, so they read the holes too, as they would for anyone. Bytes are what has
# to be carried to a machine that has OLD; for stores of chunks, what the store grows by. The table is Markdown,
# on standard output.
set -euo pipefail
export LC_ALL=C

# shellcheck source=benches/common.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

[[ $# -ge 2 && $# -le 3 ]] || die 'usage: benches/delta.sh OLD NEW [WORKDIR]'
[[ -f $1 && -f $2 ]] || die 'OLD and NEW must be regular files: raw disk images'
old=$(realpath -- "$1")
new=$(realpath -- "$2")
base=$(realpath -- "${3:-${TMPDIR:-/tmp}}")
rounds=${ROUNDS:-3}
level=${LEVEL:-3}
levels=(--level "${LEVEL:-2}")
tools=${TOOLS-casync xdelta3 rdiff zstd borg}
[[ $rounds =~ ^[1-9][0-9]*$ ]] || die "ROUNDS is $rounds, expected a number above 0"
gnu_time=$(type -P time) || die 'GNU time is not installed'

say 'building'
amikit=$(build amikit build --release --bin amikit)
[[ -x $amikit ]] || die 'the build made no executable'

work=$(mktemp -d -- "$base/amikit-delta.XXXXXX")
trap 'rm -rf -- "$work"' EXIT
results=$work/results.tsv

# run NAME COMMAND...: appends name, wall seconds and peak KiB to the results.
run() {
    local name=$1 start end
    shift
    sync -f -- "$work"
    start=$EPOCHREALTIME
    "$gnu_time" -q -f %M -o "$work/peak" -- "$@" >"$work/output" 2>&1 || {
        tail -n 5 -- "$work/output" >&2
        say "$name failed: $*"
        return 1
    }
    end=$EPOCHREALTIME
    printf '%s\ttime\t%s\t%s\t%s\n' "$name" "$start" "$end" "$(tail -n 1 -- "$work/peak")" >>"$results"
}
# bytes NAME PATH...: appends the bytes of all files to the results.
bytes() {
    local name=$1
    shift
    printf '%s\tbytes\t%s\n' "$name" "$(find "$@" -type f -printf '%s\n' |
        awk '{ sum += $1 } END { printf "%d", sum }')" >>"$results"
}
has() {
    [[ " $tools " == *" $1 "* ]] && command -v "${2:-$1}" >/dev/null
}

say 'packing the base, which also warms the cache'
cat -- "$new" >/dev/null
"$amikit" --quiet pack "$old" -o "$work/old.ami" --name old-one "${levels[@]}" >/dev/null
for ((round = 1; round <= rounds; round++)); do
    say "amikit, round $round of $rounds"
    run amikit "$amikit" --quiet pack "$new" --base "$work/old.ami" --thin -o "$work/thin.ami" \
        --name new-one "${levels[@]}"
    run unpack "$amikit" --quiet unpack "$work/thin.ami" --base "$work/old.ami" -o "$work/out.raw"
    ((round > 1)) || cmp -- "$new" "$work/out.raw"
    rm -f -- "$work/out.raw"
    run apply "$amikit" --quiet apply "$work/thin.ami" --to "$old" -o "$work/out.raw"
    ((round > 1)) || cmp -- "$new" "$work/out.raw"
    rm -f -- "$work/out.raw"
    "$amikit" --quiet pack "$new" -o "$work/new.ami" --name new-one --level 1 >/dev/null
    run plain "$amikit" --quiet unpack "$work/new.ami" -o "$work/out.raw"
    rm -rf -- "$work/out.raw" "$work/new.ami"
    ((round == rounds)) || rm -rf -- "$work/thin.ami"
done
bytes amikit "$work/thin.ami"
rm -rf -- "$work/old.ami" "$work/thin.ami"

if has casync; then
    say 'casync'
    casync make "--store=$work/store.castr" "$work/old.caibx" "$old" >/dev/null 2>&1
    before=$(find "$work/store.castr" -type f -printf '%s\n' | awk '{ s += $1 } END { printf "%d", s }')
    run casync casync make "--store=$work/store.castr" "$work/new.caibx" "$new"
    after=$(find "$work/store.castr" -type f -printf '%s\n' | awk '{ s += $1 } END { printf "%d", s }')
    printf 'casync\tbytes\t%s\n' "$((after - before + $(stat -c %s -- "$work/new.caibx")))" >>"$results"
    rm -rf -- "$work/store.castr"
fi
if has xdelta3; then
    say 'xdelta3'
    run xdelta3 xdelta3 -e -f -B 2147483648 -s "$old" "$new" "$work/x.vcdiff"
    bytes xdelta3 "$work/x.vcdiff"
    rm -f -- "$work/x.vcdiff"
fi
if has rdiff; then
    say 'rdiff'
    rdiff signature -- "$old" "$work/old.sig"
    run rdiff rdiff delta -- "$work/old.sig" "$new" "$work/new.delta"
    zstd --quiet "-$level" -T0 "$work/new.delta" -o "$work/new.delta.zst"
    bytes rdiff "$work/new.delta.zst"
    rm -f -- "$work/old.sig" "$work/new.delta" "$work/new.delta.zst"
fi
if has zstd; then
    say 'zstd --patch-from'
    # zstd takes no base of over 2 GiB.
    if run zstd zstd --quiet --force "-$level" --long=31 -T0 "--patch-from=$old" "$new" \
        -o "$work/p.zst"; then
        bytes zstd "$work/p.zst"
    fi
    rm -f -- "$work/p.zst"
fi
if has borg; then
    say 'borg'
    export BORG_BASE_DIR=$work/borg BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK=yes
    borg init --encryption=none "$work/repo" >/dev/null 2>&1
    borg create --chunker-params=fixed,524288 --compression "zstd,$level" "$work/repo::old" "$old" \
        >/dev/null 2>&1
    before=$(find "$work/repo" -type f -printf '%s\n' | awk '{ s += $1 } END { printf "%d", s }')
    run borg borg create --chunker-params=fixed,524288 --compression "zstd,$level" \
        "$work/repo::new" "$new"
    after=$(find "$work/repo" -type f -printf '%s\n' | awk '{ s += $1 } END { printf "%d", s }')
    printf 'borg\tbytes\t%s\n' "$((after - before))" >>"$results"
fi

python3 - "$results" "$(basename -- "$old")" "$(basename -- "$new")" <<'PYTHON'
import collections, statistics, sys

times, peaks, sizes = collections.defaultdict(list), collections.defaultdict(list), {}
for line in open(sys.argv[1]):
    name, what, *rest = line.rstrip("\n").split("\t")
    if what == "time":
        times[name].append(float(rest[1]) - float(rest[0]))
        peaks[name].append(int(rest[2]))
    else:
        sizes[name] = int(rest[0])
names = {
    "amikit": "`amikit pack --base --thin`", "casync": "`casync make`, what the store grows by",
    "xdelta3": "`xdelta3 -B 2 GiB`", "rdiff": "`rdiff delta`, then zstd",
    "zstd": "`zstd --patch-from --long=31`",
    "borg": "`borg create`, fixed chunks of 512 KiB, what the repository grows by",
}
print(f"{sys.argv[2]} to {sys.argv[3]}:\n")
print("| tool | bytes to carry | seconds | peak memory |\n|---|---:|---:|---:|")
for name, text in names.items():
    if name in sizes:
        seconds = statistics.median(times[name])
        print(f"| {text} | {sizes[name]:,} | {seconds:.1f} | {max(peaks[name]) / 1024:.0f} MiB |")
plain = statistics.median(times["plain"])
print()
for name, text in [("unpack", "unpack --base"), ("apply", "apply")]:
    seconds = statistics.median(times[name])
    print(f"`{text}` took {seconds:.2f} s, {plain / seconds:.2f} of the speed of a plain "
          f"`unpack` ({plain:.2f} s), with {max(peaks[name]) / 1024:.0f} MiB at most.")
PYTHON
