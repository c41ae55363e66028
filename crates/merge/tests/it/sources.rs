//! Models as they lie in checkpoints: types, order, mismatches, values that are no numbers, and the way back.

use crate::support::MemorySource;
use refit_core::{DType, Hint, ParamPath, Silent, Sink, Source, TensorMeta};
use refit_merge::{
    Checks, MergeConfig, MergeError, NotFinite, TaskVectors, TensorSet, Weights, write_merged,
};
use std::{borrow::Cow, convert::Infallible};

fn bf16(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|v| half::bf16::from_f32(*v).to_le_bytes())
        .collect()
}

fn between<'a>(
    base: &'a MemorySource,
    expert: &'a MemorySource,
    checks: Checks,
) -> Result<TaskVectors<'a>, MergeError> {
    let expert = vec![Weights::open("cars", expert)?];
    TaskVectors::between(Weights::open("base", base)?, expert, &checks)
}

fn refused(base: &MemorySource, expert: &MemorySource) -> String {
    between(base, expert, Checks::default())
        .unwrap_err()
        .to_string()
}

#[test]
fn experts_may_differ_in_order_and_type_and_carry_counters() {
    let base = MemorySource::default()
        .f32("a", &[1.0, 2.0])
        .with("steps", DType::I64, &[], 7i64.to_le_bytes())
        .with("b", DType::F64, &[1], 4f64.to_le_bytes());
    let expert = MemorySource::default()
        .with("b", DType::BF16, &[1], bf16(&[6.0]))
        .with("steps", DType::I64, &[], 9i64.to_le_bytes())
        .with("a", DType::BF16, &[2], bf16(&[1.5, 1.0]));
    let tasks = between(&base, &expert, Checks::default()).unwrap();
    assert_eq!(
        tasks
            .layout()
            .paths()
            .map(ParamPath::as_str)
            .collect::<Vec<_>>(),
        ["a", "b"]
    );
    assert_eq!(
        (tasks.task(0, 0), tasks.task(0, 1)),
        (vec![0.5, -1.0], vec![2.0])
    );
    assert_eq!(*tasks.model(0, 1), [6.0]);
    let set = TensorSet::from_source("expert", &expert).unwrap();
    assert_eq!((set.get("b"), set.get("steps")), (Some(&[6.0][..]), None));
}

#[test]
fn what_differs_is_named() {
    let base = MemorySource::default()
        .f32("a", &[1.0, 2.0])
        .f32("b", &[1.0]);
    let shape = MemorySource::default().f32("a", &[1.0]).f32("b", &[1.0]);
    assert_eq!(
        refused(&base, &shape),
        "`a` of expert `cars` has shape [1], the base has [2]"
    );
    let names = MemorySource::default()
        .f32("a", &[1.0, 2.0])
        .f32("c", &[1.0]);
    let text = refused(&base, &names);
    assert!(
        text.contains("expert `cars`") && text.contains("missing `b`; unexpected `c`"),
        "{text}"
    );
    let kind = MemorySource::default()
        .f32("a", &[1.0, 2.0])
        .with("b", DType::I8, &[1], [1]);
    assert!(refused(&base, &kind).starts_with("`b` of expert `cars` is stored as I8"));
    let short = MemorySource::default().with("a", DType::F32, &[2], [0; 7]);
    assert_eq!(
        refused(&base, &short),
        "`a` of `cars` holds 7 bytes, its shape asks for 8"
    );
    let error = between(&base, &shape, Checks::default()).unwrap_err();
    assert!(error.hint().unwrap().contains("share one base"));
}

#[test]
fn at_most_ten_names_are_printed() {
    let names: Vec<String> = (0..14).map(|i| format!("w{i:02}")).collect();
    let base = names
        .iter()
        .fold(MemorySource::default(), |s, name| s.f32(name, &[0.0]));
    let text = refused(&base, &MemorySource::default());
    assert!(
        text.contains("`w09` and 4 more; unexpected nothing"),
        "{text}"
    );
}

#[test]
fn values_that_are_no_numbers_are_refused_by_name_unless_allowed() {
    let good = MemorySource::default()
        .f32("a", &[1.0, 2.0])
        .f32("b", &[3.0]);
    let nan = MemorySource::default()
        .f32("a", &[1.0, f32::NAN])
        .f32("b", &[3.0]);
    let inf = MemorySource::default()
        .f32("a", &[1.0, 2.0])
        .f32("b", &[f32::NEG_INFINITY]);
    let text = refused(&good, &nan);
    assert_eq!(
        text,
        "`a` of expert `cars` holds NaN at position 1, expected finite values"
    );
    assert!(refused(&good, &inf).starts_with("`b` of expert `cars` holds -inf at position 0"));
    assert!(refused(&nan, &good).starts_with("`a` of base `base` holds NaN"));
    let half = MemorySource::default().with("a", DType::BF16, &[2], bf16(&[f32::NAN, 0.0]));
    let full = MemorySource::default().f32("a", &[0.0, 0.0]);
    assert!(refused(&full, &half).contains("holds NaN at position 0"));

    let checks = Checks {
        not_finite: NotFinite::Allow,
        ..Checks::default()
    };
    let tasks = between(&good, &nan, checks).unwrap();
    let config = r#"{"method": "task-arithmetic", "scale": 1}"#;
    let rule = serde_json::from_str::<MergeConfig>(config)
        .unwrap()
        .check()
        .unwrap();
    let merged = rule.merge(&tasks, &Silent).unwrap();
    assert!(merged.tensors()[0][0] == 1.0 && merged.tensors()[0][1].is_nan());
}

