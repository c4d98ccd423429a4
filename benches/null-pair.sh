#!/usr/bin/env bash
# Compares two builds of amikit, with the older one run twice under two names.
#
#   benches/null-pair.sh IMAGE OTHER OLD NEW [ROUNDS]
#
# IMAGE is a raw image, OTHER one that differs from it, OLD and NEW are programs. In each round the three run in
# random order. What the two runs of OLD differ by is noise: a ratio of NEW counts beside theirs only.
# Prints medians as a Markdown table: seconds of wall time, seconds of processor time, KiB of memory.
set -euo pipefail

die() { echo "null-pair.sh: $*" >&2; exit 2; }
[[ $# -ge 4 ]] || die "usage: null-pair.sh IMAGE OTHER OLD NEW [ROUNDS]"
for file in "$1" "$2" "$3" "$4"; do
    [[ -f $file ]] || die "$file: it is not a regular file"
done
command -v python3 >/dev/null || die "python3 is not installed"
[[ -x /usr/bin/time ]] || die "GNU time is not installed"
image=$(realpath "$1") other=$(realpath "$2") rounds=${5:-15}

here=$(mktemp -d "${TMPDIR:-/tmp}/null-pair.XXXXXX")
trap 'rm -rf "$here"' EXIT
cp "$3" "$here/old"
cp "$3" "$here/again"
cp "$4" "$here/new"
cd "$here"

# Each build unpacks what it packed itself: formats change between builds.
for who in old again new; do
    "./$who" pack "$image" -o "$who.ami" --name null-pair >/dev/null
done

run() { # VERB WHO ARGUMENT...
    local verb=$1 who=$2 status=0 start end
    shift 2
    sync
    # GNU time counts in hundredths, which are some per cent of what is short.
    start=$EPOCHREALTIME
    /usr/bin/time -q -o used -f "%U %S %M" "./$who" "$verb" "$@" >/dev/null 2>said || status=$?
    end=$EPOCHREALTIME
    echo "$verb $who $start $end $(tail -n 1 used)" >>times
    # `diff` ends with 1 where something differs.
    [[ $status = 0 || ($verb = diff && $status = 1) ]] || die "$who $verb: $(cat said)"
}

for ((round = 0; round < rounds; round++)); do
    for who in $(shuf -e old again new); do
        run snapshot "$who" "$image" -o out.snap
        run pack "$who" "$image" -o out.ami --name null-pair
        run unpack "$who" "$who.ami" -o out.raw
        run diff "$who" "$image" "$other"
        run convert "$who" "$image" out.qcow2
        rm -rf out.*
    done
done

python3 - times <<'END'
import statistics
import sys

runs = {}
for line in open(sys.argv[1]):
    verb, who, start, end, user, system, memory = line.split()
    runs.setdefault((verb, who), []).append((float(end) - float(start), float(user) + float(system), int(memory)))
print("| | | old | old again | new | null pair | new to old |")
print("|---|---|---|---|---|---|---|")
for verb in ["snapshot", "pack", "unpack", "diff", "convert"]:
    for number, unit in enumerate(["wall, s", "processor, s", "memory, KiB"]):
        old, again, new = (
            statistics.median(run[number] for run in runs[verb, who]) for who in ["old", "again", "new"]
        )
        digits = 0 if number == 2 else 3
        print(f"| `{verb}` | {unit} | {old:.{digits}f} | {again:.{digits}f} | {new:.{digits}f} | {again / old:.3f} | {2 * new / (old + again):.3f} |")
END
