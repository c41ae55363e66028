"""Times transformer blocks and convolution nets of PyTorch and of refit-kernels on the same shapes, in alternation.

    python3 bench/torch_kernels.py [--venv DIR] [--rounds 10] [--seconds 1] [--csv bench/kernels.csv]

Both sides run on two threads, in turns of a few seconds, so that a busy machine slows both down.
PyTorch is installed from PyPI into the virtual environment if it is not there. Prints the medians
and the ratio (below 1: refit is faster), and writes the quantiles as CSV.
"""

import argparse
import csv
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
THREADS = 2
# name: (width, tokens, batch, heads), as `CASES` in crates/kernels/benches/cases/mod.rs
BLOCKS = {
    "block-768": (768, 50, 16, 12),
    "block-128": (128, 32, 32, 4),
    "block-384": (384, 64, 8, 6),
}
# name: (input, [(out, kernel, stride, padding)], input gradient), as `STACKS` in cases/conv.rs
CONVS = {
    "conv-stack": ((64, 9, 84, 84), [(32, 3, 2, 0)] + 3 * [(32, 3, 1, 0)], False),
    "conv-16x32": ((64, 16, 32, 32), [(16, 3, 1, 1)], True),
    "conv-32x16": ((64, 32, 16, 16), [(32, 3, 1, 1)], True),
    "conv-64x8": ((64, 64, 8, 8), [(64, 3, 1, 1)], True),
    "conv-1x1": ((64, 64, 16, 16), [(64, 1, 1, 0)], True),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--venv", type=Path, default=Path(tempfile.gettempdir()) / "refit-torch")
    parser.add_argument("--rounds", type=int, default=10, help="turns of each side")
    parser.add_argument("--seconds", type=float, default=1.0, help="per case and turn")
    parser.add_argument("--csv", type=Path, default=ROOT / "bench" / "kernels.csv")
    parser.add_argument("--cases", nargs="*", default=[], help="names; all when none is given")
    parser.add_argument("--torch-turn", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.torch_turn:
        torch_turn(options.seconds, options.cases)
    else:
        compare(options)


def compare(options):
    python = prepare(options.venv)
    rust = {"time_blocks": BLOCKS, "time_conv": CONVS}
    runs = {build(example): cases for example, cases in rust.items()}
    asked = lambda cases: [name for name in cases if not options.cases or name in options.cases]
    environment = dict(os.environ, RAYON_NUM_THREADS=str(THREADS), OMP_NUM_THREADS=str(THREADS))
    sides = {
        "refit": [[run, str(options.seconds), *asked(cases)] for run, cases in runs.items() if asked(cases)],
        "torch": [[python, __file__, "--torch-turn", "--seconds", str(options.seconds)]
                  + (["--cases", *options.cases] if options.cases else [])],
    }
    times = {}
    for turn in range(options.rounds):
        for side, commands in sides.items():
            print(f"\rround {turn + 1} of {options.rounds}: {side} ", end="", file=sys.stderr)
            run = lambda command: subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
            for line in "".join(run(command).stdout for command in commands).splitlines():
                row = json.loads(line)
                times.setdefault((row["case"], row["pass"]), {}).setdefault(side, []).append(row["millis"])
    print(file=sys.stderr)
    report(times, options.csv, versions(python))


def prepare(folder):
    """The interpreter of a virtual environment that has PyTorch."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
    if subprocess.run([python, "-c", "import torch"], capture_output=True).returncode:
        subprocess.run([python, "-m", "pip", "install", "--quiet", "torch", "numpy"], check=True)
    return str(python)


def build(example):
    command = ["cargo", "build", "--release", "-p", "refit-kernels", "--example", example]
    output = subprocess.run(
        [*command, "--message-format", "json-render-diagnostics"],
        cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True,
    )
    messages = map(json.loads, output.stdout.splitlines())
    return [m["executable"] for m in messages if m.get("executable")][-1]


def versions(python):
    torch = subprocess.run([python, "-c", "import torch; print(torch.__version__)"], capture_output=True, text=True)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    return {"device": processor(), "torch": torch.stdout.strip(), "commit": commit.stdout.strip()}


def processor():
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]} x {len(names)}" if names else platform.processor()


def report(times, path, facts):
    ratios = []
    rows = []
    print(f"{'case':<10} {'pass':<17} {'refit ms':>9} {'torch ms':>9} {'ratio':>6} {'rounds':>14}")
    for (case, direction), sides in times.items():
        pooled = {side: [t for turn in turns for t in turn] for side, turns in sides.items()}
        median = {side: statistics.median(values) for side, values in pooled.items()}
        # Ratio of neighbouring turns, then the median over turns: drifts of the machine cancel.
        turns = sorted(
            statistics.median(a) / statistics.median(b) for a, b in zip(sides["refit"], sides["torch"])
        )
        ratio = statistics.median(turns)
        ratios.append(ratio)
        span = f"{turns[0]:.2f} to {turns[-1]:.2f}"
        print(f"{case:<10} {direction:<17} {median['refit']:9.2f} {median['torch']:9.2f} {ratio:6.2f} {span:>14}")
        for side, values in pooled.items():
            deciles = statistics.quantiles(values, n=10)
            rows.append({
                "case": case, "pass": direction, "side": side, "runs": len(values),
                "p20_ms": f"{deciles[1]:.3f}", "p50_ms": f"{median[side]:.3f}", "p80_ms": f"{deciles[7]:.3f}",
                "ratio": f"{ratio:.3f}", "threads": THREADS, **facts,
            })
    mean = math.exp(statistics.fmean(map(math.log, ratios)))
    print(f"geometric mean of the ratios {mean:.3f}, largest {max(ratios):.3f}")
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=rows[0])
        writer.writeheader()
        writer.writerows(rows)


def torch_turn(seconds, names):
    import time

    import torch

    torch.set_num_threads(THREADS)

    def measure(name, direction, run):
        run(), run()
        start, millis = time.perf_counter(), []
        while time.perf_counter() - start < seconds or len(millis) < 5:
            begin = time.perf_counter()
            run()
            millis.append((time.perf_counter() - begin) * 1e3)
        print(json.dumps({"case": name, "pass": direction, "millis": millis}))

    for name, sizes in BLOCKS.items():
        if names and name not in names:
            continue
        block, x = torch_block(torch, *sizes)

        def forward():
            with torch.no_grad():
                block(x)

        def train():
            block.zero_grad(set_to_none=True)
            x.grad = None
            block(x).sum().backward()

        measure(name, "forward", forward)
        x.requires_grad_(True)
        measure(name, "forward+backward", train)
    for name, (size, layers, inner) in CONVS.items():
        if names and name not in names:
            continue
        net, images = torch_convs(torch, size[1], layers), torch.randn(size)

        def look():
            with torch.no_grad():
                net(images)

        def learn():
            net.zero_grad(set_to_none=True)
            images.grad = None
            net(images).sum().backward()

        measure(name, "forward", look)
        images.requires_grad_(inner)
        measure(name, "forward+backward", learn)


def torch_convs(torch, channels, layers):
    modules = []
    for out, *sizes in layers:
        modules += [torch.nn.Conv2d(channels, out, *sizes), torch.nn.ReLU()]
        channels = out
    return torch.nn.Sequential(*modules[:-1])


def torch_block(torch, width, tokens, batch, heads):
    nn, functional = torch.nn, torch.nn.functional

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.before, self.after = nn.LayerNorm(width), nn.LayerNorm(width)
            self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))
            self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

        def attend(self, x):
            split = lambda t: t.view(batch, tokens, heads, width // heads).transpose(1, 2)
            y = functional.scaled_dot_product_attention(split(self.q(x)), split(self.k(x)), split(self.v(x)))
            return self.out(y.transpose(1, 2).reshape(batch, tokens, width))

        def forward(self, x):
            x = x + self.attend(self.before(x))
            return x + self.down(functional.gelu(self.up(self.after(x))))

    torch.manual_seed(1)
    return Block(), torch.randn(batch, tokens, width)


if __name__ == "__main__":
    main()
