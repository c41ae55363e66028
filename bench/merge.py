"""Merges checkpoints with mergekit and with refit, in alternation, and compares time and memory.

    python3 bench/merge.py [--venv DIR] [--work DIR] [--rounds 3] [--methods linear ties ...] [--csv bench/merge.csv]
    python3 bench/merge.py --growth [--methods linear ties] [--csv bench/merge_growth.csv]

Makes a Llama-shaped checkpoint of 24 layers and 374 M parameters in bfloat16 and three fine-tuned ones (base plus
noise of a tenth of its spread in a random tenth to all of the entries), once. Both sides run the same recipe on two
threads, in turns. The floor is a copy of the base that is forced to the disk. mergekit is installed from PyPI into the
virtual environment if it is not there. Prints medians, ratios and the peak of resident memory; writes every turn as CSV.
With --growth refit alone merges one to eight experts, and once more under a limit of 700 MB of address space.
"""

import argparse
import csv
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
MERGEKIT = "mergekit==0.1.5"
EXPERTS = ["code", "chat", "maths"]
LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 1024,
    "intermediate_size": 2816,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "vocab_size": 32000,
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}
WEIGHTS = {"code": 0.5, "chat": 0.3, "maths": 0.2}


def recipe(method, work, experts=EXPERTS):
    """The same text for both programs; JSON is YAML."""
    weighted = [{"model": str(work / name), "parameters": {"weight": WEIGHTS.get(name, 0.1)}} for name in experts]
    text = {"merge_method": method, "dtype": "float32", "out_dtype": "bfloat16"}
    if method == "linear":
        return text | {"models": weighted}
    text["base_model"] = str(work / "base")
    if method in ("slerp", "nearswap", "arcee_fusion"):
        models = [{"model": str(work / "base")}, {"model": str(work / "code")}]
        return text | {"models": models, "parameters": {} if method == "arcee_fusion" else {"t": 0.4 if method == "slerp" else 1e-3}}
    if method == "model_stock":
        return text | {"models": [{"model": str(work / name)} for name in EXPERTS]}
    if method == "sce":
        return text | {"models": [{"model": str(work / name)} for name in EXPERTS], "parameters": {"select_topk": 0.5}}
    for model in weighted:
        if method != "task_arithmetic":
            model["parameters"]["density"] = 0.5
    return text | {"models": weighted}


METHODS = ["linear", "slerp", "task_arithmetic", "ties", "dare_linear", "dare_ties", "della", "breadcrumbs", "sce", "model_stock", "arcee_fusion", "nearswap"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--venv", type=Path, default=Path(tempfile.gettempdir()) / "refit-mergekit")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "refit-bench-merge")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each side")
    parser.add_argument("--methods", nargs="*", default=METHODS)
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--growth", action="store_true", help="time and memory over the number of experts")
    parser.add_argument("--only-refit", action="store_true", help="leave mergekit out")
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.make:
        return make(options.make)
    python = prepare(options.venv)
    options.work.mkdir(parents=True, exist_ok=True)
    if not (options.work / "maths" / "model.safetensors").exists():
        subprocess.run([python, __file__, "--make", options.work], check=True)
    refit = build()
    options.csv = options.csv or ROOT / "bench" / ("merge_growth.csv" if options.growth else "merge.csv")
    if options.growth:
        return growth(refit, options)
    rows = []
    for method in options.methods:
        path = options.work / f"{method}.yaml"
        path.write_text(json.dumps(recipe(method, options.work), indent=1))
        for turn in range(options.rounds):
            print(f"\r{method}: turn {turn + 1} of {options.rounds}   ", end="", file=sys.stderr)
            sides = {"copy": None, "refit": [refit, "merge", path, "--threads", THREADS, "--out"]}
            if not options.only_refit:
                kit = Path(python).parent / "mergekit-yaml"
                sides["mergekit"] = [kit, path]
            for side, command in sides.items():
                seconds, peak = copy(options.work) if side == "copy" else timed(command, options.work / f"out-{side}")
                rows.append({"method": method, "side": side, "turn": turn, "seconds": seconds, "peak_mb": peak})
    print(file=sys.stderr)
    report(rows, options)


