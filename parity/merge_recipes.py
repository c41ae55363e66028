"""Merges small models by the same recipes with mergekit and with refit, and compares every number.

    python3 parity/merge_recipes.py --refit target/release/refit [--venv DIR] [--work DIR] [--only NAME ...]

Makes Llama-shaped models, adapters and tokenizers from a seed. Outputs of deterministic methods have to agree on 99.9 %
of the entries within one unit in the last place of a 16-bit output type, or within 16 units of float32 (the tool rounds
after every step, which costs it several), and to 1e-3 elsewhere; of random ones the share of changed entries, the mean
and the norm. `half-..` recipes merge bfloat16 models with `dtype: bfloat16`: refit computes in higher precision and rounds
once, so that the tool is asked for the same; the table shows how far the tool is from that when it computes in bfloat16,
too. mergekit is installed from PyPI into the virtual environment if it is not there. Exits with 1 where anything differs.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

# What outputs are compared with; another version may do something else.
TOOLS = {"mergekit": "0.1.5", "peft": "0.21.2"}
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
    "torch_dtype": "float32",
    "bos_token_id": 0,
    "eos_token_id": 1,
}
WORDS = ["<s>", "</s>", "<unk>"] + [f"word{i}" for i in range(90)]
EXTRA = {"a": ["<tool>", "alpha"], "b": ["beta", "<think>"]}


def models(*names, **parameters):
    """Entries of a recipe; a list gives each model its own value."""
    pick = lambda value, i: value[i] if isinstance(value, tuple) else value
    return [{"model": name, "parameters": {k: pick(v, i) for k, v in parameters.items()}} for i, name in enumerate(names)]


def gta(method, **parameters):
    return {"merge_method": method, "base_model": "base", "models": models("a", "b", "c", **parameters)}


def single(method, *names, **parameters):
    return {"merge_method": method, "base_model": "base", "models": [{"model": name} for name in names], "parameters": parameters}


THIRDS = (0.5, 0.3, 0.4)
GRADIENT = [0.0, 0.4, 1.0]
FILTERED = [{"filter": "self_attn", "value": [0.1, 0.9]}, {"filter": "mlp", "value": 0.7}, {"value": 0.5}]
LAYERS = lambda name, start, end: {"model": name, "layer_range": [start, end]}

# Deterministic recipes by name; each is merged in float32.
RECIPES = {
    "linear": {"merge_method": "linear", "models": models("a", "b", "c", weight=THIRDS)},
    "linear-sum": {"merge_method": "linear", "models": models("a", "b", weight=(0.5, -0.25)), "parameters": {"normalize": False}},
    "linear-gradient": {"merge_method": "linear", "models": models("a", "b", weight=(GRADIENT, [1.0, 0.2]))},
    "linear-filters": {"merge_method": "linear", "models": models("a", "b", weight=(FILTERED, 0.5))},
    "linear-half": {"merge_method": "linear", "models": models("a", "b", weight=(0.7, 0.3)), "out_dtype": "float16"},
    "linear-bfloat": {"merge_method": "linear", "models": models("a", "b", weight=(0.7, 0.3)), "out_dtype": "bfloat16"},
    "slerp": single("slerp", "base", "a", t=0.35),
    "slerp-gradient-filters": single("slerp", "base", "a", t=FILTERED),
    "nuslerp": {"merge_method": "nuslerp", "models": models("a", "b", weight=(0.7, 0.4))},
    "nuslerp-base": {"merge_method": "nuslerp", "base_model": "base", "models": models("a", "b", weight=(0.7, 0.4))},
    "nuslerp-rows": {"merge_method": "nuslerp", "models": models("a", "b", weight=(0.7, 0.4)), "parameters": {"nuslerp_flatten": False, "nuslerp_row_wise": True}},
    "multislerp": {"merge_method": "multislerp", "models": models("a", "b", "c", weight=THIRDS)},
    "multislerp-base": {"merge_method": "multislerp", "base_model": "base", "models": models("a", "b", "c", weight=THIRDS)},
    "karcher": {"merge_method": "karcher", "models": [{"model": name} for name in "abc"]},
    "task-arithmetic": gta("task_arithmetic", weight=THIRDS),
    "task-arithmetic-lambda": gta("task_arithmetic", weight=THIRDS) | {"parameters": {"normalize": True, "lambda": 0.6}},
    "ties": gta("ties", weight=THIRDS, density=(0.5, 0.3, 1.0)),
    "ties-gradient": gta("ties", weight=(GRADIENT, 0.5, 0.3), density=([1.0, 0.2], 0.5, 0.5)),
    "ties-sum": gta("ties", weight=THIRDS, density=0.2) | {"parameters": {"normalize": False, "lambda": 0.3, "int8_mask": True}},
    "breadcrumbs": gta("breadcrumbs", weight=THIRDS, density=0.7, gamma=0.02),
    "breadcrumbs-ties": gta("breadcrumbs_ties", weight=THIRDS, density=0.7, gamma=0.02),
    "sce": {"merge_method": "sce", "base_model": "base", "models": [{"model": name} for name in "abc"], "parameters": {"select_topk": 0.4}},
    "model-stock": single("model_stock", "a", "b", "c"),
    "model-stock-rows": single("model_stock", "a", "b", "c", filter_wise=True),
    "nearswap": single("nearswap", "base", "a", t=0.002),
    "arcee-fusion": single("arcee_fusion", "base", "a"),
    "ram": {"merge_method": "ram", "base_model": "base", "models": [{"model": name} for name in "ab"]},
    "ramplus": {"merge_method": "ramplus_tl", "base_model": "base", "models": [{"model": name} for name in "ab"]},
    "passthrough": {"merge_method": "passthrough", "slices": [{"sources": [LAYERS("a", 0, 3)]}, {"sources": [LAYERS("b", 1, 4)]}]},
    "passthrough-scale": {
        "merge_method": "passthrough",
        "slices": [
            {"sources": [LAYERS("a", 0, 2)]},
            {"sources": [LAYERS("a", 1, 4) | {"parameters": {"scale": [{"filter": "o_proj", "value": 0.0}, {"value": 1.0}]}}]},
        ],
    },
    "slices": {
        "merge_method": "slerp",
        "base_model": "base",
        "slices": [
            {"sources": [LAYERS("base", 0, 2), LAYERS("a", 0, 2)], "parameters": {"t": [0.2, 0.8]}},
            {"sources": [LAYERS("base", 2, 4), LAYERS("b", 2, 4)]},
        ],
        "parameters": {"t": 0.5},
    },
    "modules": {
        "merge_method": "linear",
        "modules": {"default": {"slices": [{"sources": [LAYERS("a", 0, 4) | {"parameters": {"weight": 0.25}}, LAYERS("b", 0, 4)], "parameters": {"weight": 0.75}}]}},
    },
    "lora": gta("task_arithmetic", weight=THIRDS) | {"models": [{"model": "base+lora", "parameters": {"weight": 0.8}}, {"model": "b", "parameters": {"weight": 0.3}}]},
    "tokenizer-union": {"merge_method": "linear", "models": models("tok-a", "tok-b", weight=(0.6, 0.4)), "tokenizer_source": "union"},
    "tokenizer-base": {"merge_method": "task_arithmetic", "base_model": "base", "models": models("tok-a", "tok-b", weight=(0.6, 0.4)), "tokenizer_source": "base"},
    "tokenizer-sources": {
        "merge_method": "linear",
        "models": models("tok-a", "tok-b", weight=(0.6, 0.4)),
        "tokenizer": {"source": "union", "pad_to_multiple_of": 16, "tokens": {"<tool>": {"source": "tok-a", "force": True}, "beta": {"source": {"kind": "zero"}}}},
    },
}
# Entries are chosen by a difference of logarithms, which the tool takes in float32: those on the border of the
# threshold fall to either side.
NOISY = {"arcee-fusion"}
# Differences of bfloat16 values are often equal; which of those at the threshold stay is not defined by the tool.
TIED = {"half-ties", "half-breadcrumbs-ties", "half-sce"}
RANDOM = {
    "dare-linear": gta("dare_linear", weight=THIRDS, density=0.4),
    "dare-ties": gta("dare_ties", weight=THIRDS, density=(0.4, 0.6, 0.8)),
    "della": gta("della", weight=THIRDS, density=0.5, epsilon=0.2),
    "della-linear": gta("della_linear", weight=THIRDS, density=0.5, epsilon=0.2),
}
# The same on models in bfloat16.
HALF = ("linear", "slerp", "nuslerp", "multislerp", "karcher", "task-arithmetic", "ties", "breadcrumbs-ties", "sce", "model-stock", "nearswap", "ram")
HALVES = {f"half-{name}": json.loads(json.dumps(RECIPES[name])) for name in HALF}
# Documents of one file; the last one is compared.
STAGES = {
    "two-stages": [
        {"name": "first", "merge_method": "linear", "models": models("a", "b", weight=(0.6, 0.4)), "dtype": "float32"},
        {"merge_method": "slerp", "base_model": "base", "models": [{"model": "base"}, {"model": "first"}], "parameters": {"t": 0.5}, "dtype": "float32"},
    ],
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--refit", type=Path, help="the program")
    parser.add_argument("--venv", type=Path, default=Path(tempfile.gettempdir()) / "refit-mergekit")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "refit-parity-merge")
    parser.add_argument("--only", nargs="*", help="names of recipes")
    parser.add_argument("--theirs", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--compare", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    wanted = lambda table: {k: v for k, v in table.items() if not options.only or k in options.only}
    if options.theirs:
        return theirs(options.work, wanted)
    if options.compare:
        return compare(options.work, wanted)
    python = prepare(options.venv)
    shutil.rmtree(options.work, ignore_errors=True)
    options.work.mkdir(parents=True)
    again = [python, __file__, "--work", options.work] + (["--only", *options.only] if options.only else [])
    environment = dict(os.environ, OMP_NUM_THREADS="2", HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")
    subprocess.run([*again, "--theirs"], check=True, env=environment)
    for path in sorted((options.work / "recipes").iterdir()):
        out = options.work / "ours" / path.stem
        command = [options.refit.resolve(), "merge", f"recipes/{path.name}", "--out", f"ours/{path.stem}", "--quiet"]
        out.parent.mkdir(exist_ok=True)
        run = subprocess.run(list(map(str, command)), cwd=options.work, capture_output=True, text=True)
        if run.returncode:
            out.mkdir(exist_ok=True)
            (out / "error.txt").write_text(run.stderr)
    sys.exit(subprocess.run([*again, "--compare"], env=environment).returncode)


def prepare(folder):
    """The interpreter of a virtual environment that has mergekit."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
    check = f"from importlib.metadata import version; assert {{n: version(n) for n in {list(TOOLS)}}} == {TOOLS}"
    if subprocess.run([python, "-c", check], capture_output=True).returncode:
        wanted = [f"{name}=={version}" for name, version in TOOLS.items()]
        subprocess.run([python, "-m", "pip", "install", "--quiet", *wanted], check=True)
    return str(python)


