//! `refit eval` and `refit classify` on tiny models that read text.

use crate::{
    embed::{ENCODER, encoder, questions, sentences, weights},
    generate::writer,
    sandbox::Sandbox,
};
use burn::tensor::Device;
use refit::text::{TextClassifier, TextFolder};
use refit_core::{Seed, Silent};
use refit_io::{
    atomic::Overwrite,
    ckpt::{CheckpointWriter, WriteOptions},
};
use refit_math::metric::{pearson, spearman};
use refit_nn::{Weights, zoo::TextConfig};
use refit_testkit::{TINY_WORDS, tiny_tokenizer};
use serde_json::{Value, json};

/// Width of the tiny models.
const WIDTH: usize = 8;
/// The first of [`TINY_WORDS`] that is no mark.
const FIRST_WORD: usize = 4;

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
        "model_type": "bert", "architectures": [architecture], "vocab_size": TINY_WORDS.len(), "hidden_size": WIDTH,
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

/// Gives the model of a folder other weights: `value` of the name of a tensor, a place in it, and what was drawn for it.
fn rewrite(sandbox: &Sandbox, folder: &str, value: impl Fn(&str, usize, f32) -> f32) {
    let folder = sandbox.path().join(folder);
    let keys = std::fs::read(folder.join("config.json")).unwrap();
    let keys: Value = serde_json::from_slice(&keys).unwrap();
    let config = TextConfig::read(keys.as_object().unwrap()).unwrap();
    let device = Device::flex();
    let drawn = Weights::create(Seed::new(0), &device, |scope| config.bind(scope)).unwrap();
    let mut buffers = drawn.to_host();
    for (spec, buffer) in drawn.layout().specs().iter().zip(&mut buffers) {
        for (at, entry) in buffer.iter_mut().enumerate() {
            *entry = value(spec.path.as_str(), at, *entry);
        }
    }
    let weights = Weights::from_host(drawn.layout(), buffers, &device);
    let options = WriteOptions {
        overwrite: Overwrite::Replace,
        ..WriteOptions::default()
    };
    let path = folder.join("model.safetensors");
    let mut writer = CheckpointWriter::create(path, weights.metas(), options).unwrap();
    weights.save(&mut writer).unwrap();
    writer.finish().unwrap();
}

/// Random weights that tell texts apart, and leave the hyperbolic tangent of the pooler where it bends.
fn tell_apart(sandbox: &Sandbox, folder: &str) {
    rewrite(sandbox, folder, |path, _, drawn| {
        if path.contains("LayerNorm") {
            drawn
        } else {
            20.0 * drawn
        }
    });
}

/// Weights by which words alone count: each is an axis of its own, layers add nothing, and each row of the head `weight`
/// reads the axis of one of [`TINY_WORDS`], so many times.
fn count_words_alone(sandbox: &Sandbox, folder: &str, weight: &str, rows: &[(&str, f32)]) {
    rewrite(sandbox, folder, |path, at, _| {
        let (row, word) = (at / WIDTH, FIRST_WORD + at % WIDTH);
        let own = path.ends_with("word_embeddings.weight") && row == word;
        if own || path.ends_with("LayerNorm.weight") {
            1.0
        } else if path == weight && TINY_WORDS.get(word) == Some(&rows[row].0) {
            rows[row].1
        } else {
            0.0
        }
    });
}

/// Scores of the classes of a model for texts, or pairs of them.
fn scores(
    sandbox: &Sandbox,
    folder: &str,
    texts: &[String],
    seconds: Option<&[String]>,
) -> Vec<Vec<f32>> {
    let folder = TextFolder::open(&sandbox.path().join(folder)).unwrap();
    let model = TextClassifier::load(folder, None, &Device::flex()).unwrap();
    model.scores(texts, seconds, &Silent).unwrap().scores
}

