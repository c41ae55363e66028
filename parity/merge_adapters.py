"""Merges and extracts adapters with PEFT and with refit, and compares what they do to every weight.

    python3 parity/merge_adapters.py --refit target/release/refit [--venv DIR] [--work DIR]

Makes a small Llama and adapters from a seed. Outputs of refit are loaded by PEFT; changes of deterministic methods have to
agree within 1e-5 of their norm, those of random ones in the share of entries that stay. Of models of several kinds (tied
embeddings, biases in some layers, layers stored turned over, heads of tasks) everything changes; with an
adapter extracted from that, PEFT has to give the outputs of the fine-tuned model within 1e-4 of their change, before and
after it merges. Exits with 1 where anything differs.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from merge_recipes import CONFIG, prepare

# Name: method of PEFT, its settings, adapters with weights. `b` is rsLoRA with an alpha pattern, `wide` has another rank,
# `other` changes other modules.
RECIPES = {
    "linear": ("linear", {}, {"a": 0.7, "b": 0.4}),
    "linear-negative": ("linear", {}, {"a": 0.7, "b": -0.4}),
    "linear-other": ("linear", {}, {"a": 0.7, "other": 0.4}),
    "cat": ("cat", {}, {"a": 0.7, "b": -0.4, "wide": 0.3, "other": 1.0}),
    "svd": ("svd", {}, {"a": 0.7, "b": -0.4, "wide": 0.3, "other": 1.0}),
    "svd-rank": ("svd", {"rank": 3}, {"a": 0.7, "b": 0.4}),
    "ties": ("ties", {"density": 0.4}, {"a": 0.7, "b": 0.4, "other": 1.2}),
    "ties-frequency": ("ties", {"density": 0.4, "majority_sign_method": "frequency"}, {"a": 0.7, "b": -0.4, "other": 1.2}),
    # The table of the base is stored beside the factors of an embedding.
    "table": ("svd", {}, {"table": 0.7, "table-two": -0.4}),
    "table-cat": ("cat", {}, {"table": 0.7, "a": 0.5}),
    "magnitude-prune": ("magnitude_prune", {"density": 0.3}, {"a": 0.7, "b": 0.4}),
}
RANDOM = {
    "dare-linear": ("dare_linear", {"density": 0.3}, {"a": 0.7, "b": 0.4}),
    "dare-ties": ("dare_ties", {"density": 0.3}, {"a": 0.7, "b": 0.4}),
}
# Name: class of transformers, settings. Everything is small.
DECODER = dict(CONFIG, vocab_size=93)
ENCODER = dict(vocab_size=93, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48)
EXTRACTED = {
    "llama": ("LlamaForCausalLM", DECODER),
    "llama-tied": ("LlamaForCausalLM", DECODER | {"tie_word_embeddings": True}),
    "llama-biases": ("LlamaForCausalLM", DECODER | {"attention_bias": True, "mlp_bias": True}),
    "qwen2": ("Qwen2ForCausalLM", {k: v for k, v in DECODER.items() if k != "model_type"} | {"tie_word_embeddings": True}),
    "gpt2": ("GPT2LMHeadModel", dict(vocab_size=93, n_positions=64, n_embd=32, n_layer=2, n_head=4)),
    "t5": ("T5ForConditionalGeneration", dict(vocab_size=93, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4)),
    "bert": ("BertForSequenceClassification", ENCODER),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--refit", type=Path, help="the program")
    parser.add_argument("--venv", type=Path, default=Path(tempfile.gettempdir()) / "refit-mergekit")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "refit-parity-adapters")
    parser.add_argument("--make", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--compare", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.make:
        return make(options.work)
    if options.compare:
        return compare(options.work)
    shutil.rmtree(options.work, ignore_errors=True)
    options.work.mkdir(parents=True)
    again = [prepare(options.venv), __file__, "--work", options.work]
    environment = dict(os.environ, OMP_NUM_THREADS="2", HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")
    subprocess.run([*again, "--make"], check=True, env=environment)
    refit = lambda *words: subprocess.run([options.refit.resolve(), *words, "--quiet"], check=True, cwd=options.work)
    for name, (method, settings, adapters) in (RECIPES | RANDOM).items():
        entries = [{"path": path, "weight": weight} for path, weight in adapters.items()]
        # JSON is YAML.
        recipe = {"adapter_method": method, "adapters": entries} | settings
        (options.work / f"{name}.yaml").write_text(json.dumps(recipe, indent=1))
        refit("merge", f"{name}.yaml", "--out", f"ours-{name}")
    for name in EXTRACTED:
        refit("extract", f"{name}-tuned", "--base", f"{name}-base", "--rank", "3", "--out", f"{name}-adapter")
    sys.exit(subprocess.run([*again, "--compare"], env=environment).returncode)


def make(work):
    """A model, its adapters, and a fine-tuned model; runs in the virtual environment."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**CONFIG, vocab_size=93))
    model.save_pretrained(work / "base")
    targets = ["q_proj", "down_proj"]
    kinds = {
        "a": dict(r=4, lora_alpha=8, target_modules=targets),
        "b": dict(r=4, lora_alpha=6, target_modules=targets, use_rslora=True, alpha_pattern={"down_proj": 3}),
        "wide": dict(r=6, lora_alpha=6, target_modules=targets),
        "other": dict(r=4, lora_alpha=8, target_modules=["up_proj", "q_proj"]),
        "table": dict(r=4, lora_alpha=8, target_modules=["q_proj", "embed_tokens"]),
        "table-two": dict(r=2, lora_alpha=8, target_modules=["embed_tokens"]),
    }
    for name, kind in kinds.items():
        adapted = get_peft_model(LlamaForCausalLM.from_pretrained(work / "base"), LoraConfig(**kind))
        for path, values in adapted.named_parameters():
            if "lora_" in path:
                values.data = torch.randn_like(values) * 0.05
        adapted.save_pretrained(work / name)
    for name in EXTRACTED:
        model = kind_of(name)(small(name))
        model.save_pretrained(work / f"{name}-base")
        for path, values in model.named_parameters():
            change = torch.randn_like(values)
            if values.dim() == 2 and not any(word in path for word in ("embed", "wte", "wpe", "shared", "classifier")):
                change = torch.randn(values.shape[0], 3) @ torch.randn(3, values.shape[1])
            values.data += change * 0.02
        model.save_pretrained(work / f"{name}-tuned")


