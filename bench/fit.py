"""Minimises one objective with SciPy, PyTorch-minimize and refit, from the same start to the same gradient norm.

    python3 bench/fit.py --data FILE [--venv DIR] [--work DIR] [--eps-g 1e-4] [--start zeros] [--rounds 3] [--csv bench/fit.csv]
    python3 bench/fit.py --generate 1000000 100 [..]

The objective is the mean over rows of (b - sigmoid(a^T w + bias))^2, labels 0 and 1 by value; no bias with --no-bias. FILE
is a LIBSVM file, plain or gzipped, called by its name in the table; lines are added to --csv. --generate makes one from a seed: a_ij ~ N(0, 1/j), rows of mean norm 1, labels drawn
from a logistic model. Peers get closed forms of gradient and Hessian action in NumPy on double precision, sparse or dense
as they are faster, and two threads; seconds are those of the solver alone, without reading. What refit returns is checked
with the peers' own gradient. Peers are installed from PyPI into the virtual environment if they are not there. A random
start is the one that `refit fit` leaves in OUT/start.safetensors.
"""

import argparse
import csv
import gzip
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
THREADS = 2
PEERS = ["numpy", "scipy", "torch", "pytorch-minimize"]
SCIPY = ["trust-krylov", "trust-ncg", "L-BFGS-B"]
TORCH = ["trust-ncg"]
SOLVERS = ["tr", "arc"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", type=Path, help="LIBSVM file")
    source.add_argument("--generate", type=int, nargs=2, metavar=("ROWS", "COLUMNS"), help="rows drawn from a seed")
    parser.add_argument("--venv", type=Path, default=Path(tempfile.gettempdir()) / "refit-fit-peers")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "refit-bench-fit")
    parser.add_argument("--refit", type=Path, help="the program; built if it is not given")
    parser.add_argument("--eps-g", type=float, default=1e-4)
    parser.add_argument("--start", choices=["zeros", "ones", "random"], default="zeros")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-bias", action="store_true")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each solver")
    parser.add_argument("--limit", type=float, default=300, help="seconds after which a peer is stopped")
    parser.add_argument("--solvers", nargs="*", default=SOLVERS, help="solvers of refit")
    parser.add_argument("--only-peers", action="store_true", help="leave refit out")
    parser.add_argument("--csv", type=Path)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    inside = Path(sys.prefix).resolve() == options.venv.resolve()
    if not inside:
        prepare(options.venv)
        environment = dict(os.environ, OMP_NUM_THREADS=str(THREADS), OPENBLAS_NUM_THREADS=str(THREADS))
        python = options.venv / "bin" / "python"
        sys.exit(subprocess.run([python, *sys.argv], env=environment).returncode)
    compare(options)


