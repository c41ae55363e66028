//! Generalised task arithmetic: thin out every task vector, weight it, keep what agrees with an elected sign, sum up.
//! Sources: Ilharco et al. 2023, arXiv:2212.04089 (task arithmetic); Yadav et al. 2023, arXiv:2306.01708 (TIES);
//! Yu et al. 2024, arXiv:2311.03099 (DARE); Davari and Belilovsky 2023, arXiv:2312.06795 (Breadcrumbs);
//! Deep et al. 2024, arXiv:2406.11617 (DELLA).
//!
//! Eight methods of recipes are one family: how a task vector is thinned out, and whether signs are elected. Everything
//! is taken over one tensor at a time, as recipe tools do; the rules of [`MergeConfig`](crate::MergeConfig) take it
//! over the whole model, as the papers do.

mod rule;

use super::{draws::Draws, sparsify::Thinning};
use crate::{
    recipe::{BaseUse, Flag, RecipeRule, Target},
    rule::finite,
    select::{Selection, Taken, kept},
    stream::StreamRule,
};
use refit_core::{Area, Card, ConfigError, DataAccess, ModelAccess};
use rule::Rule;
pub(super) use rule::plus_or_minus;
use serde::Deserialize;

/// Settings of a [`Member`] for one tensor.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct GeneralTensor {
    /// Whether the sum is divided by the sum of weights; of those that agree, where signs are elected (default: that of
    /// the method in recipe tools).
    pub(crate) normalize: Option<Flag>,
    /// Factor on the merged task vector; finite (default 1).
    pub(crate) lambda: f64,
    /// Whether what stays of a task vector is scaled up for what went (default: that of the method in recipe tools).
    /// Without effect where nothing goes.
    pub(crate) rescale: Option<Flag>,
    /// By how much it is scaled up (default: to the L1 norm it had, as in recipe tools; the papers of DARE and DELLA
    /// divide by the probability of staying).
    pub(crate) rescale_by: Option<RescaleBy>,
    /// What elects a sign (default: the sum, as in the paper of TIES).
    pub(crate) consensus: Option<Consensus>,
    /// Where recipe tools keep masks in fewer bits. Without effect here: no mask is stored.
    pub(crate) int8_mask: Flag,
}

impl Default for GeneralTensor {
    fn default() -> Self {
        Self {
            normalize: None,
            lambda: 1.0,
            rescale: None,
            rescale_by: None,
            consensus: None,
            int8_mask: Flag(false),
        }
    }
}

/// By how much the rest of a thinned-out task vector is scaled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RescaleBy {
    /// The sum of magnitudes is as before.
    #[default]
    L1,
    /// The length is as before.
    L2,
    /// The largest magnitude is as before.
    Linf,
    /// Every entry is divided by the probability with which it stayed, so that its expectation is as before.
    Probability,
}

/// What elects the sign of an entry; nothing decided elects plus.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Consensus {
    /// The sum of weighted changes.
    #[default]
    Sum,
    /// The number of weighted changes of either sign.
    Count,
}

/// Settings of a [`Member`] for one model.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GeneralModel {
    /// Its factor; finite; a negative one makes the result forget.
    pub(crate) weight: f64,
    /// Share of entries that stay; in `[0, 1]` (default 1: all). Without effect in `task_arithmetic`.
    #[serde(default = "all")]
    pub(crate) density: f64,
    /// Breadcrumbs: share of entries that go because they are the largest; in `[0, 1]` (default 0.01).
    pub(crate) gamma: Option<f64>,
    /// DELLA: how far the probability of staying lies from `density` at most; `density` ± this inside `(0, 1)`
    /// (default 0.15).
    pub(crate) epsilon: Option<f64>,
}

fn all() -> f64 {
    1.0
}

/// How task vectors are thinned out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sparsify {
    Never,
    Magnitude,
    Random,
    Outliers,
    Ranks,
}

/// What is different between members of the family.
struct Row {
    name: &'static str,
    summary: &'static str,
    source: &'static str,
    sparsify: Sparsify,
    elects: bool,
    normalize: bool,
    rescale: bool,
}

