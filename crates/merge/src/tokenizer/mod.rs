//! Models with different tokenizers: one vocabulary for the result, and embeddings whose rows are brought into its
//! order while they are read.
//!
//! [`Vocabulary::read`] finds the tokens of a `tokenizer.json`. [`plan_vocabulary`] decides on the tokenizer of the
//! result and, for each model, where each row comes from ([`RowMap`]). [`Rows`] applies a map to an embedding, a head
//! or the bias of a head. Nothing here opens a file.

mod error;
mod extend;
mod plan;
mod row_map;
mod rows;
#[cfg(test)]
mod tests;
mod vocabulary;

pub use error::{RowsError, TokenizerError};
pub use plan::{RowlessTokens, VocabularyInput, VocabularyPlan, plan_vocabulary};
pub use row_map::{RowMap, RowRun, RowSource};
pub use rows::Rows;
pub use vocabulary::Vocabulary;
