//! `refit generate` on a tiny decoder.

use crate::{
    embed::{ENCODER, encoder, sentences, weights},
    sandbox::{Said, Sandbox},
};
use refit_testkit::{TINY_WORDS, tiny_tokenizer};
use serde_json::{Value, json};

/// The folder that the help page speaks of.
const WRITER: &str = "models/writer";

/// A decoder of random weights, which reads 24 tokens. Its tokenizer marks texts as BERT does.
pub(crate) fn writer(sandbox: &Sandbox) {
    std::fs::create_dir_all(sandbox.path().join(WRITER)).unwrap();
    let config = json!({
        "model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "vocab_size": TINY_WORDS.len(), "n_embd": 8,
        "n_layer": 2, "n_head": 2, "n_positions": 24, "eos_token_id": 1,
    });
    sandbox.file(&format!("{WRITER}/config.json"), config.to_string());
    let tokenizer = tiny_tokenizer().to_string();
    sandbox.file(&format!("{WRITER}/tokenizer.json"), tokenizer);
    weights(sandbox, WRITER, &config);
}

fn generate(sandbox: &Sandbox, args: &[&str]) -> Said {
    let output = sandbox
        .command()
        .args(["generate", WRITER])
        .args(args)
        .output();
    output.unwrap().into()
}

/// The answers of a run that has to succeed.
fn answers(sandbox: &Sandbox, args: &[&str]) -> Vec<Value> {
    let said = generate(sandbox, &[args, &["--json"]].concat());
    assert_eq!(said.code, Some(0), "{}", said.err);
    let document: Value = serde_json::from_str(&said.out).unwrap();
    document["answers"].as_array().unwrap().clone()
}

#[test]
fn an_answer_is_the_same_alone_in_company_and_on_the_terminal() {
    let sandbox = Sandbox::new();
    writer(&sandbox);
    sandbox.file(
        "prompts.txt",
        "learn from models\nmodel\nlearn learn from\n",
    );
    let input = [
        "--input",
        "prompts.txt",
        "--max-tokens",
        "9",
        "--ignore-end",
    ];
    for draw in [
        &[][..],
        &["--temperature", "1.5", "--seed", "3", "--top-k", "6"],
    ] {
        let args = [&input[..], draw].concat();
        let together = answers(&sandbox, &args);
        assert_eq!(together.len(), 3);
        assert!(
            together
                .iter()
                .all(|answer| answer["tokens"] == 9 && answer["ended"] == "length")
        );
        assert_eq!(
            together,
            answers(&sandbox, &[&args[..], &["--batch", "1"]].concat())
        );
    }
    let first = &answers(&sandbox, &input)[0];
    assert_eq!(first["prompt_tokens"], 5);
    let prompt = [
        "--prompt",
        "learn from models",
        "--max-tokens",
        "9",
        "--ignore-end",
    ];
    let said = generate(&sandbox, &prompt);
    assert_eq!(
        said.out.trim_end_matches('\n'),
        first["text"].as_str().unwrap()
    );
    let lines = generate(&sandbox, &input).out;
    assert_eq!(
        &serde_json::from_str::<Value>(lines.lines().next().unwrap()).unwrap(),
        first
    );
    // Another seed draws otherwise.
    let drawn = |seed| {
        answers(
            &sandbox,
            &[&input[..], &["--temperature", "3", "--seed", seed]].concat(),
        )
    };
    assert_ne!(drawn("1"), drawn("2"));
}

#[test]
fn a_long_neighbour_takes_no_room_away() {
    let sandbox = Sandbox::new();
    writer(&sandbox);
    // 24 positions: 22 of them are taken by the first prompt with its marks.
    sandbox.file("prompts.txt", format!("{}\nmodel\n", "learn ".repeat(20)));
    let input = [
        "--input",
        "prompts.txt",
        "--max-tokens",
        "15",
        "--ignore-end",
    ];
    let together = answers(&sandbox, &input);
    assert_eq!(
        (&together[0]["ended"], &together[0]["tokens"]),
        (&json!("full"), &json!(3))
    );
    assert_eq!(
        (&together[1]["ended"], &together[1]["tokens"]),
        (&json!("length"), &json!(15))
    );
    assert_eq!(
        together,
        answers(&sandbox, &[&input[..], &["--batch", "1"]].concat())
    );
}

