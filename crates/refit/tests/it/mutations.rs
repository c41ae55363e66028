//! Recipes with random damage: an error that names something, or a plan; never a panic.

use crate::{
    sandbox::Sandbox,
    streamed::{LINEAR, TIES, small},
};
use refit::{
    merging::{MergeJob, MergeOptions},
    recipe::Recipe,
};
use refit_core::{Hint, Seed};
use std::{fs::File, io::Write, path::Path};

/// Damaged recipes that are tried.
const TRIES: u64 = 10_000;

/// What does most harm where it is not expected.
const WORDS: [&str; 24] = [
    "&a",
    "*a",
    "!!binary",
    "!x",
    "{",
    "}",
    "[",
    "]",
    ":",
    "- ",
    "---\n",
    "\n",
    "\t",
    "~",
    ".nan",
    "-1",
    "1e400",
    "18446744073709551616",
    "0x",
    "'",
    "models",
    "base",
    "layer_range: [0, 99999999999]",
    "../",
];

const SLICES: &str = "merge_method: slerp
base_model: a
slices:
  - sources:
      - {model: a, layer_range: [0, 2]}
      - {model: b, layer_range: [0, 2]}
parameters:
  t:
    - {filter: mlp, value: [0, 0.5, 1]}
    - value: 0.5
dtype: bfloat16
tokenizer_source: base
";

const FRANKEN: &str = "name: tall
merge_method: passthrough
slices:
  - sources: [{model: a, layer_range: [0, 2], parameters: {scale: 0.5}}]
  - sources: [{model: b, layer_range: [1, 2]}]
---
merge_method: dare_ties
base_model: tall
models: [{model: tall, parameters: {density: 0.5, weight: [0, 1]}}]
parameters: {normalize: true, int8_mask: on, lambda: 1}
";

/// Numbers from a seed.
struct Dice {
    seed: Seed,
    thrown: u64,
}

impl Dice {
    /// One of `0 .. sides`.
    fn throw(&mut self, sides: usize) -> usize {
        self.thrown += 1;
        (self.seed.fork(self.thrown).get() % sides as u64) as usize
    }
}

fn damage(text: &str, dice: &mut Dice) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    for _ in 0..=dice.throw(3) {
        let at = dice.throw(bytes.len() + 1);
        let end = (at + dice.throw(12)).min(bytes.len());
        match dice.throw(5) {
            0 => drop(bytes.drain(at..end)),
            1 => {
                let copied = bytes[at..end].to_vec();
                let to = dice.throw(bytes.len() + 1);
                bytes.splice(to..to, copied);
            }
            2 if at < bytes.len() => bytes[at] ^= 1 << dice.throw(8),
            3 => bytes.truncate(at),
            _ => {
                let word = WORDS[dice.throw(WORDS.len())];
                bytes.splice(at..at, word.bytes());
            }
        }
    }
    bytes
}

fn save(path: &Path, bytes: &[u8]) {
    File::create(path).unwrap().write_all(bytes).unwrap();
}

#[test]
fn damaged_recipes_are_errors_or_plans() {
    let sandbox = Sandbox::new();
    small(&sandbox);
    let home = sandbox.path().display();
    let here = |text: &str| {
        let text = text.replace("model: a", &format!("model: {home}/a"));
        text.replace("model: b", &format!("model: {home}/b"))
    };
    let own =
        |name: &str| std::fs::read_to_string(sandbox.path().join("recipes").join(name)).unwrap();
    let whole = [
        here(LINEAR),
        here(TIES),
        here(SLICES),
        here(FRANKEN),
        own("ties.yaml"),
        own("adamerging.yaml"),
    ];
    let file = &sandbox.path().join("damaged.yaml");
    let (mut plans, mut errors) = (0, 0);
    for number in 0..TRIES {
        let mut dice = Dice {
            seed: Seed::new(7).fork(number),
            thrown: 0,
        };
        let text = &whole[dice.throw(whole.len())];
        save(file, &damage(text, &mut dice));
        let told = match MergeJob::is_meant(file) {
            Ok(true) => MergeJob::open(file, MergeOptions::default())
                .map(|job| drop(job.summary()))
                .map_err(|error| {
                    (
                        error.to_string(),
                        error.hint().map(std::borrow::Cow::into_owned),
                    )
                }),
            Ok(false) => Recipe::load(file).map(drop).map_err(|error| {
                (
                    error.to_string(),
                    error.hint().map(std::borrow::Cow::into_owned),
                )
            }),
            Err(error) => Err((error.to_string(), None)),
        };
        match told {
            Ok(()) => plans += 1,
            Err((message, hint)) => {
                errors += 1;
                assert!(
                    !message.is_empty() && message.len() < 5000,
                    "{number}: {message}"
                );
                assert!(hint.is_none_or(|hint| hint.len() < 1000), "{number}");
            }
        }
    }
    // Both ways are tried.
    assert!(
        plans > 100 && errors > 1000,
        "{plans} plans, {errors} errors"
    );
}
