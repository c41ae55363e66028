//! `refit eval` and `refit classify` on tiny models that read text.

use crate::{
    embed::{ENCODER, encoder, questions, sentences, weights},
    generate::writer,
    sandbox::Sandbox,
};
use refit_testkit::{TINY_WORDS, tiny_tokenizer};
use serde_json::{Value, json};

/// A tiny model with a head, in the folder that the help of `classify` speaks of where it tells what follows.
fn model(sandbox: &Sandbox, name: &str, architecture: &str, labels: &[&str]) -> String {
    let folder = format!("models/{name}");
    std::fs::create_dir_all(sandbox.path().join(&folder)).unwrap();
    let names: serde_json::Map<String, Value> = labels
        .iter()
        .enumerate()
        .map(|(at, label)| (at.to_string(), json!(label)))
        .collect();
    let config = json!({
        "model_type": "bert", "architectures": [architecture], "vocab_size": TINY_WORDS.len(), "hidden_size": 8,
        "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 12, "max_position_embeddings": 24,
        "id2label": names,
    });
    sandbox.file(&format!("{folder}/config.json"), config.to_string());
    sandbox.file(
        &format!("{folder}/tokenizer.json"),
        tiny_tokenizer().to_string(),
    );
    weights(sandbox, &folder, &config);
    folder
}

/// A model that tells what follows from a text.
pub(crate) fn mnli(sandbox: &Sandbox) {
    let labels = ["contradiction", "neutral", "entailment"];
    model(sandbox, "mnli", "BertForSequenceClassification", &labels);
}

/// A head on the encoder, as `refit tune` writes it.
fn head(sandbox: &Sandbox) {
    questions(sandbox);
    let fit = "--data questions.tsv --solver lbfgs --eps-g 1e-2 --out runs/trec -q";
    sandbox.done(&format!("tune {ENCODER} --method head {fit}"));
}

fn document(sandbox: &Sandbox, args: &str) -> Value {
    serde_json::from_str(&sandbox.done(&format!("{args} --json")).out).unwrap()
}

#[test]
fn what_classify_tells_is_what_eval_counts() {
    let sandbox = Sandbox::new();
    let folder = model(
        &sandbox,
        "mood",
        "BertForSequenceClassification",
        &["bad", "good"],
    );
    let texts = [
        "learn from models",
        "model",
        "models models",
        "learn",
        "from learn",
    ];
    sandbox.file("texts.txt", texts.join("\n"));
    let found = document(&sandbox, &format!("classify {folder} --input texts.txt"));
    let found = found["texts"].as_array().unwrap();
    for (text, row) in texts.iter().zip(found) {
        let (bad, good) = (&row["probabilities"]["bad"], &row["probabilities"]["good"]);
        let (bad, good) = (bad.as_f64().unwrap(), good.as_f64().unwrap());
        assert!((bad + good - 1.0).abs() < 1e-9);
        assert_eq!(row["label"], if good > bad { "good" } else { "bad" });
        assert_eq!(row["text"], *text);
    }
    // All right but the first; labels by name and by number.
    let rows = texts
        .iter()
        .zip(found)
        .enumerate()
        .map(|(at, (text, row))| {
            let good = (row["label"] == "good") == (at > 0);
            let label = match at % 2 {
                0 => {
                    if good {
                        "good"
                    } else {
                        "bad"
                    }
                }
                _ => {
                    if good {
                        "1"
                    } else {
                        "0"
                    }
                }
            };
            json!({ "label": label, "sentence": text }).to_string() + "\n"
        });
    sandbox.file("rows.jsonl", rows.collect::<String>());
    let score = document(&sandbox, &format!("eval {folder} --data rows.jsonl"));
    assert_eq!((&score["correct"], &score["texts"]), (&json!(4), &json!(5)));
    assert_eq!(score["task"], "classification");
    let said = sandbox
        .done(&format!("eval {folder} --data rows.jsonl -v"))
        .out;
    assert!(
        said.contains("accuracy    80.0 % (4 of 5 texts)") && said.contains("good"),
        "{said}"
    );
    sandbox.file("odd.jsonl", "{\"label\": \"fair\", \"text\": \"learn\"}\n");
    let odd = sandbox.refit(&format!("eval {folder} --data odd.jsonl"));
    assert!(
        odd.code == Some(3) && odd.err.contains("`fair`"),
        "{}",
        odd.err
    );
}