def kind_of(name):
    import transformers

    return getattr(transformers, EXTRACTED[name][0])


def small(name):
    """The configuration of a small model of this kind."""
    kind = kind_of(name)
    return kind.config_class(**EXTRACTED[name][1])


def outputs(model):
    import torch

    torch.manual_seed(1)
    kind = type(model.get_base_model() if hasattr(model, "get_base_model") else model).__name__
    tokens = torch.randint(3, 90, (2, 12))
    decoder = {"decoder_input_ids": tokens[:, :6]} if kind.startswith("T5") else {}
    return model.eval()(input_ids=tokens, **decoder).logits


def changes(model, adapter):
    """What an adapter adds to every module that it changes."""
    modules = {path: module for path, module in model.named_modules() if hasattr(module, "get_delta_weight")}
    return {path: module.get_delta_weight(adapter).detach() for path, module in modules.items()
            if adapter in module.lora_A or adapter in module.lora_embedding_A}


def compare(work):
    import torch
    from peft import PeftModel
    from transformers import LlamaForCausalLM

    load = lambda name: LlamaForCausalLM.from_pretrained(work / name)
    failed = 0
    for name, (method, settings, adapters) in (RECIPES | RANDOM).items():
        first, *others = adapters
        model = PeftModel.from_pretrained(load("base"), work / first, adapter_name=first)
        for other in others:
            model.load_adapter(work / other, adapter_name=other)
        settings = {{"rank": "svd_rank"}.get(key, key): value for key, value in settings.items()}
        model.add_weighted_adapter(list(adapters), list(adapters.values()), "theirs", combination_type=method, **settings)
        model.load_adapter(work / f"ours-{name}", adapter_name="ours")
        ours, theirs = changes(model, "ours"), changes(model, "theirs")
        problem = None if set(ours) == set(theirs) else f"other modules: {sorted(set(ours) ^ set(theirs))[:4]}"
        worst = 0.0
        for path in theirs if not problem else []:
            if name in RANDOM:
                kept = lambda side: [float((p != 0).double().mean()) for n, p in model.named_parameters() if f".{side}." in n]
                n = min(p.numel() for p in model.parameters() if p.dim() == 2)
                # Five standard errors of a share; the worst module of many.
                worst = max(abs(a - b) for a, b in zip(kept("ours"), kept("theirs"))) * n**0.5 / 5
                break
            worst = max(worst, float((ours[path] - theirs[path]).norm() / theirs[path].norm()))
        limit = 1.0 if name in RANDOM else 1e-5
        if not problem and worst > limit:
            problem = f"differ by {worst:.1e}"
        print(f"{name:<20} {len(theirs):>3} modules {worst:.1e}" + (f": {problem}" if problem else ""))
        failed += problem is not None
    for name in EXTRACTED:
        load = lambda part: kind_of(name).from_pretrained(work / f"{name}-{part}")
        with torch.no_grad():
            base, tuned = outputs(load("base")), outputs(load("tuned"))
            worst = float("inf")
            try:
                adapted = PeftModel.from_pretrained(load("base"), work / f"{name}-adapter")
                found = [outputs(adapted), outputs(adapted.merge_and_unload())]
                worst = max(float((each - tuned).norm() / (base - tuned).norm()) for each in found)
            except Exception as problem:
                print(f"{name}: {type(problem).__name__}: {problem}")
        print(f"{'extract-' + name:<20} {worst:.1e}")
        failed += not worst < 1e-4
    print(f"{failed} of {len(RECIPES) + len(RANDOM) + len(EXTRACTED)} differ")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
