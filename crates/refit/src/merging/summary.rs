//! What a merge would do.

use super::{
    MergeJob, Origin, StepPlan,
    beside::{self, TOKENIZER},
    dtypes, size,
    vocabulary::Vocabulary,
};
use refit_core::Seed;
use refit_io::ckpt::shard_count;
use refit_merge::{
    engine,
    recipe::{InputRef, Recipe, Work},
};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a merge would do.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct JobSummary {
    /// The recipes in the order in which they run; the last one makes the output.
    pub steps: Vec<StepSummary>,
    /// Bytes that are read, if every operand is read once.
    pub input_bytes: u64,
    /// Bytes of the output and of what is kept until it is finished.
    pub written_bytes: u64,
    /// Bytes of memory beside the program.
    pub memory_bytes: u64,
    /// Files of the output that hold weights.
    pub shards: usize,
    /// What is probably not meant, and what is done without being asked for.
    pub warnings: Vec<String>,
}

/// What one recipe would do.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct StepSummary {
    /// The recipe, defaults left out.
    pub recipe: Recipe,
    /// Tensors that are merged.
    pub merged_tensors: usize,
    /// Values that are merged.
    pub merged_values: u64,
    /// Tensors that are not merged, and get the change of an adapter.
    pub folded_tensors: usize,
    /// Tensors that are copied.
    pub copied_tensors: usize,
    /// Bytes of the result.
    pub output_bytes: u64,
    /// Element types of the result.
    pub dtypes: Vec<String>,
    /// Tensors of models that have no place in the result, such as a head that only one model has.
    pub left_out: Vec<String>,
    /// The tokenizer of the result, if it has one.
    pub tokenizer: Option<TokenizerSummary>,
}

/// The tokenizer of a result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct TokenizerSummary {
    /// The model whose tokenizer it is, or was before tokens were added.
    pub model: String,
    /// Tokens that were added.
    pub added: usize,
    /// Rows of the embedding, where they are matched by token; by number otherwise.
    pub rows: Option<usize>,
    /// Tokens that models know and have no row for.
    pub rowless: usize,
    /// Whether chats have a template.
    pub chat_template: bool,
}

impl fmt::Display for TokenizerSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "of {}", self.model)?;
        if self.added > 0 {
            write!(f, ", {} tokens added", self.added)?;
        }
        match self.rows {
            Some(rows) => write!(f, ", {rows} rows matched by token")?,
            None => f.write_str(", rows matched by number")?,
        }
        if self.rowless > 0 {
            write!(f, ", {} tokens without a row of their own", self.rowless)?;
        }
        f.write_str(if self.chat_template {
            ", with a chat template"
        } else {
            ""
        })
    }
}

impl MergeJob {
    /// What would be done.
    pub fn summary(&self) -> JobSummary {
        let steps = self.set.steps().iter().zip(&self.steps);
        let steps = steps.map(|(step, plan)| self.step_summary(&step.recipe, plan));
        let budget = self
            .options
            .memory_bytes
            .saturating_sub(self.adapter_bytes());
        let memory = self.steps.iter().map(|step| memory_bytes(step, budget));
        let last = &self.steps[self.steps.len() - 1].metas;
        let shards = self
            .options
            .shard_bytes
            .map_or(1, |most| shard_count(last, most));
        JobSummary {
            steps: steps.collect(),
            input_bytes: self.steps.iter().map(|step| self.input_bytes(step)).sum(),
            written_bytes: self.steps.iter().map(|step| size(&step.metas)).sum(),
            memory_bytes: memory.max().unwrap_or(0) + self.adapter_bytes(),
            shards,
            warnings: self.warnings(),
        }
    }

