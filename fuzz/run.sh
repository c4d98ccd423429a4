#!/usr/bin/env bash
# Runs fuzz targets over the stored seeds and regressions.
#
#   fuzz/run.sh walk              one target, two million runs
#   fuzz/run.sh all 10m           each target for ten minutes
#   fuzz/run.sh manifest 50000    one target, so many runs
#
# A run that takes over 5 seconds or over 64 MiB counts as a failure; what failed is left under
# fuzz/artifacts. Needs a C++ compiler, and no other toolchain than the one that builds amikit.
set -euo pipefail
cd "$(dirname "$0")/.."
what=${1:?a target, or all}
amount=${2:-2000000}
case $amount in
    *m) limit=-max_total_time=$((${amount%m} * 60)) ;;
    *s) limit=-max_total_time=${amount%s} ;;
    *) limit=-runs=$amount ;;
esac

targets=$(sed -n 's/^    ("\([a-z-]*\)", [a-z_]*::[a-z_]*),$/\1/p' fuzz/targets/mod.rs)
[ "$what" = all ] || targets=$what

# What tells the fuzzer which way its input went. Only what is compiled for the target has it, and not what
# runs while compiling. The flags are those of cargo-fuzz; the compiler calls them unstable.
host=$(rustc -vV | sed -n 's/^host: //p')
built=${CARGO_TARGET_DIR:-fuzz/target}/fuzz
# make_seeds is no target, and has nothing to count with.
bins=(--bin proof)
for target in $targets; do bins+=(--bin "${target//-/_}"); done
RUSTC_BOOTSTRAP=1 RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Ccodegen-units=1 \
    -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares" \
    cargo build --quiet --locked --release --manifest-path fuzz/Cargo.toml --target "$host" --target-dir "$built" "${bins[@]}"
bin=$built/$host/release

# Without feedback millions of runs look at nothing: this header is never met by chance.
if "$bin/proof" -seed=1 -runs=20000000 -max_len=28 -verbosity=0 -artifact_prefix="$built/" >"$built/proof.log" 2>&1; then
    echo "the fuzzer does not see which way its input goes: these runs would prove nothing"
    exit 1
fi
grep -q 'feedback works' "$built/proof.log" || { tail "$built/proof.log"; exit 1; }

for target in $targets; do
    echo "== $target"
    folders=()
    mkdir -p "fuzz/corpus/$target" "fuzz/artifacts/$target"
    for kind in corpus seeds regressions; do
        [ ! -d "fuzz/$kind/$target" ] || folders+=("fuzz/$kind/$target")
    done
    "$bin/${target//-/_}" "$limit" -timeout=5 -rss_limit_mb=512 -max_len=65536 -print_final_stats=1 \
        -artifact_prefix="fuzz/artifacts/$target/" "${folders[@]}"
done
