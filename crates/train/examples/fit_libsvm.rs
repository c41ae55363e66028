//! Minimises the sigmoid and squared loss of a LIBSVM file by every second-order method, with all terms and with samples:
//! `cargo run --release -p refit-train --example fit_libsvm -- FILE [EPS_G]`. Starts from zeros. The gradient in the table
//! is that of all terms at what was found.
#![expect(clippy::print_stdout, reason = "a table is what this is for")]

use refit_core::Silent;
use refit_io::data::{LibsvmOptions, read_libsvm};
use refit_train::{
    objective::{LinearConfig, LinearModel},
    optim::second::{
        FiniteSum, Method, Minimum, Sample, Sampling, SecondOrder, SecondOrderConfig, Status,
    },
};
use std::{error::Error, time::Instant};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().ok_or("usage: fit_libsvm FILE [EPS_G]")?;
    let eps_g = arguments.next().map_or(Ok(1e-4), |text| text.parse())?;
    let started = Instant::now();
    let table = read_libsvm(&file, &LibsvmOptions::default())?;
    println!("read in {:.3} s", started.elapsed().as_secs_f64());
    let sum = LinearModel::new(table, LinearConfig::default())?;
    println!(
        "{:<24} {:>8} {:>7} {:>8} {:>12} {:>9} {:>7}  status",
        "", "seconds", "trials", "passes", "loss", "gradient", "errors"
    );
    let hessian_only = Sampling::Fixed {
        gradient: 1.0,
        hessian: 0.05,
        value: 1.0,
    };
    for (name, method) in [("region", Method::default()), ("cubics", Method::cubics())] {
        for (how, sampling) in [
            ("all terms", Sampling::Full),
            ("5 % of the Hessian", hessian_only),
            ("samples", Sampling::default()),
        ] {
            let config = SecondOrderConfig {
                method,
                sampling,
                eps_g,
                ..SecondOrderConfig::default()
            };
            let started = Instant::now();
            let found = SecondOrder::new(config)?.minimise(&sum, &vec![0.0; sum.dim()], &Silent)?;
            report(
                &format!("{name}, {how}"),
                started.elapsed().as_secs_f64(),
                &sum,
                &found,
            );
        }
    }
    Ok(())
}

fn report(name: &str, seconds: f64, sum: &LinearModel, found: &Minimum) {
    let (mut values, mut gradient) = (vec![0.0; sum.terms()], vec![0.0; sum.dim()]);
    sum.gradient(&found.x, Sample::All, &mut values, &mut gradient);
    let terms = sum.terms() as f64;
    let status = match found.status {
        Status::SecondOrder { certificate } => {
            format!("no curvature below {:.1e}", certificate.curvature_bound())
        }
        other => format!("{other:?}"),
    };
    println!(
        "{name:<24} {seconds:8.3} {:7} {:8.1} {:12.8} {:9.1e} {:7.4}  {status}",
        found.trials.len(),
        found.counts.propagations() as f64 / terms,
        values.iter().sum::<f64>() / terms,
        gradient.iter().map(|g| g * g).sum::<f64>().sqrt(),
        sum.error_rate(&found.x),
    );
}