#[test]
fn selected_tensors_alone_are_merged() {
    let base = MemorySource::default()
        .f32("enc.w", &[1.0])
        .f32("head.w", &[1.0, 1.0]);
    let expert = MemorySource::default()
        .f32("enc.w", &[3.0])
        .f32("head.w", &[1.0]);
    let open = |name, source| {
        Weights::open_where(name, source, |path| path.as_str().starts_with("enc.")).unwrap()
    };
    let experts = vec![open("e", &expert)];
    let tasks = TaskVectors::between(open("b", &base), experts, &Checks::default()).unwrap();
    assert_eq!(tasks.layout().values(), 1);
}

#[derive(Default)]
struct Kept(Vec<(TensorMeta, Vec<u8>)>);

impl Sink for Kept {
    type Error = Infallible;

    fn put(&mut self, meta: &TensorMeta, bytes: &[u8]) -> Result<(), Infallible> {
        self.0.push((meta.clone(), bytes.to_vec()));
        Ok(())
    }
}

#[test]
fn merged_weights_go_back_in_the_order_and_types_of_the_base() {
    let base = MemorySource::default()
        .with("b", DType::BF16, &[2, 1], bf16(&[1.0, 2.0]))
        .with("steps", DType::I64, &[], 7i64.to_le_bytes())
        .with(
            "h",
            DType::F16,
            &[1],
            half::f16::from_f32(1.0).to_le_bytes(),
        )
        .f32("head", &[5.0])
        .with("d", DType::F64, &[1], 4f64.to_le_bytes());
    // 1.003 rounds to the bf16 neighbour 1.0; 1.5 and -0.25 are exact.
    let merged = TensorSet::from_values([
        ("d", vec![1], vec![-0.25]),
        ("b", vec![2, 1], vec![1.003, 1.5]),
        ("h", vec![1], vec![0.5]),
    ])
    .unwrap();
    let mut kept = Kept::default();
    write_merged(&base, &merged, NotFinite::Refuse, &mut kept).unwrap();
    let (metas, bytes): (Vec<_>, Vec<_>) = kept.0.into_iter().unzip();
    assert_eq!(metas, base.tensors());
    assert_eq!(bytes[0], bf16(&[1.0, 1.5]));
    assert_eq!(bytes[1], 7i64.to_le_bytes());
    assert_eq!(bytes[2], half::f16::from_f32(0.5).to_le_bytes());
    assert_eq!(bytes[3], 5f32.to_le_bytes());
    assert_eq!(bytes[4], (-0.25f64).to_le_bytes());

    let wrong = TensorSet::from_values([("b", vec![1], vec![1.0])]).unwrap();
    let error = write_merged(&base, &wrong, NotFinite::Refuse, &mut Kept::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`b` of the merged model holds 1 values, its shape asks for 2"
    );
}

#[test]
fn merged_values_that_the_output_cannot_hold_are_refused_by_name() {
    // 65504 and 3.39e38 are the largest finite values of F16 and BF16; what lies half a step above becomes infinite.
    let largest = half::bf16::MAX.to_f32();
    for (dtype, fits, beyond) in [
        (DType::F16, 65_519.0, 65_520.0),
        (DType::BF16, largest, f32::MAX),
        (DType::F32, f32::MAX, f32::INFINITY),
        (DType::F64, f32::MAX, f32::NAN),
    ] {
        let bytes = vec![0; 3 * dtype.size_bytes()];
        let base = MemorySource::default()
            .f32("fine", &[1.0])
            .with("w", dtype, &[3], bytes);
        let write = |value: f32, not_finite| {
            let merged = TensorSet::from_values([
                ("fine", vec![1], vec![1.0]),
                ("w", vec![3], vec![0.0, value, 1.0]),
            ]);
            write_merged(&base, &merged.unwrap(), not_finite, &mut Kept::default())
        };
        write(fits, NotFinite::Refuse).unwrap();
        write(beyond, NotFinite::Allow).unwrap();
        let error = write(beyond, NotFinite::Refuse).unwrap_err();
        let words = format!(
            "`w` of the merged model is {beyond} at position 1, which is no finite {dtype} value"
        );
        assert_eq!(error.to_string(), words);
        assert!(error.hint().unwrap().starts_with("lower the scale"));
    }
}

/// Hands out owned bytes, and fails at one tensor.
struct Faulty;

impl Source for Faulty {
    type Error = std::io::Error;

    fn tensors(&self) -> &[TensorMeta] {
        static METAS: std::sync::LazyLock<Vec<TensorMeta>> = std::sync::LazyLock::new(|| {
            let meta = |path: &str| TensorMeta {
                path: path.into(),
                dtype: DType::F32,
                shape: vec![1],
            };
            vec![meta("fine"), meta("broken")]
        });
        &METAS
    }

    fn bytes(&self, index: usize) -> Result<Cow<'_, [u8]>, std::io::Error> {
        match index {
            0 => Ok(Cow::Owned(vec![0; 4])),
            _ => Err(std::io::Error::other("disk on fire")),
        }
    }
}

#[test]
fn a_source_that_fails_is_named_with_its_tensor() {
    let error = Weights::open("cars", &Faulty).unwrap_err();
    assert_eq!(error.to_string(), "cannot read `broken` of `cars`");
    assert_eq!(
        std::error::Error::source(&error).unwrap().to_string(),
        "disk on fire"
    );
    let fine = Weights::open_where("cars", &Faulty, |path| path.as_str() == "fine").unwrap();
    assert_eq!(*fine.tensor(0), [0.0]);
}
