#!/bin/sh
# Runs every fuzz target for a bounded time: fuzz/run.sh SECONDS (default 60, per target).
# Needs cargo-fuzz (`cargo install cargo-fuzz --locked`). The sanitiser is an unstable compiler flag; where no nightly
# toolchain is installed, the stable one is told to accept it.
set -eu
seconds=${1:-60}
cd "$(dirname "$0")/.."

if ! cargo fuzz --version >/dev/null 2>&1; then
    echo "skipped: cargo-fuzz not available"
    exit 0
fi
export RUSTC_BOOTSTRAP=1

corpus=fuzz/corpus
mkdir -p "$corpus"
cargo run --quiet --manifest-path fuzz/Cargo.toml --bin seeds -- "$corpus"
for target in $(cargo fuzz list); do
    [ "$target" = seeds ] && continue
    echo "fuzz $target for $seconds s"
    mkdir -p "$corpus/$target"
    cargo fuzz run "$target" "$corpus/$target" -- \
        -max_total_time="$seconds" -max_len=65536 -rss_limit_mb=2048 -timeout=10 -print_final_stats=1
done
