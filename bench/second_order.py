"""Work and time of every solver of `refit fit` to gradients of several lengths, from several starts and seeds.

    python3 bench/second_order.py --data ../shared/data/libsvm_a9a.txt.gz --csv bench/second_order.csv

Each tolerance is a run of its own, as samples depend on it; solvers of first order do not, and run once, to the smallest.
Numbers are medians over seeds, of the whole run with its certificate, and of the way until the gradient of all rows is
short, which is looked at without being counted. A solver that does not come there counts as infinitely far.

`--mnist` writes the binarised digits of an .npz file (`img28_mnist_binary_full.npz`) as rows first.
"""

import argparse
import ast
import csv
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SECOND = ["tr:full", "tr:hessian", "tr", "arc:full", "arc:hessian", "arc", "lbfgs"]
FIRST = ["sgd", "adamw"]
FIELDS = ["data", "rows", "start", "seed", "eps_g", "solver", "status", "trials", "passes", "seconds", "passes_to_eps",
          "seconds_to_eps", "trials_to_eps", "loss", "gradient", "error", "curvature_bound"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", required=True, help="LIBSVM file, generated:ROWS,COLUMNS, or an .npz file with --mnist")
    parser.add_argument("--mnist", action="store_true")
    parser.add_argument("--name", help="what tables call the data")
    parser.add_argument("--refit", type=Path, help="the program; built if it is not given")
    parser.add_argument("--starts", nargs="*", default=["zeros", "ones", "random"])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--eps", nargs="*", type=float, default=[1e-2, 1e-3, 1e-4])
    parser.add_argument("--second", nargs="*", default=SECOND)
    parser.add_argument("--first", nargs="*", default=FIRST)
    parser.add_argument("--csv", type=Path, help="rows are added to it")
    parser.add_argument("--tables", type=Path, help="print the tables of a CSV that is there for --data and --eps, and run nothing")
    parser.add_argument("more", nargs="*", help="flags of refit, after --")
    options = parser.parse_args()
    if options.tables:
        rows = [typed(row) for row in csv.DictReader(open(options.tables))]
        return tables([row for row in rows if row["data"] == options.data and row["eps_g"] in options.eps])
    work = Path(tempfile.mkdtemp(prefix="refit-second-order-"))
    refit = options.refit or build()
    data = mnist(Path(options.data), work) if options.mnist else options.data
    name = options.name or Path(options.data).name
    rows = []
    for start in options.starts:
        for seed in range(options.seeds):
            for at, eps in enumerate(options.eps):
                smallest = eps == min(options.eps)
                solvers = options.second + (options.first if smallest else [])
                print(f"\r{name}: {start}, seed {seed}, {eps:g}      ", end="", file=sys.stderr)
                found = run(refit, data, start, seed, eps, solvers, work / "run", options.more)
                for arm in found["arms"]:
                    targets = options.eps if arm["solver"] in FIRST else [eps]
                    rows += [line(name, found, start, seed, target, arm, work / "run") for target in targets]
            shutil.rmtree(work / "run", ignore_errors=True)
    print(file=sys.stderr)
    shutil.rmtree(work)
    if options.csv:
        new = not options.csv.exists()
        with open(options.csv, "a", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=FIELDS)
            if new:
                writer.writeheader()
            writer.writerows({key: form(value) for key, value in row.items()} for row in rows)
    tables(rows)


def build():
    subprocess.run(["cargo", "build", "--release", "--bin", "refit"], cwd=ROOT, check=True)
    return Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release" / "refit"


def run(refit, data, start, seed, eps, solvers, out, more):
    command = [refit, "fit", "--data", data, "--start", start, "--seed", seed, "--eps-g", eps, "--out", out, "--force", "--json", "-q"]
    for solver in solvers:
        command += ["--solver", solver]
    process = subprocess.run(list(map(str, command + more)), capture_output=True, text=True)
    if process.returncode:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{process.stderr[-3000:]}")
    return json.loads(process.stdout)


def line(name, found, start, seed, eps, arm, out):
    """A row of the CSV; where an arm first came within `eps` is read from the measurements of the run."""
    points = [json.loads(text) for text in open(out / "metrics.jsonl")]
    points = [p for p in points if p["series"] == arm["solver"] and "loss" in p]
    there = next((p for p in points if p["gradient"] is not None and p["gradient"] <= eps), None)
    n = found["rows"]
    return {
        "data": name, "rows": n, "start": start, "seed": seed, "eps_g": eps, "solver": arm["solver"], "status": arm["status"],
        "trials": arm["trials"], "passes": arm["propagations"] / n, "seconds": arm["seconds"],
        "passes_to_eps": there["propagations"] / n if there else float("inf"),
        "seconds_to_eps": there["seconds"] if there else float("inf"),
        "trials_to_eps": there["step"] if there else float("inf"),
        "loss": arm["loss"], "gradient": arm["gradient"], "error": arm["error"], "curvature_bound": arm["curvature_bound"],
    }


def form(value):
    return f"{value:.6g}" if isinstance(value, float) else value


def typed(row):
    number = {"rows", "seed", "trials"}
    words = {"data", "start", "solver", "status"}
    return {k: v if k in words else int(v) if k in number else float(v) if v else None for k, v in row.items()}


def tables(rows):
    """One table for each data set and start, in the form of the documentation."""
    keys = lambda key, rows: list(dict.fromkeys(row[key] for row in rows))
    for data in keys("data", rows):
        of_data = [row for row in rows if row["data"] == data]
        for start in keys("start", of_data):
            here = [row for row in of_data if row["start"] == start]
            seeds = len(keys("seed", here))
            tolerances = sorted(keys("eps_g", here), reverse=True)
            print(f"\n{data}, {here[0]['rows']} rows, start {start}, {seeds} seeds\n")
            print("| solver | " + " | ".join(f"{eps:g}: trials | passes | certified | ms" for eps in tolerances) + " |")
            print("|---|" + "---|" * (4 * len(tolerances)))
            for solver in keys("solver", here):
                cells = []
                for eps in tolerances:
                    found = [row for row in here if row["solver"] == solver and row["eps_g"] == eps]
                    median = lambda key: statistics.median(row[key] for row in found)
                    reached = sum(row["passes_to_eps"] < float("inf") for row in found)
                    if 2 * reached <= len(found):
                        cells += ["-", f"{reached} of {len(found)}", "-", "-"]
                        continue
                    certified = [row["passes"] for row in found if row["status"] == "second-order"]
                    of_all = lambda count: "" if count == len(found) else f" ({count} of {len(found)})"
                    whole = f"{statistics.median(certified):.1f}{of_all(len(certified))}" if certified else "-"
                    some = of_all(reached)
                    cells += [f"{median('trials_to_eps'):g}", f"{median('passes_to_eps'):.1f}{some}", whole, f"{1e3 * median('seconds_to_eps'):.0f}"]
                print(f"| {solver} | " + " | ".join(cells) + " |")


def mnist(path, work):
    """Binarised digits as a LIBSVM file: bit-packed rows sorted by class, 0 first."""
    archive = zipfile.ZipFile(path)
    bits, labels = array(archive, "train_bits"), None
    names = {Path(name).stem for name in archive.namelist()}
    if "train_y" in names:
        labels = array(archive, "train_y")[1]
    (count, width), packed = bits
    file = work / "mnist-binary.txt"
    ones = [[8 * at + bit + 1 for bit in range(8) if byte >> (7 - bit) & 1] for at in range(width) for byte in range(256)]
    with open(file, "w") as out:
        for row in range(count):
            entries = (f"{i}:1" for at, byte in enumerate(packed[row * width:(row + 1) * width]) if byte for i in ones[256 * at + byte])
            out.write(f"{labels[row]} {' '.join(entries)}\n")
    return file


def array(archive, name):
    """Shape and bytes of an array of bytes."""
    data = archive.read(f"{name}.npy")
    size = int.from_bytes(data[8:10], "little")
    header = ast.literal_eval(data[10:10 + size].decode())
    return header["shape"], data[10 + size:]


if __name__ == "__main__":
    main()
