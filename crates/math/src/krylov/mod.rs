//! Krylov spaces: large symmetric operators of which only products are known.
//!
//! [`Model`] minimises a quadratic model in a ball or with a cubic term, the hard case included; [`Path`] is the cheaper
//! method of Steihaug; [`leftmost`] finds the smallest eigenvalue with a bound on what it may have missed.

mod descent;
mod lanczos;
mod leftmost;
mod model;
mod small;
mod steihaug;
#[cfg(test)]
mod tests;
mod tridiagonal;

pub use descent::cubic_descent;
pub use lanczos::{Lanczos, Operator};
pub use leftmost::{Leftmost, leftmost, products_for};
pub use model::{Growth, Model, Step};
pub use small::Bound;
pub use steihaug::Path;
pub use tridiagonal::Tridiagonal;