fn assert_close(found: &Value, expected: f64, bound: f64) {
    let number = found.as_f64().unwrap();
    assert!((number - expected).abs() < bound, "{number} {expected}");
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
    let fit =
        "--data questions.tsv --test questions.tsv --solver lbfgs --eps-g 1e-2 --out runs/again -q";
    let fitted = document(&sandbox, &format!("tune {ENCODER} --method head {fit}"));
    let again = "--head runs/again/head";
    let score = document(
        &sandbox,
        &format!("eval {ENCODER} {again} --data questions.tsv"),
    );
    assert_eq!(score["texts"], 9);
    let accuracy = 1.0 - fitted["test-error"].as_f64().unwrap();
    assert_close(&score["accuracy"], accuracy, 1e-12);
    assert!(score["majority"].as_f64().unwrap() >= 0.5);
    // `classify` tells the same classes.
    let rows = std::fs::read_to_string(sandbox.path().join("questions.tsv")).unwrap();
    let rows = rows.lines().filter(|line| line.starts_with("test\t"));
    let rows: Vec<Vec<&str>> = rows.map(|line| line.split('\t').collect()).collect();
    let texts: Vec<&str> = rows.iter().map(|row| row[2]).collect();
    sandbox.file("asked.txt", texts.join("\n"));
    let told = document(
        &sandbox,
        &format!("classify {ENCODER} {again} --input asked.txt"),
    );
    let told = told["texts"].as_array().unwrap().iter().zip(&rows);
    let right = told.filter(|(told, row)| told["label"] == row[1]).count();
    assert_eq!(score["correct"], right);
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
    // Contradiction, neutral and entailment of each pair of a text and what is said about a label.
    let names = ["contradiction", "neutral", "entailment"];
    let (mut texts, mut said) = (Vec::new(), Vec::new());
    for text in ["learn from models", "model", "", "learn"] {
        for label in ["learn", "models"] {
            texts.push(text.to_owned());
            said.push(format!("This example is {label}."));
        }
    }
    tell_apart(&sandbox, "models/mnli");
    let pairs = scores(&sandbox, "models/mnli", &texts, Some(&said));
    assert_ne!(pairs, scores(&sandbox, "models/mnli", &said, Some(&texts)));
    let first_of_two = |a: f32, b: f32| 1.0 / (1.0 + f64::from(b - a).exp());
    let (one, several) = (ask(""), ask("--several"));
    for ((pair, one), several) in pairs.chunks(2).zip(&one).zip(&several) {
        let learn = first_of_two(pair[0][2], pair[1][2]);
        for (at, label, share) in [(0, "learn", learn), (1, "models", 1.0 - learn)] {
            assert_close(&one["probabilities"][label], share, 1e-4);
            let alone = first_of_two(pair[at][2], pair[at][0]);
            assert_close(&several["probabilities"][label], alone, 1e-4);
        }
    }
    // Rows of pairs are told apart as pairs were, whatever column comes first.
    for (turn, accuracy) in [(0, 1.0), (1, 0.0)] {
        let mut rows = String::from("label\thypothesis\tpremise\n");
        for ((text, said), scores) in texts.iter().zip(&said).zip(&pairs) {
            let best = (0..names.len()).max_by(|&a, &b| scores[a].total_cmp(&scores[b]));
            let label = names[(best.unwrap() + turn) % 3];
            if !text.is_empty() {
                rows += &format!("{label}\t{said}\t{text}\n");
            }
        }
        sandbox.file("pairs.tsv", rows);
        let score = document(&sandbox, "eval models/mnli --data pairs.tsv");
        assert_eq!(
            (&score["texts"], &score["accuracy"]),
            (&json!(6), &json!(accuracy))
        );
    }
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
    let rows = [("from", 1.0), ("learn", 1.0), ("models", 1.0)];
    count_words_alone(&sandbox, &tagger, "classifier.weight", &rows);
    // `models learn` is tagged `I-x B-x`: two spans where there is one.
    sandbox.file(
        "words.conll",
        "learn\tB-x\nfrom\tO\n\nmodels\tB-x\nlearn\tI-x\n",
    );
    let score = document(&sandbox, &format!("eval {tagger} --data words.conll"));
    assert_eq!(
        (&score["sentences"], &score["words"], &score["spans"]),
        (&json!(2), &json!(4), &json!(2))
    );
    assert_eq!(
        (&score["majority"], &score["accuracy"]),
        (&json!(0.5), &json!(0.5))
    );
    assert_close(&score["precision"], 1.0 / 3.0, 1e-12);
    assert_close(&score["recall"], 0.5, 1e-12);
    assert_close(&score["f1"], 0.4, 1e-12);
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
    tell_apart(&sandbox, &scorer);
    sandbox.file(
        "scores.tsv",
        "score\ttext\n0.5\tlearn\n1.5\tfrom models\n-2\tmodel\n",
    );
    let score = document(&sandbox, &format!("eval {scorer} --data scores.tsv"));
    assert_eq!(score["task"], "regression");
    let texts = ["learn", "from models", "model"].map(str::to_owned);
    let found = scores(&sandbox, &scorer, &texts, None);
    let found: Vec<f64> = found.iter().map(|scores| scores[0].into()).collect();
    let expected = [0.5, 1.5, -2.0];
    assert_close(&score["pearson"], pearson(&expected, &found), 1e-4);
    assert_close(&score["spearman"], spearman(&expected, &found), 1e-12);
    sandbox.file("scores.tsv", "score\ttext\n0.5\tlearn\nmany\tfrom models\n");
    let odd = sandbox.refit(&format!("eval {scorer} --data scores.tsv"));
    assert!(
        odd.code == Some(3) && odd.err.contains("line 3"),
        "{}",
        odd.err
    );
}

