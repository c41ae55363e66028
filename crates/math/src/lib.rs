//! Numbers on the host: dense decompositions, Krylov spaces, random subspaces, assignment, metrics.
//!
//! A [`Matrix`] is row-major, as tensors are. Decompositions are those of `faer`, on one thread: callers share
//! tensors among threads, and a result has the same bits for any number of them. What goes in must be finite; what
//! does not converge is an error, never a NaN.
//!
//! ```
//! use refit_math::{Matrix, svd};
//! let a = Matrix::from_rows([[3.0f64, 0.0], [0.0, -2.0], [0.0, 0.0]]);
//! let parts = svd(&a)?;
//! assert!((parts.values[0] - 3.0).abs() < 1e-14 && (parts.values[1] - 2.0).abs() < 1e-14);
//! assert!(parts.product().distance(&a) < 1e-14);
//! # Ok::<(), refit_math::MathError>(())
//! ```

mod assign;
mod error;
pub mod krylov;
mod linalg;
mod matrix;
pub mod metric;
pub mod vector;

pub use assign::{Assignment, assign};
pub use error::MathError;
pub use linalg::{
    cholesky::{Cholesky, cholesky},
    eigen::{Eigen, eigen},
    polar::polar_factor,
    qr::{Qr, qr},
    random::{Sketch, range_finder, truncated_svd},
    svd::{Svd, svd},
};
pub use matrix::{Matrix, Real};