const fn row(name: &'static str, source: &'static str, sparsify: Sparsify, elects: bool) -> Row {
    Row {
        name,
        summary: "",
        source,
        sparsify,
        elects,
        normalize: false,
        rescale: matches!(sparsify, Sparsify::Random | Sparsify::Ranks),
    }
}

const TABLE: [Row; 8] = [
    Row {
        summary: "weighted sum of task vectors, added to the base",
        ..row(
            "task_arithmetic",
            "arXiv:2212.04089",
            Sparsify::Never,
            false,
        )
    },
    Row {
        summary: "the largest changes of every model, averaged where they agree in sign",
        normalize: true,
        ..row("ties", "arXiv:2306.01708", Sparsify::Magnitude, true)
    },
    Row {
        summary: "changes kept at random and scaled up, summed",
        ..row("dare_linear", "arXiv:2311.03099", Sparsify::Random, false)
    },
    Row {
        summary: "changes kept at random and scaled up, summed where they agree in sign",
        ..row("dare_ties", "arXiv:2311.03099", Sparsify::Random, true)
    },
    Row {
        summary: "changes kept at random, larger ones likelier, averaged where they agree in sign",
        normalize: true,
        ..row("della", "arXiv:2406.11617", Sparsify::Ranks, true)
    },
    Row {
        summary: "changes kept at random, larger ones likelier, summed",
        ..row("della_linear", "arXiv:2406.11617", Sparsify::Ranks, false)
    },
    Row {
        summary: "changes without the largest and the smallest, summed",
        ..row("breadcrumbs", "arXiv:2312.06795", Sparsify::Outliers, false)
    },
    Row {
        summary: "changes without the largest and the smallest, summed where they agree in sign",
        ..row(
            "breadcrumbs_ties",
            "arXiv:2312.06795",
            Sparsify::Outliers,
            true,
        )
    },
];

/// Member `M` of the family.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member<const M: usize>;

pub(crate) type TaskArithmetic = Member<0>;
pub(crate) type Ties = Member<1>;
pub(crate) type DareLinear = Member<2>;
pub(crate) type DareTies = Member<3>;
pub(crate) type Della = Member<4>;
pub(crate) type DellaLinear = Member<5>;
pub(crate) type Breadcrumbs = Member<6>;
pub(crate) type BreadcrumbsTies = Member<7>;

impl<const M: usize> RecipeRule for Member<M> {
    const CARD: Card = Card {
        name: TABLE[M].name,
        summary: TABLE[M].summary,
        area: Area::Reuse,
        model: ModelAccess::ReadWeights,
        data: DataAccess::None,
        source: TABLE[M].source,
    };
    const BASE: BaseUse = BaseUse::Required;
    const TENSOR_KEYS: &'static [&'static str] = match (TABLE[M].sparsify, TABLE[M].elects) {
        (Sparsify::Never, _) => &["normalize", "lambda", "rescale", "int8_mask"],
        (_, false) => &["normalize", "lambda", "rescale", "int8_mask", "rescale_by"],
        (_, true) => &[
            "normalize",
            "lambda",
            "rescale",
            "int8_mask",
            "rescale_by",
            "consensus",
        ],
    };
    const MODEL_KEYS: &'static [&'static str] = match TABLE[M].sparsify {
        Sparsify::Outliers => &["weight", "density", "gamma"],
        Sparsify::Ranks => &["weight", "density", "epsilon"],
        _ => &["weight", "density"],
    };
    type Tensor = GeneralTensor;
    type Model = GeneralModel;

    fn rule(
        target: &Target<'_>,
        tensor: GeneralTensor,
        models: Vec<GeneralModel>,
    ) -> Result<Box<dyn StreamRule>, ConfigError> {
        let row = &TABLE[M];
        let known = |key: &str, given: bool, keys: &[&'static str]| {
            if given && !keys.contains(&key) {
                return Err(ConfigError::unknown("setting", key, keys.iter().copied()));
            }
            Ok(())
        };
        known("rescale_by", tensor.rescale_by.is_some(), Self::TENSOR_KEYS)?;
        known("consensus", tensor.consensus.is_some(), Self::TENSOR_KEYS)?;
        for model in &models {
            known("gamma", model.gamma.is_some(), Self::MODEL_KEYS)?;
            known("epsilon", model.epsilon.is_some(), Self::MODEL_KEYS)?;
        }
        finite("lambda", tensor.lambda)?;
        let rescales = tensor.rescale.map_or(row.rescale, |flag| flag.0);
        let rescale = rescales.then(|| tensor.rescale_by.unwrap_or_default());
        let by_chance = matches!(row.sparsify, Sparsify::Random | Sparsify::Ranks);
        if rescale == Some(RescaleBy::Probability) && !by_chance {
            let problem = "is `probability`, expected a norm, since nothing is left to chance here";
            return Err(ConfigError::conflict("rescale_by", problem));
        }
        let (thinnings, questions) = thinnings(target, row.sparsify, &models)?;
        let row_len = match target.shape {
            [] | [_] => target.shape.iter().product(),
            [.., last] => *last,
        };
        Ok(Box::new(Rule {
            weights: models.iter().map(|model| model.weight).collect(),
            scales: vec![1.0; models.len()],
            selection: Selection::new(models.len(), target.shape.iter().product(), questions),
            row: (row.sparsify == Sparsify::Ranks).then_some(row_len),
            rescale: rescale.filter(|_| thinnings.iter().any(|how| how.is_active())),
            thinnings,
            consensus: row.elects.then(|| tensor.consensus.unwrap_or_default()),
            normalize: tensor.normalize.map_or(row.normalize, |flag| flag.0),
            lambda: tensor.lambda,
        }))
    }
}