#[test]
fn an_answer_ends_where_it_is_told_to() {
    let sandbox = Sandbox::new();
    writer(&sandbox);
    let ask =
        |args: &[&str]| answers(&sandbox, &[&["--prompt", "learn from"], args].concat()).remove(0);
    let whole = ask(&["--ignore-end", "--max-tokens", "0"]);
    assert_eq!(whole["ended"], "full");
    assert_eq!(whole["tokens"], 24 - 4 + 1); // the last word is never read
    let text = whole["text"].as_str().unwrap();
    // From any place in the text on, as long as it comes there first.
    let stop = text.chars().skip(3).take(4).collect::<String>();
    let cut = ask(&[
        "--ignore-end",
        "--max-tokens",
        "0",
        "--stop",
        &stop,
        "--stop",
        "zebra",
    ]);
    assert_eq!(
        cut["text"].as_str(),
        text.split_once(&stop).map(|(before, _)| before)
    );
    assert_eq!(cut["ended"], "end");
    // What is drawn ends at the word that ends texts, here `[UNK]`, and is the same up to there as what goes on.
    let mut ends = 0;
    for seed in 0..8 {
        let seed = format!("--seed={seed}");
        let draw = ["--max-tokens", "0", "--temperature", "99", seed.as_str()];
        let free = ask(&[&draw[..], &["--ignore-end"]].concat());
        let ended = ask(&draw);
        let named = ask(&[&draw[..], &["--ignore-end", "--stop", "[UNK]"]].concat());
        assert_eq!(ended, named);
        if ended["ended"] == "end" {
            ends += 1;
            let [part, all] = [&ended, &free].map(|answer| answer["text"].as_str().unwrap());
            assert!(all.starts_with(part), "{part}\n{all}");
            assert!(ended["tokens"].as_u64() <= free["tokens"].as_u64());
        } else {
            assert_eq!(ended, free);
        }
    }
    assert!(ends > 0);
}