def make(work):
    """Models, adapter and tokenizers; runs in the virtual environment."""
    import torch
    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(0)
    normal = lambda *shape: torch.randn(shape, generator=generator)
    width, inner, heads = CONFIG["hidden_size"], CONFIG["intermediate_size"], CONFIG["num_key_value_heads"]
    small = width // CONFIG["num_attention_heads"] * heads

    def tensors(vocabulary):
        shapes = {"model.embed_tokens.weight": (vocabulary, width), "model.norm.weight": (width,), "lm_head.weight": (vocabulary, width)}
        for layer in range(CONFIG["num_hidden_layers"]):
            at = f"model.layers.{layer}."
            shapes |= {at + f"self_attn.{n}_proj.weight": (small if n in "kv" else width, width) for n in "qkvo"}
            shapes |= {at + f"mlp.{n}_proj.weight": (inner, width) for n in ("gate", "up")}
            shapes[at + "mlp.down_proj.weight"] = (width, inner)
            shapes |= {at + f"{n}_layernorm.weight": (width,) for n in ("input", "post_attention")}
        return shapes

    def save(name, values, words):
        folder = work / name
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(CONFIG | {"vocab_size": len(words)}, indent=1))
        save_file(values, folder / "model.safetensors", metadata={"format": "pt"})
        tokenizer(folder, words)

    base = {name: normal(*shape) * 0.05 + (len(shape) == 1) for name, shape in tensors(len(WORDS)).items()}
    save("base", base, WORDS)
    half = lambda values: {path: tensor.bfloat16() for path, tensor in values.items()}
    save("base-half", half(base), WORDS)
    for name in "abc":
        tuned = {path: values + normal(*values.shape) * 0.01 for path, values in base.items()}
        save(name, tuned, WORDS)
        save(f"{name}-half", half(tuned), WORDS)
    for name, extra in EXTRA.items():
        # Other words, in another order: rows are matched by token.
        words = WORDS[:40] + extra[:1] + WORDS[40:85] + extra[1:]
        row = {word: i for i, word in enumerate(WORDS)}
        values = {}
        for path, tensor in base.items():
            if "embed_tokens" in path or "lm_head" in path:
                tensor = torch.stack([tensor[row[w]] if w in row else normal(width) * 0.05 for w in words])
            values[path] = tensor + normal(*tensor.shape) * 0.01
        save(f"tok-{name}", values, words)
    lora(work / "lora", base, normal)