#[test]
fn an_answer_lies_between_its_best_first_and_last_word() {
    let sandbox = Sandbox::new();
    let marker = model(
        &sandbox,
        "marker",
        "BertForQuestionAnswering",
        &["LABEL_0", "LABEL_1"],
    );
    // Answers begin at `from`, above all, and end at `models`.
    let rows = [("from", 2.0), ("models", 1.0)];
    count_words_alone(&sandbox, &marker, "qa_outputs.weight", &rows);
    // Found are `from models`, and where that would end before it begins, `from`: one word of two.
    let rows = [
        json!({ "question": "from", "context": "from models learn", "answer": "From models." }),
        json!({ "question": "models", "context": "models learn from", "answer": "learn from" }),
    ];
    sandbox.file(
        "questions.jsonl",
        rows.map(|row| row.to_string()).join("\n"),
    );
    let score = document(&sandbox, &format!("eval {marker} --data questions.jsonl"));
    assert_eq!(
        (&score["questions"], &score["exact_match"]),
        (&json!(2), &json!(0.5))
    );
    assert_close(&score["token_f1"], f64::midpoint(1.0, 2.0 / 3.0), 1e-12);
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
    // Cosines are scalar products of the vectors that `embed` tells, whose length is 1.
    let pairs = [
        (5.0, "learn", "learn"),
        (1.0, "learn", "models from"),
        (2.0, "from models", "model"),
        (4.0, "models", "learn from models"),
    ];
    let rows = pairs.map(|(score, a, b)| format!("{score}\t{a}\t{b}\n"));
    let table = format!("score\ttext_a\ttext_b\n{}", rows.concat());
    sandbox.file("alike.tsv", table);
    let lines = pairs.map(|(_, a, b)| format!("{a}\n{b}\n"));
    sandbox.file("alike.txt", lines.concat());
    let found = document(&sandbox, &format!("embed {ENCODER} --input alike.txt"));
    let vectors: Vec<Vec<f64>> = serde_json::from_value(found["embeddings"].clone()).unwrap();
    let product = |pair: &[Vec<f64>]| {
        let products = pair[0].iter().zip(&pair[1]).map(|(a, b)| a * b);
        products.sum::<f64>()
    };
    let cosines: Vec<f64> = vectors.chunks(2).map(product).collect();
    let expected = pairs.map(|(score, ..)| score);
    let score = document(
        &sandbox,
        &format!("eval {ENCODER} --task similarity --data alike.tsv"),
    );
    assert_close(&score["pearson"], pearson(&expected, &cosines), 1e-5);
    assert_close(&score["spearman"], spearman(&expected, &cosines), 1e-12);
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
