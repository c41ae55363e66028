//! `refit classify` and `refit eval` on tiny models that see pictures.

use crate::{embed::weights_of, sandbox::Sandbox};
use refit_nn::{ImageConfig, zoo::ClipConfig};
use refit_testkit::{TINY_WORDS, tiny_tokenizer};
use serde_json::{Value, json};

fn document(sandbox: &Sandbox, args: &str) -> Value {
    serde_json::from_str(&sandbox.done(&format!("{args} --json")).out).unwrap()
}

/// A picture classifier as it is published, of random weights.
fn classifier(sandbox: &Sandbox, family: &str, config: Value) -> String {
    let folder = format!("models/{family}");
    std::fs::create_dir_all(sandbox.path().join(&folder)).unwrap();
    let (Value::Object(mut keys), Value::Object(own)) = (
        json!({
            "model_type": family, "id2label": { "0": "red", "1": "blue", "2": "green" }, "image_size": 8,
            "transformers_version": "5.24.0",
        }),
        config,
    ) else {
        unreachable!()
    };
    keys.extend(own);
    let config = ImageConfig::read(&keys).unwrap();
    assert_eq!(config.num_labels(), 3);
    sandbox.file(
        &format!("{folder}/config.json"),
        Value::Object(keys).to_string(),
    );
    weights_of(sandbox, &folder, |scope| config.bind(scope));
    folder
}

/// One of each family.
fn classifiers(sandbox: &Sandbox) -> [String; 3] {
    let vit = json!({
        "architectures": ["ViTForImageClassification"], "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 1,
        "num_attention_heads": 2, "patch_size": 4, "hidden_act": "gelu", "qkv_bias": true,
    });
    let dinov2 = json!({
        "architectures": ["Dinov2ForImageClassification"], "hidden_size": 8, "num_hidden_layers": 1,
        "num_attention_heads": 2, "patch_size": 4,
    });
    let resnet = json!({
        "architectures": ["ResNetForImageClassification"], "embedding_size": 4, "hidden_sizes": [8], "depths": [1],
    });
    [("vit", vit), ("dinov2", dinov2), ("resnet", resnet)]
        .map(|(family, config)| classifier(sandbox, family, config))
}

/// Pictures in folders by what is on them.
fn pictures(sandbox: &Sandbox) {
    for (name, [red, green, blue]) in [("blue", [0, 0, 1]), ("red", [1, 0, 0])] {
        for at in 0..4 {
            let place = format!("seen/{name}");
            std::fs::create_dir_all(sandbox.path().join(&place)).unwrap();
            let light = 255 - 20 * at;
            let colour = [red * light, green * light, blue * light];
            sandbox.file(&format!("{place}/{at}.ppm"), picture(colour));
        }
    }
}

#[test]
fn what_classify_tells_of_pictures_is_what_eval_counts() {
    let sandbox = Sandbox::new();
    pictures(&sandbox);
    let processors = [
        json!({ "image_processor_type": "ViTImageProcessor", "size": { "height": 8, "width": 8 } }),
        json!({ "image_processor_type": "BitImageProcessor", "size": { "shortest_edge": 10 },
            "crop_size": { "height": 8, "width": 8 }, "resample": 3 }),
        json!({ "image_processor_type": "ConvNextImageProcessor", "size": { "shortest_edge": 32 }, "crop_pct": 0.875 }),
    ];
    for (folder, mut processor) in classifiers(&sandbox).iter().zip(processors) {
        processor["image_mean"] = json!([0.5, 0.5, 0.5]);
        processor["image_std"] = json!([0.5, 0.25, 0.5]);
        sandbox.file(
            &format!("{folder}/preprocessor_config.json"),
            processor.to_string(),
        );
        let told = document(&sandbox, &format!("classify {folder} --input seen"));
        let told = told["pictures"].as_array().unwrap();
        assert_eq!(
            (told.len(), &told[7]["picture"]),
            (8, &json!("seen/red/3.ppm"))
        );
        let right = |row: &&Value| {
            let label = row["label"].as_str().unwrap();
            row["picture"]
                .as_str()
                .unwrap()
                .contains(&format!("/{label}/"))
        };
        let count = told.iter().filter(right).count();
        let parts = ["train", "val", "test"].map(|part| {
            document(
                &sandbox,
                &format!("eval {folder} --data seen --split {part}"),
            )
        });
        let sum = |key: &str| {
            parts
                .iter()
                .map(|part| part[key].as_u64().unwrap())
                .sum::<u64>()
        };
        assert_eq!(
            (sum("images"), sum("correct")),
            (8, count as u64),
            "{folder}"
        );
        // Labels stand in the order of the model.
        let lines = sandbox
            .done(&format!("classify {folder} --input seen/red/0.ppm"))
            .out;
        let places = ["\"red\":", "\"blue\":", "\"green\":"].map(|name| lines.find(name).unwrap());
        assert!(places.is_sorted(), "{lines}");
    }
}

