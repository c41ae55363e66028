//! Recipes in the words of recipe tools (`merge_method: dare_ties`, `density: 0.5`): which methods there are, which
//! settings they know, and how a setting becomes a number for one tensor of one model.
//!
//! [`Recipe::parse`] reads a document strictly; [`RecipeSet`] reads several that use each other's results. [`Plan::new`]
//! applies a recipe to the headers of its models: it lists every tensor of the result, what it is made of, and the
//! settings that hold for it, and finds what does not fit before a value is read.

mod document;
mod flag;
mod method;
mod plan;
mod structure;
#[cfg(test)]
pub(crate) mod testing;

pub use document::{
    Body, Case, Curve, Depth, ModelEntry, ModelPath, ModelRef, Module, Place, Recipe,
    RecipeProblem, RecipeSet, Scalar, Setting, Settings, Slice, Source, Step, TokenName,
    TokenOrigin, TokenRule, TokenizerSource, TokenizerSpec,
};
pub(crate) use flag::Flag;
pub(crate) use method::NoSettings;
pub use method::{BaseUse, MethodSpec, RecipeMethod, RecipeRule, Target};
pub use plan::{
    EmbeddingMismatch, InputRef, ModelHeader, OutputTensor, Plan, PlanError, PlanProblem,
    TensorSettings, Work,
};
pub(crate) use structure::{Vocabulary, is_buffer, vocabulary};
