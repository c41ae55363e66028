//! What verbs share that minimise by solvers: flags, dry runs, the work, and what is printed.

mod args;
mod arms;
mod idle;
mod show;
mod work;

#[cfg(test)]
pub(super) use args::unsettled;
pub(super) use args::{SETTLED, SolverArgs};
pub(super) use arms::checked;
pub(super) use idle::{differ, told};
pub(super) use show::{Steps, memory};
pub(super) use work::{check_memory, work};