def prepare(folder):
    """A virtual environment that has the peers."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
    if subprocess.run([python, "-c", "import scipy, torchmin"], capture_output=True).returncode:
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PEERS], check=True)


def compare(options):
    path = options.data or generate(options.work, *options.generate)
    refit = None if options.only_peers else options.refit or build()
    objective = Objective(*read(path), bias=not options.no_bias)
    runs = [] if refit is None else [("refit", solver) for solver in options.solvers]
    runs += [("scipy", method) for method in SCIPY] + [("torchmin", method) for method in TORCH]
    rows, start = [], None
    for turn in range(options.rounds):
        for side, method in runs:
            print(f"\rturn {turn + 1} of {options.rounds}: {side} {method}          ", end="", file=sys.stderr)
            if side == "refit":
                result, start = ours(refit, path, method, objective, options)
            else:
                # A random start is known once refit has run.
                x = first(options.start, objective.dim, start)
                result = scipy(objective, x, method, options) if side == "scipy" else torchmin(objective, x, method, options)
            rows.append({"side": side, "method": method, "turn": turn, **result})
    print(file=sys.stderr)
    report(rows, runs, objective, path, options)


def first(name, dim, known):
    import numpy as np

    if name == "random":
        if known is None:
            sys.exit("a random start comes from refit: `--only-peers` takes zeros or ones")
        return known.copy()
    return np.full(dim, {"zeros": 0.0, "ones": 1.0}[name])


def build():
    subprocess.run(["cargo", "build", "--release", "--bin", "refit"], cwd=ROOT, check=True)
    return Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release" / "refit"


def ours(refit, path, solver, objective, options):
    """A run of `refit fit`, and the start that it took if that was random."""
    import numpy as np

    out = options.work / "out-refit"
    shutil.rmtree(out, ignore_errors=True)
    command = [refit, "fit", "--data", path, "--objective", "sigmoid-square", "--solver", solver, "--eps-g", options.eps_g]
    command += ["--start", options.start, "--seed", options.seed, "--threads", THREADS, "--out", out, "--json"]
    command += ["--no-bias"] if options.no_bias else []
    process = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    if process.returncode:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{process.stderr[-3000:]}")
    told = json.loads(process.stdout)
    peak = json.loads((out / "run.json").read_text()).get("peak_bytes")
    w = safetensors(out / "weights.safetensors", "w").astype(np.float64)
    start = safetensors(out / "start.safetensors", "w").astype(np.float64) if options.start == "random" else None
    shutil.rmtree(out)
    value, gradient = objective.value_and_gradient(w.reshape(-1))
    result = {"seconds": told["seconds"], "status": told["status"] if isinstance(told["status"], str) else json.dumps(told["status"])}
    return result | {"loss": value, "gradient": float(np.linalg.norm(gradient)), "passes": told["propagations"] / objective.rows, "peak_times": f"{peak / single(objective.a):.2f}" if peak else ""}, start


def single(matrix):
    """Bytes of the rows as refit has them: values in single precision, and a column for each that is not zero."""
    return matrix.size * 4 if hasattr(matrix, "strides") else matrix.nnz * 8


def safetensors(path, name):
    """One tensor of floats."""
    import numpy as np

    bytes_ = path.read_bytes()
    size = int.from_bytes(bytes_[:8], "little")
    about = json.loads(bytes_[8 : 8 + size])[name]
    begin, end = (8 + size + at for at in about["data_offsets"])
    return np.frombuffer(bytes_[begin:end], dtype={"F32": "<f4", "F64": "<f8"}[about["dtype"]])


class Objective:
    """Mean of (b - sigmoid(Aw + bias))^2 with its derivatives; counts passes over the rows as propagations of all of them."""

    def __init__(self, matrix, labels, bias):
        import numpy as np

        self.a, self.bias = matrix, bias
        values = np.unique(labels)
        if len(values) != 2:
            sys.exit(f"{len(values)} classes, expected two")
        self.b = (labels == values[1]).astype(np.float64)
        self.rows, columns = matrix.shape
        self.dim = columns + bias
        self.reset()

    def reset(self):
        self.passes, self.point, self.last = 0, None, None
        self.counts = {"values": 0, "products": 0}

    def forward(self, w):
        import numpy as np

        margins = self.a @ w[: self.dim - self.bias]
        if self.bias:
            margins = margins + w[-1]
        # The exponential of a large number is caught by the division.
        with np.errstate(over="ignore"):
            return 1.0 / (1.0 + np.exp(-margins))

    def back(self, slopes):
        import numpy as np

        out = self.a.T @ slopes
        return np.append(out, slopes.sum()) if self.bias else out

    def value_and_gradient(self, w):
        """Solvers ask for value and gradient apart, at the same point."""
        if self.point is not None and (self.point == w).all():
            return self.last
        s = self.forward(w)
        miss = s - self.b
        self.counts["values"] += 1
        self.passes += 2
        self.last = float((miss * miss).mean()), self.back(2 / self.rows * miss * s * (1 - s))
        self.point, self.curvature = w.copy(), 2 / self.rows * (miss * s * (1 - s) * (1 - 2 * s) + (s * (1 - s)) ** 2)
        return self.last

    def value(self, w):
        return self.value_and_gradient(w)[0]

    def gradient(self, w):
        return self.value_and_gradient(w)[1]

    def product(self, w, v):
        self.value_and_gradient(w)
        self.counts["products"] += 1
        self.passes += 2
        along = self.a @ v[: self.dim - self.bias]
        if self.bias:
            along = along + v[-1]
        return self.back(self.curvature * along)


class Stop(Exception):
    pass


def scipy(objective, x, method, options):
    import numpy as np
    from scipy.optimize import minimize

    objective.reset()
    started, status = time.perf_counter(), "converged"

    def watch(*_args, **_more):
        # The line search of L-BFGS-B stops by the largest entry of the gradient; all are stopped by the norm.
        if np.linalg.norm(objective.last[1]) <= options.eps_g:
            raise Stop
        if time.perf_counter() - started > options.limit:
            raise TimeoutError

    try:
        if method == "L-BFGS-B":
            found = minimize(objective.value_and_gradient, x, jac=True, method=method, callback=watch,
                             options={"maxiter": 100_000, "maxfun": 1_000_000, "maxcor": 100, "ftol": 0, "gtol": 0})
        else:
            found = minimize(objective.value, x, jac=objective.gradient, hessp=objective.product, method=method, callback=watch,
                             options={"maxiter": 100_000, "gtol": options.eps_g})
        status = found.message if not found.success else status
    except Stop:
        pass
    except TimeoutError:
        status = "out of time"
    return finish(objective, started, status)


def finish(objective, started, status):
    import numpy as np

    seconds = time.perf_counter() - started
    value, gradient = objective.last
    return {"seconds": seconds, "status": status, "loss": value, "gradient": float(np.linalg.norm(gradient)), "passes": objective.passes, **objective.counts}


def torchmin(objective, x, method, options):
    """The same objective as tensors; derivatives are those of autograd, as its users have them."""
    import numpy as np
    import torch
    from torchmin import minimize

    torch.set_num_threads(THREADS)
    if not hasattr(objective, "tensors"):
        dense = objective.a if isinstance(objective.a, np.ndarray) else objective.a.toarray()
        objective.tensors = torch.from_numpy(np.ascontiguousarray(dense)), torch.from_numpy(objective.b)
    a, b = objective.tensors

    def value(w):
        margins = a @ w[:-1] + w[-1] if objective.bias else a @ w
        return ((b - torch.sigmoid(margins)) ** 2).mean()

    started, status = time.perf_counter(), "converged"

    def watch(_):
        if time.perf_counter() - started > options.limit:
            raise TimeoutError

    found = torch.from_numpy(x)
    try:
        result = minimize(value, found, method=method, callback=watch, max_iter=100_000, options={"gtol": options.eps_g})
        found, status = result.x, status if result.success else str(result.message)
    except TimeoutError:
        return {"seconds": time.perf_counter() - started, "status": "out of time", "loss": float("nan"), "gradient": float("nan"), "passes": float("nan")}
    except Exception as error:
        return {"seconds": float("nan"), "status": f"failed: {error}".splitlines()[0][:80], "loss": float("nan"), "gradient": float("nan"), "passes": float("nan")}
    seconds = time.perf_counter() - started
    value, gradient = objective.value_and_gradient(found.numpy())
    # Its own counts are of calls, not of passes.
    return {"seconds": seconds, "status": status, "loss": value, "gradient": float(np.linalg.norm(gradient)), "passes": float("nan")}


def read(path):
    """Matrix in double precision, dense where more than a third is stored, and labels."""
    import numpy as np
    from scipy.sparse import csr_matrix

    text = gzip.open(path, "rb") if str(path).endswith(".gz") else open(path, "rb")
    labels, starts, columns, values = [], [0], [], []
    with text:
        for line in text:
            words = line.split(b"#")[0].split()
            if not words:
                continue
            labels.append(float(words[0]))
            pairs = [word.split(b":") for word in words[1:]]
            columns.append(np.array([int(pair[0]) - 1 for pair in pairs], dtype=np.int32))
            # Numbers are rounded to single precision, as they are in refit.
            values.append(np.array([pair[1] for pair in pairs], dtype=np.float64).astype(np.float32))
            starts.append(starts[-1] + len(pairs))
    matrix = csr_matrix((np.concatenate(values).astype(np.float64), np.concatenate(columns), starts))
    if matrix.nnz > matrix.shape[0] * matrix.shape[1] / 3:
        matrix = matrix.toarray()
    return matrix, np.array(labels)


def generate(work, rows, columns):
    """A LIBSVM file of dense rows."""
    import numpy as np

    path = work / f"generated-{rows}x{columns}.txt"
    if path.exists():
        return path
    random = np.random.default_rng(0)
    scale = 1 / np.sqrt(np.arange(1, columns + 1))
    scale /= np.sqrt((scale**2).sum())
    planted = 3 * random.standard_normal(columns)
    form = " ".join(f"{j + 1}:%.6g" for j in range(columns)) + "\n"
    with open(path.with_suffix(".part"), "w") as file:
        for at in range(0, rows, 10_000):
            a = random.standard_normal((min(10_000, rows - at), columns)) * scale
            label = random.random(len(a)) < 1 / (1 + np.exp(-(a @ planted)))
            file.writelines(("+1 " if b else "-1 ") + form % tuple(row) for b, row in zip(label, a))
    path.with_suffix(".part").rename(path)
    return path


def device():
    """The processor."""
    names = [line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return f"{names[0]} x {len(names)}" if names else "unknown"


def commit():
    told = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    return told.stdout.strip() or "unknown"


def report(rows, runs, objective, path, options):
    fields = ["data", "start", "eps_g", "side", "method", "turn", "seconds", "status", "loss", "gradient", "passes", "values", "products"]
    fields += ["peak_times", "threads", "device", "scipy", "commit"]
    if options.csv:
        import scipy as peer

        new = not options.csv.exists()
        with open(options.csv, "a", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=fields)
            if new:
                writer.writeheader()
            common = {"data": path.name, "start": options.start, "eps_g": options.eps_g, "threads": THREADS}
            common |= {"device": device(), "scipy": peer.__version__, "commit": commit()}
            writer.writerows({**common, **row, "seconds": f"{row['seconds']:.3f}", "loss": f"{row['loss']:.9g}", "gradient": f"{row['gradient']:.3e}"} for row in rows)
    of = lambda side, method: [row for row in rows if (row["side"], row["method"]) == (side, method)]
    seconds = {run: statistics.median(row["seconds"] for row in of(*run)) for run in runs}
    best = min((seconds[run] for run in runs if run[0] == "refit"), default=None)
    print(f"{path.name}: {objective.rows} rows, {objective.dim} parameters, start {options.start}, to a gradient norm of {options.eps_g:g}")
    print(f"{'':<9} {'method':<13} {'seconds':>9} {'passes':>8} {'loss':>11} {'gradient':>9} {'times refit':>12}  status")
    for side, method in runs:
        row = of(side, method)[-1]
        ratio = f"{seconds[side, method] / best:12.1f}" if best else f"{'':>12}"
        print(f"{side:<9} {method:<13} {seconds[side, method]:9.3f} {row['passes']:8.0f} {row['loss']:11.8f} {row['gradient']:9.1e} {ratio}  {row['status']}")
    missed = [f"{row['side']} {row['method']}" for row in rows if row["side"] == "refit" and not row["gradient"] <= 1.01 * options.eps_g]
    if missed:
        sys.exit(f"the gradient at what refit returned is not within {options.eps_g:g}: {', '.join(sorted(set(missed)))}")


if __name__ == "__main__":
    main()