#[test]
fn a_reader_that_goes_away_ends_the_work_and_a_plan_reads_the_prompts() {
    let sandbox = Sandbox::new();
    writer(&sandbox);
    let long = "learn ".repeat(40);
    let plan = generate(&sandbox, &["--prompt", &long, "--dry-run"]);
    assert!(
        plan.code == Some(3) && plan.err.contains("has 42 tokens"),
        "{}",
        plan.err
    );
    // `[SEP]` is special: it never shows in a text, and ends one all the same.
    let draw = [
        "--prompt",
        "learn",
        "--temperature",
        "9",
        "--max-tokens",
        "0",
        "--ignore-end",
        "--seed",
    ];
    let texts = (0..20).map(|seed| {
        answers(
            &sandbox,
            &[&draw[..], &[&seed.to_string(), "--stop", "[SEP]"]].concat(),
        )
        .remove(0)
    });
    assert!(texts.into_iter().any(|answer| answer["ended"] == "end"));
    let mut child = sandbox
        .command()
        .args([
            "generate",
            WRITER,
            "--prompt",
            "learn",
            "--max-tokens",
            "0",
            "--ignore-end",
        ])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_chat_is_put_into_the_template_of_its_model() {
    let sandbox = Sandbox::new();
    writer(&sandbox);
    let without = generate(&sandbox, &["--prompt", "learn", "--chat"]);
    assert_eq!(without.code, Some(3));
    assert!(
        without.err.contains("has no chat template"),
        "{}",
        without.err
    );
    let template = "{% for turn in messages %}{{ turn.content }} from {% endfor %}";
    sandbox.file(&format!("{WRITER}/chat_template.jinja"), template);
    let chat = [
        "--prompt",
        "learn",
        "--chat",
        "--system",
        "models",
        "--max-tokens",
        "5",
        "--ignore-end",
    ];
    let found = answers(&sandbox, &chat).remove(0);
    // Nothing is added around what the template makes.
    assert_eq!(found["prompt_tokens"], 4);
    sandbox.file(
        &format!("{WRITER}/chat_template.jinja"),
        "{{ raise_exception('only in pairs') }}",
    );
    let refused = generate(&sandbox, &chat);
    assert_eq!(refused.code, Some(3));
    assert!(refused.err.contains("only in pairs"), "{}", refused.err);
}

#[test]
fn what_cannot_be_written_is_refused_with_a_reason() {
    let sandbox = Sandbox::new();
    encoder(&sandbox);
    writer(&sandbox);
    sentences(&sandbox);
    let long = "learn ".repeat(40);
    for (args, code, expected) in [
        (
            &["--prompt", "a", "--top-k", "3"][..],
            2,
            "--temperature 0 draws none",
        ),
        (
            &["--prompt", "a", "--temperature=-1"],
            3,
            "`temperature` is -1",
        ),
        (
            &["--prompt", "a", "--temperature", "1", "--top-p", "0"],
            3,
            "`top_p` is 0",
        ),
        (
            &["--prompt", &long],
            3,
            "prompt 1 has 42 tokens, the model reads 24",
        ),
        (
            &["--prompt", "a", "--input", "sentences.txt"],
            2,
            "cannot be used with",
        ),
        (&["--prompt", "a", "--system", "b"], 2, "--chat"),
        (&[], 2, "--prompt"),
    ] {
        let said = generate(&sandbox, args);
        assert!(
            said.code == Some(code) && said.err.contains(expected),
            "{args:?}\n{}",
            said.err
        );
    }
    let other = sandbox.refit(&format!("generate {ENCODER} --prompt learn"));
    assert_eq!(other.code, Some(3));
    assert!(
        other
            .err
            .contains("expected one that guesses the next word"),
        "{}",
        other.err
    );
    let plan = generate(&sandbox, &["--prompt", "learn", "--dry-run"]);
    assert!(plan.out.contains("nothing was computed"), "{}", plan.out);
    let broken = format!("{WRITER}/generation_config.json");
    sandbox.file(&broken, "{\"eos_token_id\": \"one\"}");
    let said = generate(&sandbox, &["--prompt", "learn"]);
    assert!(
        said.err
            .contains("expected the number of a word or a list of them"),
        "{}",
        said.err
    );
}

#[test]
fn a_model_whose_tokens_see_those_behind_them_writes_nothing() {
    let sandbox = Sandbox::new();
    writer(&sandbox);
    let file = format!("{WRITER}/config.json");
    let mut config: Value =
        serde_json::from_slice(&std::fs::read(sandbox.path().join(&file)).unwrap()).unwrap();
    config["is_causal"] = json!(false);
    sandbox.file(&file, config.to_string());
    sandbox.file("running.txt", "learn from models\n");
    let said = generate(&sandbox, &["--prompt", "learn", "--dry-run"]);
    let guessed = sandbox.refit(&format!("eval {WRITER} --data running.txt"));
    for said in [said, guessed] {
        let words = "`is_causal` is false, expected `true`";
        assert!(
            said.code == Some(3) && said.err.contains(words),
            "{}",
            said.err
        );
    }
    // Its states are vectors all the same.
    sandbox.done(&format!("embed {WRITER} --input running.txt"));
}

#[test]
fn a_model_of_two_halves_answers_what_it_reads() {
    let sandbox = Sandbox::new();
    let folder = "models/answerer";
    std::fs::create_dir_all(sandbox.path().join(folder)).unwrap();
    let config = json!({
        "model_type": "t5", "architectures": ["T5ForConditionalGeneration"], "vocab_size": TINY_WORDS.len(), "d_model": 8,
        "d_kv": 4, "num_heads": 2, "d_ff": 12, "num_layers": 1, "decoder_start_token_id": 0, "eos_token_id": 1,
    });
    sandbox.file(&format!("{folder}/config.json"), config.to_string());
    sandbox.file(
        &format!("{folder}/tokenizer.json"),
        tiny_tokenizer().to_string(),
    );
    weights(&sandbox, folder, &config);
    sandbox.file("prompts.txt", "learn from models\nmodel\n");
    let ask = |more: &str| {
        let args =
            format!("generate {folder} --input prompts.txt --ignore-end --max-tokens 6 {more}");
        sandbox.done(&args).out
    };
    let together = ask("");
    assert!(
        together.lines().count() == 2 && together.contains("\"tokens\":6"),
        "{together}"
    );
    assert_eq!(together, ask("--batch 1"));
    let endless = sandbox.refit(&format!("generate {folder} --prompt learn --max-tokens 0"));
    assert!(
        endless.code == Some(3) && endless.err.contains("1 or more"),
        "{}",
        endless.err
    );
}