def growth(refit, options):
    """One to eight experts: time should grow with the bytes that are read, memory should not."""
    names = EXPERTS + [f"copy-{i}" for i in range(8 - len(EXPERTS))]
    for name, of in zip(names[len(EXPERTS):], EXPERTS * 2):
        # A folder of its own, so that the program reads it as another model.
        (options.work / name).mkdir(exist_ok=True)
        for file in (options.work / of).iterdir():
            if not (options.work / name / file.name).exists():
                os.link(file, options.work / name / file.name)
    methods = options.methods if options.methods != METHODS else ["linear", "ties"]
    rows = []
    for method in methods:
        for count in (1, 2, 4, 8):
            path = options.work / f"{method}-{count}.yaml"
            path.write_text(json.dumps(recipe(method, options.work, names[:count]), indent=1))
            command = [refit, "merge", path, "--threads", THREADS, "--out"]
            turns = [timed(command, options.work / "out-refit") for _ in range(options.rounds)]
            rows += [{"method": method, "experts": count, "turn": at, "seconds": s, "peak_mb": peak} for at, (s, peak) in enumerate(turns)]
        limited = ["sh", "-c", f'ulimit -v 700000; exec "{refit}" merge "{path}" --threads {THREADS} --out "$0"']
        _, peak = timed(limited, options.work / "out-refit")
        print(f"{method}, 8 experts: finishes under 700 MB of address space ({peak:.0f} MB resident)")
    with open(options.csv, "w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows({**row, "seconds": f"{row['seconds']:.2f}", "peak_mb": f"{row['peak_mb']:.0f}"} for row in rows)
    print(f"{'method':<16} {'experts':>7} {'seconds':>8} {'a model read':>12} {'MB':>5}")
    for method, count in dict.fromkeys((row["method"], row["experts"]) for row in rows):
        turns = [row for row in rows if (row["method"], row["experts"]) == (method, count)]
        seconds, read = statistics.median(row["seconds"] for row in turns), count + (method != "linear")
        print(f"{method:<16} {count:7} {seconds:8.2f} {seconds / read:12.2f} {max(row['peak_mb'] for row in turns):5.0f}")


def prepare(folder):
    """The interpreter of a virtual environment that has mergekit."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
    if subprocess.run([python, "-c", "import mergekit"], capture_output=True).returncode:
        subprocess.run([python, "-m", "pip", "install", "--quiet", MERGEKIT], check=True)
    return str(python)


def build():
    subprocess.run(["cargo", "build", "--release", "--bin", "refit"], cwd=ROOT, check=True)
    target = os.environ.get("CARGO_TARGET_DIR", ROOT / "target")
    return Path(target) / "release" / "refit"


def timed(command, out):
    """Seconds and peak of resident memory, in MB, of a merge into `out`, forced to the disk."""
    shutil.rmtree(out, ignore_errors=True)
    environment = dict(os.environ, OMP_NUM_THREADS=str(THREADS), HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")
    started = time.perf_counter()
    process = subprocess.Popen([*map(str, command), str(out)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    words = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{command} failed:\n{words[-3000:]}")
    sync(out)
    seconds = time.perf_counter() - started
    shutil.rmtree(out)
    return seconds, usage.ru_maxrss / 1024


def copy(work):
    """Seconds for a copy of the base that is forced to the disk: the floor."""
    out = work / "out-copy"
    shutil.rmtree(out, ignore_errors=True)
    started = time.perf_counter()
    shutil.copytree(work / "base", out)
    sync(out)
    seconds = time.perf_counter() - started
    shutil.rmtree(out)
    return seconds, 0


def sync(folder):
    for path in folder.rglob("*"):
        if path.is_file():
            with open(path, "rb") as file:
                os.fsync(file.fileno())


def make(work):
    """Base and experts; runs in the virtual environment."""
    import torch
    from safetensors.torch import save_file

    width, inner, vocabulary = LLAMA["hidden_size"], LLAMA["intermediate_size"], LLAMA["vocab_size"]
    shapes = {"model.embed_tokens.weight": (vocabulary, width)}
    for layer in range(LLAMA["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        shapes |= {at + f"self_attn.{name}_proj.weight": (width, width) for name in "qkvo"}
        shapes |= {at + f"mlp.{name}_proj.weight": (inner, width) for name in ("gate", "up")}
        shapes[at + "mlp.down_proj.weight"] = (width, inner)
        shapes |= {at + f"{name}_layernorm.weight": (width,) for name in ("input", "post_attention")}
    shapes |= {"model.norm.weight": (width,), "lm_head.weight": (vocabulary, width)}
    generator = torch.Generator().manual_seed(0)
    normal = lambda shape: torch.randn(shape, generator=generator)
    base = {name: (normal(shape) * 0.02 + (len(shape) == 1)).bfloat16() for name, shape in shapes.items()}
    models = {"base": base}
    for share, name in zip((0.1, 0.5, 1.0), EXPERTS):
        changed = {}
        for path, values in base.items():
            noise = normal(values.shape) * 0.002
            if share < 1:
                noise *= torch.rand(values.shape, generator=generator) < share
            changed[path] = (values.float() + noise).bfloat16()
        models[name] = changed
    for name, tensors in models.items():
        (work / name).mkdir(exist_ok=True)
        (work / name / "config.json").write_text(json.dumps(LLAMA, indent=1))
        save_file(tensors, work / name / "model.safetensors", metadata={"format": "pt"})


def report(rows, options):
    with open(options.csv, "w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=["method", "side", "turn", "seconds", "peak_mb"])
        writer.writeheader()
        writer.writerows({**row, "seconds": f"{row['seconds']:.2f}", "peak_mb": f"{row['peak_mb']:.0f}"} for row in rows)
    # A single copy is soon off by half: one floor for all.
    floor = statistics.median(row["seconds"] for row in rows if row["side"] == "copy")
    print(f"{'method':<16} {'copy s':>7} {'refit s':>8} {'x copy':>7} {'MB':>5} {'mergekit s':>11} {'MB':>6} {'faster':>7}")
    for method in options.methods:
        of = lambda side, key: [row[key] for row in rows if row["method"] == method and row["side"] == side]
        ours = statistics.median(of("refit", "seconds"))
        line = f"{method:<16} {floor:7.2f} {ours:8.2f} {ours / floor:7.2f} {max(of('refit', 'peak_mb')):5.0f}"
        theirs = of("mergekit", "seconds")
        if theirs:
            line += f" {statistics.median(theirs):11.2f} {max(of('mergekit', 'peak_mb')):6.0f} {statistics.median(theirs) / ours:7.1f}"
        print(line)


if __name__ == "__main__":
    main()