    fn input_bytes(&self, step: &StepPlan) -> u64 {
        let origins = &step.origins;
        let bytes = |model: usize, index: usize| match origins[model] {
            Origin::Opened(at) => self.models.get(at).header().tensors[index].size_bytes(),
            Origin::Step(at) => self.steps[at].metas[index].size_bytes(),
        };
        let inputs = step.plan.tensors.iter();
        let inputs = inputs.flat_map(|output| output.inputs.iter().chain(&output.base));
        inputs
            .map(|input| bytes(input.model, input.index) as u64)
            .sum()
    }

    /// Bytes of adapters that are in memory as long as the job is.
    pub(super) fn adapter_bytes(&self) -> u64 {
        let steps = self.steps.iter();
        let on_steps = steps.flat_map(|step| step.adapters.iter().flatten());
        // Read once, and once more with the step that it is folded into.
        let on_steps = on_steps.map(|adapter| 2 * adapter.stored.adapter.held_bytes());
        self.models.held_bytes() + on_steps.sum::<u64>()
    }

    fn step_summary(&self, recipe: &Recipe, step: &StepPlan) -> StepSummary {
        let merged = step.plan.tensors.iter().filter(|t| t.work == Work::Merge);
        let values = merged
            .clone()
            .map(|t| t.shape.iter().product::<usize>() as u64);
        let merged_tensors = merged.clone().count();
        let is_folded = |input: &InputRef| match step.origins[input.model] {
            Origin::Opened(at) => self.models.get(at).is_folded(input.index),
            Origin::Step(_) => {
                let adapter = step.adapters[input.model].as_ref();
                adapter.is_some_and(|adapter| adapter.folded[input.index])
            }
        };
        let copied = step.plan.tensors.iter().filter(|t| t.work == Work::Copy);
        let folded = copied.filter(|t| t.inputs.first().is_some_and(is_folded));
        let folded_tensors = folded.count();
        StepSummary {
            recipe: recipe.clone(),
            merged_tensors,
            merged_values: values.sum(),
            folded_tensors,
            copied_tensors: step.plan.tensors.len() - merged_tensors - folded_tensors,
            output_bytes: size(&step.metas),
            dtypes: dtypes(&step.metas)
                .iter()
                .map(ToString::to_string)
                .collect(),
            left_out: step.left_out(),
            tokenizer: step.tokenizer(),
        }
    }
}

impl StepPlan {
    fn tokenizer(&self) -> Option<TokenizerSummary> {
        let has = |names: &[&str]| !self.companions.only(names).is_empty();
        if !has(&[TOKENIZER]) {
            return None;
        }
        let matched = self.vocabulary.as_ref();
        let rowless = matched.into_iter().flat_map(Vocabulary::rowless);
        Some(TokenizerSummary {
            model: match matched {
                Some(vocabulary) => vocabulary.model().to_string(),
                None => self.plan.models[0].to_string(),
            },
            added: matched.map_or(0, Vocabulary::added),
            rows: matched.map(Vocabulary::rows),
            rowless: rowless.map(|tokens| tokens.count).sum(),
            chat_template: beside::has_template(&self.companions),
        })
    }
}

/// Blocks of the largest tensor for every thread. Of tensors that a method has to see whole, so many are held as the
/// budget allows, and one in any case.
fn memory_bytes(step: &StepPlan, budget: u64) -> u64 {
    let threads = rayon::current_num_threads() as u64;
    let held = |(index, output): (usize, &refit_merge::recipe::OutputTensor)| {
        let rule = step.plan.rule(index, Seed::new(0)).ok();
        let Some(rule) = rule.filter(|_| output.work == Work::Merge) else {
            return 0;
        };
        let operands = output.inputs.len() + usize::from(output.base.is_some());
        let bytes = engine::held_bytes(&*rule, operands, &output.shape);
        match rule.span() {
            refit_merge::stream::Span::Whole => (bytes * threads).min(budget.max(bytes)),
            _ => bytes * threads,
        }
    };
    let outputs = step.plan.tensors.iter().enumerate();
    outputs.map(held).max().unwrap_or(0)
}