#[test]
fn a_fitted_head_is_scored_as_it_was_when_it_was_fitted() {
    let sandbox = Sandbox::new();
    encoder(&sandbox);
    head(&sandbox);
    let score = document(
        &sandbox,
        &format!("eval {ENCODER} --head runs/trec/head --data questions.tsv"),
    );
    let fit =
        "--data questions.tsv --test questions.tsv --solver lbfgs --eps-g 1e-2 --out runs/again -q";
    let fitted = document(&sandbox, &format!("tune {ENCODER} --method head {fit}"));
    let text = fitted.to_string();
    let accuracy = score["accuracy"].as_f64().unwrap();
    assert!(
        text.contains(&format!("{accuracy}")) || text.contains(&format!("{}", 1.0 - accuracy)),
        "{text} {accuracy}"
    );
    assert!(score["majority"].as_f64().unwrap() >= 0.5);
    sentences(&sandbox);
    let rows = document(
        &sandbox,
        &format!("classify {ENCODER} --head runs/trec/head --input sentences.txt"),
    );
    assert_eq!(rows["texts"].as_array().unwrap().len(), 4);
    for (args, expected) in [
        (
            format!("eval {ENCODER} --data questions.tsv"),
            "--task retrieval",
        ),
        (
            format!("classify {ENCODER} --input sentences.txt"),
            "gives vectors",
        ),
        (
            format!("eval {ENCODER} --data questions.tsv --head runs/trec"),
            "config.json",
        ),
        (
            format!("eval {ENCODER} --data questions.tsv --task retrieval --head runs/trec/head"),
            "--head has no effect",
        ),
        (
            format!("eval {ENCODER} --data questions.tsv --task retrieval --batch 3"),
            "--batch has no effect",
        ),
        (
            format!("eval {ENCODER} --data nowhere.tsv --task retrieval"),
            "cannot read `nowhere.tsv`",
        ),
        (
            format!("eval {ENCODER} --data questions.tsv --task retrieval"),
            "query",
        ),
    ] {
        let said = sandbox.refit(&args);
        assert!(
            said.code != Some(0) && said.err.contains(expected),
            "{args}\n{}",
            said.err
        );
    }
}

#[test]
fn labels_in_words_are_asked_as_hypotheses() {
    let sandbox = Sandbox::new();
    mnli(&sandbox);
    sentences(&sandbox);
    let ask = |more: &str| {
        let args = format!(
            "classify models/mnli --input sentences.txt --label learn --label models {more}"
        );
        document(&sandbox, &args)["texts"]
            .as_array()
            .unwrap()
            .clone()
    };
    let sum = |row: &Value| {
        row["probabilities"]["learn"].as_f64().unwrap()
            + row["probabilities"]["models"].as_f64().unwrap()
    };
    assert!(ask("").iter().all(|row| (sum(row) - 1.0).abs() < 1e-9));
    assert!(
        ask("--several")
            .iter()
            .any(|row| (sum(row) - 1.0).abs() > 1e-6)
    );
    // The pair as the model itself reads it.
    sandbox.file(
        "pairs.tsv",
        "label\tpremise\thypothesis\nentailment\tlearn from models\tThis example is learn.\n",
    );
    document(&sandbox, "eval models/mnli --data pairs.tsv");
    for (more, expected) in [
        ("--label learn", "2 or more"),
        (
            "--label a --label b --hypothesis nothing",
            "in the place of the label",
        ),
    ] {
        let said = sandbox.refit(&format!(
            "classify models/mnli --input sentences.txt {more}"
        ));
        assert!(
            said.code == Some(3) && said.err.contains(expected),
            "{}",
            said.err
        );
    }
}

#[test]
fn tags_and_numbers_have_scores_of_their_own() {
    let sandbox = Sandbox::new();
    let tagger = model(
        &sandbox,
        "tagger",
        "BertForTokenClassification",
        &["O", "B-x", "I-x"],
    );
    sandbox.file(
        "words.conll",
        "learn\tB-x\nfrom\tO\n\nmodels\tB-x\nmodels\tI-x\n",
    );
    let score = document(&sandbox, &format!("eval {tagger} --data words.conll"));
    assert_eq!(
        (&score["sentences"], &score["words"], &score["spans"]),
        (&json!(2), &json!(4), &json!(2))
    );
    assert_eq!(score["majority"], 0.5);
    sandbox.file("odd.conll", "learn\tB-y\n");
    let odd = sandbox.refit(&format!("eval {tagger} --data odd.conll"));
    assert!(
        odd.code == Some(3) && odd.err.contains("`B-y`"),
        "{}",
        odd.err
    );
    let scorer = model(
        &sandbox,
        "scorer",
        "BertForSequenceClassification",
        &["LABEL_0"],
    );
    sandbox.file(
        "scores.tsv",
        "score\ttext\n0.5\tlearn\n1.5\tfrom models\n-2\tmodel\n",
    );
    let score = document(&sandbox, &format!("eval {scorer} --data scores.tsv"));
    assert!(score["task"] == "regression" && score["pearson"].as_f64().unwrap().abs() <= 1.0);
    sandbox.file("scores.tsv", "score\ttext\n0.5\tlearn\nmany\tfrom models\n");
    let odd = sandbox.refit(&format!("eval {scorer} --data scores.tsv"));
    assert!(
        odd.code == Some(3) && odd.err.contains("line 3"),
        "{}",
        odd.err
    );
    let marker = model(
        &sandbox,
        "marker",
        "BertForQuestionAnswering",
        &["LABEL_0", "LABEL_1"],
    );
    let rows =
        json!({ "question": "learn", "context": "from models", "answer": "Models." }).to_string();
    sandbox.file("questions.jsonl", rows);
    let score = document(&sandbox, &format!("eval {marker} --data questions.jsonl"));
    // The answer is one of three parts of the context, of which two share a word with what is expected.
    assert!(score["questions"] == 1 && score["exact_match"].as_f64() <= score["token_f1"].as_f64());
}

