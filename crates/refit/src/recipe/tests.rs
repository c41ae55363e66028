use super::*;
use proptest::prelude::*;
use refit_core::Hint;
use refit_io::atomic::{Overwrite, write_file};

/// What `Recipe::load` says about this text: the message and the hint.
fn load(text: &str) -> Result<Recipe, (String, Option<String>)> {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("r.yaml");
    write_file(&path, text.as_bytes(), Overwrite::Refuse).unwrap();
    Recipe::load(&path).map_err(|error| {
        let message = error
            .to_string()
            .replace(&path.display().to_string(), "r.yaml");
        (message, error.hint().map(Into::into))
    })
}

fn refused(text: &str) -> (String, Option<String>) {
    load(text).expect_err("the recipe is wrong")
}

const GOOD: &str = "method: ties\nbase: b\nexperts: [runs/x, {path: y.safetensors, name: why}]\n";

#[test]
fn a_recipe_has_defaults_and_names() {
    let recipe = load(GOOD).unwrap();
    let names: Vec<_> = recipe.experts.iter().map(|e| e.name.as_str()).collect();
    assert_eq!(names, ["x", "why"]);
    assert_eq!(
        recipe.how,
        How::Method(MergeConfig::Ties(refit_merge::TiesConfig::default()))
    );
    assert_eq!(recipe.checks, Checks::default());
}

#[test]
fn settings_of_the_method_and_of_the_checks_are_read() {
    let text =
        format!("{GOOD}keep: 0.5\naggregate: sum\nskip: [head.]\nchecks: {{max-distance: 0.5}}\n");
    let recipe = load(&text).unwrap();
    let How::Method(MergeConfig::Ties(config)) = recipe.how else {
        panic!("{:?}", recipe.how)
    };
    assert!((config.keep - 0.5).abs() < 1e-12);
    assert_eq!(
        (recipe.checks.max_distance, recipe.skip),
        (Some(0.5), vec!["head.".to_owned()])
    );
}

#[test]
fn a_misspelt_key_method_or_name_gets_the_nearest_valid_one() {
    let did_you_mean = |name: &str| Some(format!("did you mean `{name}`?"));
    let cases = [
        (
            format!("{GOOD}kep: 0.2\n"),
            "`r.yaml`: unknown key `kep`",
            did_you_mean("keep"),
        ),
        (
            GOOD.replace("ties", "teis"),
            "`r.yaml`: unknown method `teis`",
            did_you_mean("ties"),
        ),
        (
            GOOD.replace("name: why", "nmae: why"),
            "`r.yaml`: unknown key of an expert `nmae`",
            did_you_mean("name"),
        ),
        (
            GOOD.replace("base:", "bse:"),
            "`r.yaml`: unknown key `bse`",
            did_you_mean("base"),
        ),
        (
            GOOD.replace("base: ", "# "),
            "`r.yaml`: `base` is missing",
            None,
        ),
        (
            format!("{GOOD}checks: {{max-distnce: 1}}\n"),
            "`r.yaml`: unknown key `max-distnce`",
            did_you_mean("max-distance"),
        ),
        (
            GOOD.replace("name: why", "data: generated:shpes"),
            "`r.yaml`: unknown generated task `shpes`",
            did_you_mean("shapes"),
        ),
        (
            format!("{GOOD}aggregate: sun\n"),
            "`r.yaml`: `aggregate` is `sun`, expected `mean` or `sum`; did you mean `sum`?",
            None,
        ),
    ];
    for (text, message, hint) in cases {
        assert_eq!(refused(&text), (message.to_owned(), hint), "{text}");
    }
}