#[test]
fn models_are_sent_to_the_verbs_that_read_them() {
    let sandbox = Sandbox::new();
    pictures(&sandbox);
    crate::embed::encoder(&sandbox);
    crate::embed::sentences(&sandbox);
    let [vit, dinov2, resnet] = classifiers(&sandbox);
    let encoder = crate::embed::ENCODER;
    sandbox.file(
        &format!("{dinov2}/preprocessor_config.json"),
        "{\"size\": 8, \"resample\": 1}",
    );
    sandbox.file(
        &format!("{resnet}/preprocessor_config.json"),
        "{\"size\": 8, \"crop_pct\": 2}",
    );
    for (args, expected) in [
        (
            format!("embed {vit} --input sentences.txt"),
            "`sentences.txt`",
        ),
        (
            format!("embed {vit} --input seen --max-length 9"),
            "--max-length has no effect on pictures",
        ),
        (
            format!("generate {vit} --prompt learn"),
            "`refit classify`, `refit eval` and `refit embed` read it",
        ),
        (
            format!("eval {encoder} --model {encoder}/config.json --data seen"),
            "--model has no effect",
        ),
        (
            format!("train --model {encoder}/config.json --data seen --out runs/x"),
            "which reads texts",
        ),
        (
            format!("classify {vit} --input seen --label a"),
            "--label has no effect",
        ),
        (format!("classify {dinov2} --input seen"), "`resample` is 1"),
        (format!("classify {resnet} --input seen"), "`crop_pct` is 2"),
    ] {
        let said = sandbox.refit(&args);
        assert!(
            said.code != Some(0) && said.err.contains(expected),
            "{args}\n{}",
            said.err
        );
    }
    let config = std::fs::read_to_string(sandbox.path().join(&vit).join("config.json")).unwrap();
    let path = format!("{vit}/config.json");
    for (from, to, expected) in [
        ("\"vit\"", "\"vti\"", "did you mean `vit`?"),
        ("\"gelu\"", "\"relu\"", "`hidden_act` is relu"),
        ("\"red\"", "7", "`id2label` is"),
    ] {
        sandbox.file(&path, config.replace(from, to));
        let said = sandbox.refit(&format!("eval {vit} --data seen"));
        assert!(
            said.code == Some(3) && said.err.contains(expected),
            "{to}\n{}",
            said.err
        );
    }
    // An architecture from elsewhere goes before what the folder says.
    sandbox.file(&path, "{\"hello\": 1}");
    sandbox.file("arch.json", &config);
    let said = sandbox.refit(&format!("eval {vit} --model arch.json --data seen"));
    assert!(
        said.err.contains("the data has 2 classes, the model 3"),
        "{}",
        said.err
    );
    sandbox.file(&path, config.replace("\"red\"", "\"rad\""));
    let said = sandbox.refit(&format!("eval {vit} --data seen"));
    assert!(
        said.code == Some(3) && said.err.contains("unknown class `red`"),
        "{}",
        said.err
    );
}