/// Refuses a share outside `[0, 1]`.
fn share(key: &'static str, value: f64) -> Result<f64, ConfigError> {
    if (0.0..=1.0).contains(&value) {
        return Ok(value);
    }
    Err(ConfigError::range(key, value, "a share in [0, 1]"))
}

type Questions = Vec<(usize, Taken)>;

/// How each task vector is thinned out, and what must be known of it before.
fn thinnings(
    target: &Target<'_>,
    sparsify: Sparsify,
    models: &[GeneralModel],
) -> Result<(Vec<Thinning>, Questions), ConfigError> {
    let len: usize = target.shape.iter().product();
    let mut questions = vec![];
    let mut ask = |model: usize, taken: Taken| {
        questions.push((model, taken));
        questions.len() - 1
    };
    let thinning = |(k, model): (usize, &GeneralModel)| {
        finite("weight", model.weight)?;
        let density = share("density", model.density)?;
        let gamma = share("gamma", model.gamma.unwrap_or(0.01))?;
        let epsilon = share("epsilon", model.epsilon.unwrap_or(0.15))?;
        let name = target.models.get(k).copied().unwrap_or_default();
        let draws = || Draws::new(target.seed.fork("mask").fork(target.path).fork(name));
        if sparsify == Sparsify::Never || density >= 1.0 {
            return Ok(Thinning::All);
        }
        if density <= 0.0 {
            return Ok(Thinning::Nothing);
        }
        Ok(match sparsify {
            Sparsify::Magnitude => Thinning::Largest(ask(k, Taken::Largest(kept(density, len)))),
            Sparsify::Outliers => {
                let stay = (density * len as f64) as usize;
                let top = (gamma * len as f64) as usize;
                let bottom = len.saturating_sub(stay + top); // fewer outliers go before fewer entries stay
                let below = ask(k, Taken::Smallest(bottom));
                let up_to = ask(k, Taken::Smallest(bottom + stay));
                Thinning::Middle { below, up_to }
            }
            Sparsify::Ranks => {
                let (from, to) = (density - epsilon, density + epsilon);
                if !(from > 0.0 && to < 1.0) {
                    let problem = format!(
                        "is {epsilon} around a density of {density}, expected both ends in (0, 1)"
                    );
                    return Err(ConfigError::conflict("epsilon", problem));
                }
                let draws = draws();
                Thinning::Ranked { draws, from, to }
            }
            Sparsify::Random | Sparsify::Never => Thinning::Drawn {
                draws: draws(),
                probability: density,
            },
        })
    };
    let thinnings: Result<_, ConfigError> = models.iter().enumerate().map(thinning).collect();
    Ok((thinnings?, questions))
}

#[cfg(test)]
mod tests;
