//! Second-order minimisation of finite sums with inexact Hessian, gradient and function values.

mod closure;
mod count;
mod oracle;

pub use closure::{Closure, ClosureState};
pub use count::Counts;
pub use oracle::{Bounds, FiniteSum, Sample};