#[test]
fn wrong_types_and_ranges_name_the_key() {
    let cases = [
        (
            format!("{GOOD}keep: much\n"),
            "`r.yaml`: `keep` is \"much\", expected a number",
        ),
        (
            format!("{GOOD}keep: 20\n"),
            "`r.yaml`: `keep` is 20, expected a share in (0, 1]",
        ),
        (
            format!("{GOOD}skip: head.\n"),
            "`r.yaml`: `skip` is \"head.\", expected a list",
        ),
        (
            format!("{GOOD}skip: [3]\n"),
            "`r.yaml`: `skip` is [3], expected text in each place of the list",
        ),
        (
            GOOD.replace("base: b", "base: 5"),
            "`r.yaml`: `base` is 5, expected a path",
        ),
        (
            "method: ties\nbase: b\nexperts: {a: b}\n".into(),
            "`r.yaml`: `experts` is {\"a\":\"b\"}, expected a list",
        ),
        (
            format!("{GOOD}keep: .nan\n"),
            "`r.yaml` line 4, column 7: `keep` is `.nan`, expected a finite number",
        ),
        (
            GOOD.replace("[runs/x, {path: y.safetensors, name: why}]", "[]"),
            "`r.yaml`: `experts` is empty, expected at least one model",
        ),
        (
            GOOD.replace("runs/x", "7"),
            "`r.yaml`: `experts` is 7, expected a path, or `path`, `name` and `data`",
        ),
        (
            GOOD.replace("path: y.safetensors, ", ""),
            "`r.yaml`: `experts` has an entry without `path`",
        ),
        (
            GOOD.replace("name: why", "data: d.npz"),
            "`r.yaml`: `data` is given, but the method looks at no data; leave it out, or choose a method that learns",
        ),
        (
            format!("{GOOD}coefficients: c.json\n"),
            "`r.yaml`: `coefficients` stands for the method; leave `method` out",
        ),
    ];
    for (text, message) in cases {
        assert_eq!(refused(&text).0, message, "{text}");
    }
}

#[test]
fn a_method_that_learns_needs_inputs_of_every_expert() {
    let text = "method: adamerging\nbase: b\nexperts: [{path: x, data: generated:digits}, z]\n";
    let recipe = load(text).unwrap();
    let error = recipe.plan().unwrap_err();
    assert!(matches!(error, RecipeError::Access(_)), "{error}");
    assert!(error.hint().unwrap().contains("`data:`"));
}

#[test]
fn words_that_other_yaml_takes_for_truth_values_are_words() {
    use refit_merge::Clamp;
    for off in ["off", "\"off\"", "'off'"] {
        let experts = "[{path: no, name: yes, data: generated:digits}]";
        let text = format!("method: adamerging\nclamp: {off}\nbase: on\nexperts: {experts}\n");
        let recipe = load(&text).unwrap();
        let How::Method(MergeConfig::AdaMerging(config)) = &recipe.how else {
            panic!("{recipe:?}")
        };
        assert_eq!(config.clamp, Clamp::Off, "{off}");
        assert_eq!(recipe.base, Path::new("on"));
        let expert = &recipe.experts[0];
        assert_eq!(
            (expert.path.as_path(), &*expert.name),
            (Path::new("no"), "yes")
        );
    }
}

#[test]
fn every_recipe_of_the_repository_is_valid() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../recipes");
    let mut methods = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.extension().is_none_or(|e| e != "yaml") {
            continue;
        }
        if crate::merging::MergeJob::is_meant(&path).unwrap() {
            let (_, documents) = crate::yaml::read_documents(&path).unwrap();
            let set = refit_merge::recipe::RecipeSet::parse(&documents);
            set.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            continue;
        }
        if crate::merging::AdapterJob::is_meant(&path).unwrap() {
            crate::merging::read_adapter_recipe(&path).unwrap_or_else(|e| panic!("{e}"));
            continue;
        }
        let recipe = Recipe::load(&path).unwrap_or_else(|e| panic!("{e}"));
        methods.extend(recipe.card().map(|card| card.name));
    }
    for config in MergeConfig::all() {
        let name = config.card().name;
        assert!(methods.contains(&name), "no recipe shows `{name}`");
    }
}

/// Words of recipes and of YAML, and what does not belong there.
fn word() -> impl Strategy<Value = String> {
    let known = [
        "method: ",
        "ties",
        "adamerging",
        "dare",
        "base: b",
        "experts: ",
        "coefficients: c.json",
        "[",
        "]",
        "{",
        "}",
        "path: x",
        "name: ",
        "data: generated:digits",
        "keep: ",
        "plus: ",
        "clamp: off",
        "skip: ",
        "checks: ",
        "seed: ",
        "\n",
        "\n  ",
        "- ",
        ", ",
        ": ",
        "&a ",
        "*a",
        "!!int ",
        "? ",
        "|\n",
        ">-\n",
        "---\n",
        "\"",
        "'",
        "# ",
        "null",
        "-1",
        "1e999",
        ".nan",
        "0x7f",
        "~",
        "<<: ",
        "\t",
        "\u{feff}",
        "\u{202e}",
        "\0",
    ];
    prop_oneof![
        8 => prop::sample::select(known.to_vec()).prop_map(str::to_owned),
        1 => any::<String>(),
        1 => any::<f64>().prop_map(|x| x.to_string()),
    ]
}

