//! Recipes in the words of recipe tools (`merge_method: dare_ties`, `density: 0.5`): which methods there are, which
//! settings they know, and how a setting becomes a number for one tensor of one model.

mod flag;
mod method;
#[cfg(test)]
pub(crate) mod testing;

pub(crate) use flag::Flag;
pub(crate) use method::NoSettings;
pub use method::{BaseUse, MethodSpec, RecipeMethod, RecipeRule, Target};