/// Values of a tensor of a model.
fn tensor(sandbox: &Sandbox, folder: &str, name: &str) -> Vec<f32> {
    let file = sandbox.path().join(folder).join("model.safetensors");
    let checkpoint = refit_io::ckpt::Checkpoint::open(&file).unwrap();
    checkpoint.tensor_f32(name).unwrap()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn cosine(a: &[f64], b: &[f64]) -> f64 {
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[test]
fn vectors_of_pictures_are_what_a_classifier_reads() {
    let sandbox = Sandbox::new();
    pictures(&sandbox);
    let [vit, dinov2, resnet] = classifiers(&sandbox);
    for (folder, head) in [(&vit, "classifier"), (&resnet, "classifier.1")] {
        let found = document(&sandbox, &format!("embed {folder} --input seen"));
        let vectors: Vec<Vec<f64>> = serde_json::from_value(found["embeddings"].clone()).unwrap();
        let told = document(&sandbox, &format!("classify {folder} --input seen"));
        let weight = tensor(&sandbox, folder, &format!("{head}.weight"));
        let bias = tensor(&sandbox, folder, &format!("{head}.bias"));
        assert_eq!((vectors.len(), vectors[0].len()), (8, 8));
        for (vector, told) in vectors.iter().zip(told["pictures"].as_array().unwrap()) {
            let rows = weight.chunks(8).zip(&bias);
            let score = |(row, bias): (&[f32], &f32)| {
                let row: Vec<f64> = row.iter().copied().map(f64::from).collect();
                dot(&row, vector) + f64::from(*bias)
            };
            let scores: Vec<f64> = rows.map(score).collect();
            let most = scores.iter().copied().fold(f64::MIN, f64::max);
            let scores: Vec<f64> = scores.iter().map(|score| (score - most).exp()).collect();
            let sum: f64 = scores.iter().sum();
            for (name, score) in ["red", "blue", "green"].iter().zip(&scores) {
                let found = told["probabilities"][name].as_f64().unwrap();
                assert!(
                    (found - score / sum).abs() < 1e-5,
                    "{folder} {name}: {found} {scores:?}"
                );
            }
        }
    }
    // A model that was published without a classifier, and the same with one.
    let lines = sandbox.done(&format!("embed {dinov2} --input seen")).out;
    let config = std::fs::read_to_string(sandbox.path().join(&dinov2).join("config.json")).unwrap();
    let bare = config
        .replace("Dinov2ForImageClassification", "Dinov2Model")
        .replace("id2label", "no_labels");
    sandbox.file(&format!("{dinov2}/config.json"), &bare);
    assert_eq!(
        sandbox.done(&format!("embed {dinov2} --input seen")).out,
        lines
    );
    let info = sandbox.done(&format!("info {dinov2}")).out;
    assert!(info.contains("`refit embed` reads it"), "{info}");
    let plan = sandbox
        .done(&format!("embed {vit} --input seen --dry-run"))
        .out;
    assert!(
        plan.contains("pictures    8") && plan.contains("8 entries each"),
        "{plan}"
    );
    // The most probable classes alone.
    let top = document(
        &sandbox,
        &format!("classify {vit} --input seen/red/0.ppm --top 2"),
    );
    let all = document(&sandbox, &format!("classify {vit} --input seen/red/0.ppm"));
    let of = |found: &Value| {
        found["pictures"][0]["probabilities"]
            .as_object()
            .unwrap()
            .clone()
    };
    let (top, all) = (of(&top), of(&all));
    let least = all
        .values()
        .map(|p| p.as_f64().unwrap())
        .fold(1.0, f64::min);
    assert_eq!((top.len(), all.len()), (2, 3));
    for (name, p) in &all {
        assert_eq!(
            top.get(name),
            (p.as_f64() != Some(least)).then_some(p),
            "{name}"
        );
    }
}

/// A picture of one colour.
fn picture(colour: [u8; 3]) -> Vec<u8> {
    let pixels = (0..12 * 9).flat_map(|_| colour);
    b"P6 12 9 255\n".iter().copied().chain(pixels).collect()
}

#[test]
fn a_clip_turns_pictures_and_texts_into_vectors_of_one_space() {
    let sandbox = Sandbox::new();
    let folder = clip(&sandbox);
    // Vectors of pictures and texts lie in one space, and say the same.
    let vectors = |input: &str| -> Vec<Vec<f64>> {
        let found = document(&sandbox, &format!("embed {folder} --input {input}"));
        serde_json::from_value(found["embeddings"].clone()).unwrap()
    };
    sandbox.file("labels.txt", "learn\nmodels\n");
    let (seen, said) = (vectors("pictures"), vectors("labels.txt"));
    let scale = f64::from(tensor(&sandbox, folder, "logit_scale")[0]).exp();
    let args = "--input pictures --label learn --label models --hypothesis {}";
    let asked = document(&sandbox, &format!("classify {folder} {args}"));
    let asked = asked["pictures"].as_array().unwrap();
    assert_eq!((seen.len(), said.len(), seen[0].len()), (2, 2, 6));
    for (row, seen) in asked.iter().zip(&seen) {
        let [learn_score, models_score] = [0, 1].map(|at| scale * cosine(seen, &said[at]));
        let expected = 1.0 / (1.0 + (models_score - learn_score).exp());
        let learn = row["probabilities"]["learn"].as_f64().unwrap();
        assert!((learn - expected).abs() < 1e-5, "{row} {expected}");
    }
    sandbox.file(
        "long.txt",
        "learn from models learn from models learn from models learn\n",
    );
    let said = sandbox.done(&format!("embed {folder} --input long.txt"));
    assert!(
        said.err.contains("1 of 1 texts have 12 tokens or more"),
        "{}",
        said.err
    );
    // A picture of a kind that is not read is none of texts.
    sandbox.file("moving.gif", "GIF89a");
    let said = sandbox.refit(&format!("embed {folder} --input moving.gif"));
    assert!(
        said.code == Some(3) && said.err.contains("cannot decode the image `moving.gif`"),
        "{}",
        said.err
    );
    let long = "learn,from,models,learn,from,models";
    let said = sandbox.refit(&format!(
        "classify {folder} --input pictures --label {long} --label from"
    ));
    assert!(
        said.code == Some(3) && said.err.contains("would not read the end"),
        "{}",
        said.err
    );
}

/// A CLIP as it is published, of random weights, and pictures of two colours.
fn clip(sandbox: &Sandbox) -> &'static str {
    let folder = "models/clip";
    std::fs::create_dir_all(sandbox.path().join(folder)).unwrap();
    let part = json!({
        "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": TINY_WORDS.len(),
        "max_position_embeddings": 12, "eos_token_id": 3, "image_size": 8, "patch_size": 4,
    });
    let config = json!({ "model_type": "clip", "projection_dim": 6, "text_config": part, "vision_config": part });
    sandbox.file(&format!("{folder}/config.json"), config.to_string());
    sandbox.file(
        &format!("{folder}/tokenizer.json"),
        tiny_tokenizer().to_string(),
    );
    let clip = ClipConfig::read(config.as_object().unwrap()).unwrap();
    weights_of(sandbox, folder, |scope| clip.bind(scope));
    std::fs::create_dir_all(sandbox.path().join("pictures/more")).unwrap();
    sandbox.file("pictures/red.ppm", picture([255, 0, 0]));
    sandbox.file("pictures/more/blue.ppm", picture([0, 0, 255]));
    folder
}

#[test]
fn pictures_are_told_by_what_is_said_about_them() {
    let sandbox = Sandbox::new();
    let folder = clip(&sandbox);
    let ask = |input: &str, more: &str| {
        let args = format!("classify {folder} --input {input} --label learn --label models {more}");
        document(&sandbox, &args)["pictures"]
            .as_array()
            .unwrap()
            .clone()
    };
    let found = ask("pictures", "");
    assert_eq!(found[0]["picture"], "pictures/more/blue.ppm");
    assert_ne!(found[0]["probabilities"], found[1]["probabilities"]);
    for row in &found {
        let sum: f64 = row["probabilities"]
            .as_object()
            .unwrap()
            .values()
            .map(|p| p.as_f64().unwrap())
            .sum();
        assert!((sum - 1.0).abs() < 1e-9);
    }
    // Another batch rounds otherwise.
    let learn = |row: &Value| row["probabilities"]["learn"].as_f64().unwrap();
    let alone = ask("pictures/red.ppm", "").remove(0);
    assert!((learn(&alone) - learn(&found[1])).abs() < 1e-5);
    // What is said in two ways is the mean of both, whose order does not matter.
    let one = "--hypothesis learn,{}";
    let two = "--hypothesis {},from";
    let [first, second] = [one, two].map(|said| ask("pictures/red.ppm", said).remove(0));
    let both = ask("pictures/red.ppm", &format!("{one} {two}")).remove(0);
    let turned = ask("pictures/red.ppm", &format!("{two} {one}")).remove(0);
    assert!(both != first && both != second);
    assert!((learn(&both) - learn(&turned)).abs() < 1e-5);
    let twice = ask("pictures/red.ppm", &format!("{one} {one}")).remove(0);
    assert!((learn(&twice) - learn(&first)).abs() < 1e-5);
    // The data says which classes a score is about.
    for name in ["learn", "from", "models"] {
        for at in 0..3 {
            let place = format!("classes/{name}");
            std::fs::create_dir_all(sandbox.path().join(&place)).unwrap();
            sandbox.file(&format!("{place}/{at}.ppm"), picture([80 * at, 0, 255]));
        }
    }
    let images = |part: &str| {
        let args = format!("eval {folder} --data classes --split {part}");
        document(&sandbox, &args)["images"].as_u64().unwrap()
    };
    assert_eq!(["train", "val", "test"].map(images).iter().sum::<u64>(), 9);
    // Other colours in what the publisher says, other answers.
    sandbox.file(
        &format!("{folder}/preprocessor_config.json"),
        "{\"size\": {\"shortest_edge\": 8}, \"crop_size\": 8, \"image_mean\": [0, 0, 0], \"image_std\": [1, 1, 1]}",
    );
    assert_ne!(ask("pictures/red.ppm", "")[0], alone);
    sandbox.file("broken.ppm", "P6 12");
    sandbox.file(
        &format!("{folder}/preprocessor_config.json"),
        "{\"crop_size\": 9}",
    );
    for (args, expected) in [
        ("--input pictures --label a", "2 or more"),
        ("--input broken.ppm --label a --label b", "crop_size"),
        (
            "--input pictures --label a --label b --head x",
            "cannot be used with",
        ),
        (
            "--input pictures --label a --label b --several",
            "--several has no effect",
        ),
    ] {
        let said = sandbox.refit(&format!("classify {folder} {args}"));
        assert!(
            said.code != Some(0) && said.err.contains(expected),
            "{args}\n{}",
            said.err
        );
    }
    sandbox.file(&format!("{folder}/preprocessor_config.json"), "{}");
    let said = sandbox.refit(&format!(
        "classify {folder} --input broken.ppm --label a --label b"
    ));
    assert!(
        said.code == Some(3) && said.err.contains("broken.ppm"),
        "{}",
        said.err
    );
}