/// Documents that nest, that repeat themselves, and that are long, on both sides of every limit.
fn hostile() -> impl Strategy<Value = String> {
    let key = || prop::sample::select(vec!["experts", "checks", "skip", "keep", "base", "x"]);
    let open = prop::sample::select(vec![["[", "]"], ["{a: ", "}"], ["&a [", "]"], ["- ", ""]]);
    let nested = (key(), open, 1usize..5000).prop_map(|(key, [open, close], n)| {
        format!("{key}: {}7{}\n", open.repeat(n), close.repeat(n))
    });
    let indented = (key(), 1usize..600).prop_map(|(key, n)| {
        let line = |i: usize| format!("{:i$}{key}:\n", "");
        (0..n).map(line).collect()
    });
    let bomb =
        (key(), 1usize..12, 1usize..12, any::<bool>()).prop_map(|(key, width, levels, merge)| {
            let level = |i: usize| match (i, merge) {
                (0, _) => format!("a0: &a0 {{b: [{}]}}\n", "x,".repeat(width)),
                (_, true) => format!(
                    "a{i}: &a{i} {{<<: *a{0}, b{i}: [{1}]}}\n",
                    i - 1,
                    format!("*a{},", i - 1).repeat(width)
                ),
                (_, false) => format!("a{i}: &a{i} [{}]\n", format!("*a{},", i - 1).repeat(width)),
            };
            let levels: String = (0..levels).map(level).collect();
            format!("{levels}{key}: *a0\n")
        });
    let itself = key().prop_map(|key| format!("{key}: &a [*a, {{b: *a}}]\n"));
    let size = prop_oneof![0usize..1 << 16, (1usize << 20) - 200..(1 << 20) + 200];
    let kind = prop::sample::select(vec!["key", "text", "list", "keys", "comment", "name"]);
    let long = (key(), kind, size).prop_map(|(key, kind, n)| match kind {
        "key" => format!("{}: 7\n", "k".repeat(n)),
        "text" => format!("{key}: {}\n", "v".repeat(n)),
        "list" => format!("{key}: [{}]\n", "7,".repeat(n / 2)),
        "keys" => (0..n / 12).fold(String::new(), |keys, i| keys + &format!("k{i}: 7\n")),
        "name" => format!("experts: [{{path: p, name: {}}}]\n", "n".repeat(n)),
        _ => format!("{key}: 7 #{}\n", "#".repeat(n)),
    });
    prop_oneof![nested, indented, bomb, itself, long]
}

#[test]
fn a_bomb_is_refused_wherever_it_stands() {
    let level = |i: usize| format!("x{i}: &x{i} [{}]\n", format!("*x{},", i - 1).repeat(9));
    let levels: String = (1..9).map(level).collect();
    for (head, place) in [
        (GOOD.to_owned(), "skip: *x8"),
        (GOOD.replace("experts", "others"), "experts: *x8"),
        (GOOD.to_owned(), "checks: {max-distance: *x8}"),
    ] {
        let text = format!("{head}x0: &x0 [boom]\n{levels}{place}\n");
        let (message, _) = refused(&text);
        assert!(
            message.ends_with(": it nests or repeats itself too much"),
            "{message}"
        );
    }
}

proptest! {
    /// What a fuzzer would do, by the words of the language: an error of bounded length, or a recipe that was checked.
    #[test]
    fn no_text_makes_the_reader_panic(start in any::<bool>(), words in prop::collection::vec(word(), 0..40)) {
        let head = if start { GOOD } else { "" };
        match load(&(head.to_owned() + &words.concat())) {
            Ok(recipe) => prop_assert!(!recipe.experts.is_empty()),
            Err((message, _)) => prop_assert!(message.len() < 10_000, "{message}"),
        }
    }

    /// The same for what is made to exhaust whoever reads it: the answer is as short, and comes.
    #[test]
    fn no_size_or_depth_makes_the_reader_hang(start in any::<bool>(), hostile in hostile()) {
        let head = if start { GOOD } else { "" };
        if let Err((message, hint)) = load(&(head.to_owned() + &hostile)) {
            let said = message.len() + hint.unwrap_or_default().len();
            prop_assert!(said < 2000, "{said} bytes");
        }
    }

    /// One recipe with some of its bytes changed.
    #[test]
    fn no_damage_makes_the_reader_panic(places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let mut bytes = include_bytes!("../../../../recipes/adamerging.yaml").to_vec();
        for (at, byte) in places {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("r.yaml");
        write_file(&path, &bytes, Overwrite::Refuse).unwrap();
        if let Err(error) = Recipe::load(&path) {
            prop_assert!(error.to_string().len() < 10_000);
        }
    }
}