#[test]
fn vectors_find_the_text_that_a_query_is() {
    let sandbox = Sandbox::new();
    encoder(&sandbox);
    // A query that is its text is found first, whatever the weights.
    sandbox.file("pairs.tsv", "query\ttext\nlearn from\tlearn from\nmodels\tmodels\nfrom models\tfrom models\nmodels\tmodels learn\n");
    let score = document(
        &sandbox,
        &format!("eval {ENCODER} --task retrieval --data pairs.tsv"),
    );
    assert_eq!(
        (&score["accuracy"], &score["queries"], &score["documents"]),
        (&json!(1.0), &json!(3), &json!(4))
    );
    sandbox.file(
        "alike.tsv",
        "score\ttext_a\ttext_b\n5\tlearn\tlearn\n1\tlearn\tmodels from\n",
    );
    let score = document(
        &sandbox,
        &format!("eval {ENCODER} --task similarity --data alike.tsv"),
    );
    assert!((score["pearson"].as_f64().unwrap() - 1.0).abs() < 1e-9);
}

#[test]
fn perplexity_does_not_depend_on_windows_that_see_everything() {
    let sandbox = Sandbox::new();
    writer(&sandbox);
    sandbox.file(
        "running.txt",
        "learn from models learn model from from models learn learn model\n",
    );
    let of = |more: &str| {
        let score = document(
            &sandbox,
            &format!("eval models/writer --data running.txt {more}"),
        );
        score["perplexity"].as_f64().unwrap()
    };
    // 13 tokens with the marks, and [UNK]s none: one window, and one that is moved by a token at a time with all before.
    let whole = of("");
    assert!(whole > 1.0 && (of("--window 14") - whole).abs() < 1e-4 * whole);
    assert!((of("--window 24 --stride 3") - whole).abs() < 1e-4 * whole);
    // With a window of two a token is guessed from one.
    assert!((of("--window 2 --stride 1") - whole).abs() > 1e-6);
    for (more, expected) in [
        ("--window 99", "`window` is 99"),
        ("--window 4 --stride 4", "`stride` is 4"),
        ("--head x", ""),
    ] {
        let said = sandbox.refit(&format!("eval models/writer --data running.txt {more}"));
        assert!(
            said.code != Some(0) && said.err.contains(expected),
            "{}",
            said.err
        );
    }
    sandbox.file("asked.tsv", "question\tanswer\nlearn from\tmodels\n");
    let score = document(
        &sandbox,
        "eval models/writer --task answers --data asked.tsv --max-tokens 3",
    );
    assert_eq!(score["questions"], 1);
}

#[test]
fn a_plan_refuses_the_rows_that_a_run_would() {
    let sandbox = Sandbox::new();
    encoder(&sandbox);
    writer(&sandbox);
    let mood = model(
        &sandbox,
        "mood",
        "BertForSequenceClassification",
        &["bad", "good"],
    );
    sandbox.file(
        "fine.tsv",
        "label\ttext\tscore\ttext_b\nbad\tlearn\t1\tfrom\ngood\tmodel\t2\tmodels\n",
    );
    sandbox.file("worse.tsv", "label\ttext\nworse\tlearn\n");
    sandbox.file("words.tsv", "score\ttext\ttext_b\nhigh\tlearn\tfrom\n");
    sandbox.file("running.txt", b"learn\n\xff\n");
    for (args, expected) in [
        (format!("{mood} --data fine.tsv"), ""),
        (format!("{mood} --data worse.tsv"), "unknown label `worse`"),
        (format!("{mood} --data words.tsv"), "label"),
        (format!("{mood} --data none.tsv"), "none.tsv"),
        (
            format!("{mood} --data fine.tsv --task tagging"),
            "does not tag words",
        ),
        (format!("{ENCODER} --data fine.tsv --task similarity"), ""),
        (
            format!("{ENCODER} --data words.tsv --task similarity"),
            "high",
        ),
        (
            format!("{ENCODER} --data fine.tsv --task retrieval"),
            "query",
        ),
        ("models/writer --data running.txt".into(), "line 2 of `"),
        (
            "models/writer --data fine.tsv --task answers".into(),
            "prompt",
        ),
    ] {
        let plan = sandbox.refit(&format!("eval {args} --dry-run"));
        let run = sandbox.refit(&format!("eval {args}"));
        let code = if expected.is_empty() {
            Some(0)
        } else {
            Some(3)
        };
        assert_eq!(
            (plan.code, run.code),
            (code, code),
            "{args}\n{}{}",
            plan.err,
            run.err
        );
        assert!(plan.err.contains(expected), "{args}\n{}", plan.err);
        assert!(
            expected.is_empty() || plan.err == run.err,
            "{args}\n{}{}",
            plan.err,
            run.err
        );
    }
}
