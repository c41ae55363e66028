//! Decompositions of dense matrices.

pub(crate) mod cholesky;
pub(crate) mod eigen;
pub(crate) mod polar;
pub(crate) mod qr;
pub(crate) mod random;
pub(crate) mod svd;
