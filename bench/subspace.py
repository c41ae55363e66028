"""Merges the matrices of a layer by singular values, with FusionBench and with refit, in turns.

    python3 bench/subspace.py [--venv DIR] [--work DIR] [--rounds 1] [--layers 1] [--methods iso_c iso_cts tsv_m wudi]

Makes a base and two experts: per layer four matrices of 1024 x 1024 and three of 1024 x 2816, as in a Llama of that
width, in single precision, experts changed by noise of 0.002. Both sides have two threads. FusionBench's functions get
task vectors that are in memory and only what they compute is timed; the whole command of refit is, from files to
files. FusionBench is installed from PyPI into the virtual environment if it is not there. Prints medians, ratios, peaks
of resident memory and the largest difference of the results in units of the largest change; writes every turn as CSV.
"""

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
THREADS = 2
PEER = "fusion-bench==0.2.33"
METHODS = ["iso_c", "iso_cts", "tsv_m", "wudi"]
EXPERTS = ["a", "b"]
SHAPES = [(1024, 1024)] * 4 + [(2816, 1024)] * 2 + [(1024, 2816)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--venv", type=Path, default=Path(tempfile.gettempdir()) / "refit-fusion-bench")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "refit-bench-subspace")
    parser.add_argument("--rounds", type=int, default=1, help="turns of each side")
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--methods", nargs="*", default=METHODS)
    parser.add_argument("--csv", type=Path, default=ROOT / "bench" / "subspace.csv")
    parser.add_argument("--peer", help=argparse.SUPPRESS)
    parser.add_argument("--make", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        return peer(options.peer, options.work)
    if options.make:
        return make(options.make, options.work)
    python = prepare(options.venv)
    options.work.mkdir(parents=True, exist_ok=True)
    here = ["--work", options.work]
    subprocess.run([python, __file__, "--make", str(options.layers), *here], check=True)
    subprocess.run(["cargo", "build", "--release", "--bin", "refit"], cwd=ROOT, check=True)
    refit = ROOT / "target" / "release" / "refit"
    rows = []
    for method in options.methods:
        models = [{"model": str(options.work / name)} for name in EXPERTS]
        recipe = {"merge_method": method, "base_model": str(options.work / "base"), "models": models, "dtype": "float32"}
        path = options.work / f"{method}.yaml"
        path.write_text(json.dumps(recipe))
        for turn in range(options.rounds):
            print(f"\r{method}: turn {turn + 1} of {options.rounds}   ", end="", file=sys.stderr)
            out = options.work / f"refit-{method}"
            subprocess.run(["rm", "-rf", out], check=True)
            seconds, peak, _ = timed([refit, "merge", path, "--threads", str(THREADS), "--out", out])
            rows.append({"method": method, "side": "refit", "turn": turn, "seconds": seconds, "peak_mb": peak, "difference": ""})
            _, peak, text = timed([python, __file__, "--peer", method, *here])
            found = json.loads(text.splitlines()[-1])
            rows.append({"method": method, "side": "fusion-bench", "turn": turn, "peak_mb": peak, **found})
    print(file=sys.stderr)
    with open(options.csv, "w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows({**row, "seconds": f"{row['seconds']:.2f}", "peak_mb": f"{row['peak_mb']:.0f}"} for row in rows)
    print(f"{'method':<10} {'refit s':>8} {'MB':>6} {'fusion-bench s':>15} {'MB':>6} {'ratio':>6} {'difference':>10}")
    for method in options.methods:
        of = lambda side, key: [row[key] for row in rows if (row["method"], row["side"]) == (method, side)]
        ours, theirs = (statistics.median(of(side, "seconds")) for side in ("refit", "fusion-bench"))
        peaks = [max(of(side, "peak_mb")) for side in ("refit", "fusion-bench")]
        worst = max(of("fusion-bench", "difference"))
        print(f"{method:<10} {ours:8.1f} {peaks[0]:6.0f} {theirs:15.1f} {peaks[1]:6.0f} {theirs / ours:6.1f} {worst:10.1e}")


def prepare(folder):
    """The interpreter of a virtual environment that has FusionBench."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
    if subprocess.run([python, "-c", "import fusion_bench"], capture_output=True).returncode:
        subprocess.run([python, "-m", "pip", "install", "--quiet", PEER], check=True)
    return str(python)


def timed(command):
    """Seconds, peak of resident memory in MB, and what it printed."""
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+") as errors:  # a pipe would fill up
        process = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, stderr=errors, text=True)
        text = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            errors.seek(0)
            sys.exit(f"{command[0]} failed:\n{errors.read()[-2000:]}")
    return time.perf_counter() - start, usage.ru_maxrss / 1024, text


def make(layers, work):
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    base = {f"layers.{i}.{j}.weight": torch.randn(shape) * 0.02 for i in range(layers) for j, shape in enumerate(SHAPES)}
    for name in ["base", *EXPERTS]:
        (work / name).mkdir(exist_ok=True)
        noise = 0.0 if name == "base" else 0.002
        weights = {key: value + noise * torch.randn(value.shape) for key, value in base.items()}
        save_file(weights, work / name / "model.safetensors")


def peer(method, work):
    import torch
    from fusion_bench.method.isotropic_merging.iso_utils import iso_c, iso_cts
    from fusion_bench.method.task_singular_vector.utils.TSVM_utils import compute_and_sum_svd_mem_reduction as tsv_m
    from fusion_bench.method.wudi.wudi import wudi_merging as wudi
    from safetensors.torch import load_file

    torch.set_num_threads(THREADS)
    base = load_file(work / "base" / "model.safetensors")
    experts = [load_file(work / name / "model.safetensors") for name in EXPERTS]
    tasks = [{key: expert[key] - base[key] for key in base} for expert in experts]
    start = time.perf_counter()
    if method == "iso_cts":
        merged = iso_cts(tasks, 0.8, accelerator="cpu")
    else:
        merged = {"iso_c": iso_c, "tsv_m": tsv_m, "wudi": wudi}[method](tasks, accelerator="cpu")
    seconds = time.perf_counter() - start
    ours = load_file(work / f"refit-{method}" / "model.safetensors")
    changes = {key: (ours[key] - base[key], value.detach()) for key, value in merged.items()}
    apart = max(float((a - b).abs().max() / b.abs().max()) for a, b in changes.values())
    print(json.dumps({"seconds": seconds, "difference": apart}))


if __name__ == "__main__":
    main()