def tokenizer(folder, words):
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    plain = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    special = [word for word in words if word.startswith("<")]
    plain.add_special_tokens([AddedToken(word, special=True) for word in special])
    PreTrainedTokenizerFast(tokenizer_object=plain, bos_token="<s>", eos_token="</s>", unk_token="<unk>").save_pretrained(folder)


def lora(folder, base, normal):
    from safetensors.torch import save_file

    folder.mkdir()
    rank, targets = 4, ["q_proj", "down_proj"]
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": 8, "target_modules": targets, "bias": "none", "task_type": "CAUSAL_LM",
              "base_model_name_or_path": "base", "lora_dropout": 0.0, "fan_in_fan_out": False, "inference_mode": True}
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=1))
    factors = {}
    for path, values in base.items():
        if any(target in path for target in targets):
            at = "base_model.model." + path.removesuffix(".weight")
            factors[at + ".lora_A.weight"] = normal(rank, values.shape[1]) * 0.05
            factors[at + ".lora_B.weight"] = normal(values.shape[0], rank) * 0.05
    save_file(factors, folder / "adapter_model.safetensors", metadata={"format": "pt"})


def theirs(work, wanted):
    """Runs mergekit on every recipe, in one process."""
    import yaml
    from mergekit.config import MergeConfiguration
    from mergekit.merge import run_merge
    from mergekit.options import MergeOptions

    os.chdir(work)
    make(Path("."))
    Path("recipes").mkdir()
    Path("theirs").mkdir()
    options = MergeOptions(random_seed=7, quiet=True, copy_tokenizer=True, write_model_card=False, lora_merge_cache="lora-cache")
    for name, recipe in (wanted(RECIPES) | wanted(RANDOM)).items():
        recipe = {"dtype": "float32"} | recipe
        Path(f"recipes/{name}.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
        run_merge(MergeConfiguration.model_validate(recipe), f"theirs/{name}", options)
    halves = {"base": "base-half", "a": "a-half", "b": "b-half", "c": "c-half"}
    for name, recipe in wanted(HALVES).items():
        recipe["base_model"] = halves.get(recipe.get("base_model"))
        recipe = {key: value for key, value in recipe.items() if value is not None}
        for entry in recipe["models"]:
            entry["model"] = halves[entry["model"]]
        users = recipe | {"dtype": "bfloat16"}
        Path(f"recipes/{name}.yaml").write_text(yaml.safe_dump(users, sort_keys=False))
        run_merge(MergeConfiguration.model_validate(recipe | {"dtype": "float32", "out_dtype": "bfloat16"}), f"theirs/{name}", options)
        run_merge(MergeConfiguration.model_validate(users), f"rounded/{name}", options)
    for name, documents in wanted(STAGES).items():
        Path(f"recipes/{name}.yaml").write_text(yaml.safe_dump_all(documents, sort_keys=False))
        made = {}
        for i, document in enumerate(documents):
            text = {k: v for k, v in document.items() if k != "name"}
            out = f"theirs/{name}" if i + 1 == len(documents) else f"stage-{document['name']}"
            for entry in text["models"]:
                entry["model"] = made.get(entry["model"], entry["model"])
            run_merge(MergeConfiguration.model_validate(text), out, options)
            made[document.get("name")] = out


def compare(work, wanted):
    from safetensors.torch import load_file

    failed = 0
    print(f"{'recipe':<24} {'tensors':>7} {'within bound':>13} {'largest difference':>19} {'tool in bfloat16':>17}")
    names_of_all = [*wanted(RECIPES), *wanted(HALVES), *wanted(STAGES), *wanted(RANDOM)]
    for name in names_of_all:
        ours, problem = work / "ours" / name, None
        if (ours / "error.txt").exists():
            problem = (ours / "error.txt").read_text().strip()
        else:
            read = lambda side: load_file(work / side / name / "model.safetensors")
            found, expected = read("ours"), read("theirs")
            judge = alike if name in RANDOM else equal
            if name.startswith("tokenizer"):
                found = by_token(found, ours, work / "theirs" / name)
            base = load_file(work / "base" / "model.safetensors")
            line, problem = judge(found, expected, base, name)
            if name in HALVES:
                line += f" {judge(read('rounded'), expected, base, name)[0].split()[0]:>17}"
            print(f"{name:<24} {len(expected):>7} {line}")
            problem = problem or configs(ours, work / "theirs" / name)
        if problem:
            failed += 1
            print(f"{name}: {problem}")
    print(f"{failed} of {len(names_of_all)} recipes differ")
    return sys.exit(1 if failed else 0)


def by_token(found, ours, theirs):
    """Rows of vocabularies in the tool's order, which changes from run to run: it numbers new tokens by their hash."""
    a, b = vocabulary(ours), vocabulary(theirs)
    if set(a) != set(b):
        sys.exit(f"{ours.name}: other tokens: {sorted(set(a) ^ set(b))[:4]}")
    moved = dict(found)
    for path in ("model.embed_tokens.weight", "lm_head.weight"):
        moved[path] = found[path].clone()
        for token, row in b.items():
            moved[path][row] = found[path][a[token]]
    return moved


def vocabulary(folder):
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    return tokenizer["model"]["vocab"] | {token["content"]: token["id"] for token in tokenizer["added_tokens"]}


def names(found, expected):
    if set(found) != set(expected):
        return f"other tensors: {sorted(set(found) ^ set(expected))[:4]}"
    for path in expected:
        a, b = found[path], expected[path]
        if (a.shape, a.dtype) != (b.shape, b.dtype):
            return f"{path}: {tuple(a.shape)} {a.dtype} against {tuple(b.shape)} {b.dtype}"
    return None


def equal(found, expected, _, name):
    """Within one unit in the last place of a 16-bit type, or within 16 units of float32."""
    import torch

    if problem := names(found, expected):
        return "", problem
    close = total = 0
    worst = elsewhere = 0.0
    for path in expected:
        a, b = found[path].double(), expected[path].double()
        dtype = expected[path].dtype
        units = 16 if dtype == torch.float32 else 1
        typical = float(b.abs().mean())
        # The spacing of the type around the expected value; next to zero, where larger numbers have cancelled, that of a
        # tenth of the tensor's typical value.
        unit = torch.clamp(b.abs(), min=typical * 1e-1) * torch.finfo(dtype).eps * units
        difference = (a - b).abs()
        near = difference <= unit
        relative = difference / torch.clamp(b.abs(), min=typical * 1e-2)
        close += int(near.sum())
        total += b.numel()
        worst = max(worst, float(relative.max()))
        elsewhere = max(elsewhere, float(relative[~near].max()) if not near.all() else 0.0)
    share = close / total
    line = f"{100 * share:12.3f}% {worst:19.1e}"
    good = share >= (0.99 if name in TIED else 0.999) and (name in NOISY | TIED or elsewhere <= 1e-3)
    return line, None if good else f"{100 * share:.3f} % within the bound, largest difference elsewhere {elsewhere:.1e}"


def alike(found, expected, base, _):
    if problem := names(found, expected):
        return "", problem
    worst = 0.0
    for path in expected:
        if expected[path].dim() < 2:
            continue
        a, b = found[path] - base[path], expected[path] - base[path]
        n = a.numel()
        changed = lambda x: float((x != 0).float().mean())
        # Five standard errors of a share, and of a norm whose square is a sum over n entries.
        share = abs(changed(a) - changed(b)) * (n**0.5) / 5
        norm = abs(float(a.norm() / b.norm()) - 1) * (n**0.5) / 10
        mean = abs(float(a.mean() - b.mean())) / (float(b.std()) * 5 * (2 / n) ** 0.5)
        worst = max(worst, share, norm, mean)
    return f"{'random':>13} {worst:18.2f}b", None if worst <= 1 else f"statistics differ by {worst:.2f} times their bound"


def configs(ours, theirs):
    read = lambda folder: json.loads((folder / "config.json").read_text())
    a, b = read(ours), read(theirs)
    for key in ("num_hidden_layers", "vocab_size", "hidden_size"):
        if a.get(key) != b.get(key):
            return f"config.json: `{key}` is {a.get(key)} against {b.get(key)}"
    return None


if __name__ == "__main__":
    main()
