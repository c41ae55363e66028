//! Times transformer blocks and prints one line of JSON per case: `{"case", "pass", "millis": [..]}`.
//!
//! `bench/torch_kernels.py` runs it in alternation with PyTorch. Arguments: seconds per case, then
//! names of cases (all when none is given).

#[path = "../benches/cases/mod.rs"]
mod cases;
#[path = "../benches/cases/times.rs"]
mod times;

use burn::tensor::Device;
use cases::{Block, CASES};
use times::times;

fn main() {
    let mut args = std::env::args().skip(1);
    let seconds: f64 = args.next().and_then(|s| s.parse().ok()).unwrap_or(1.0);
    let names: Vec<String> = args.collect();
    for case in CASES
        .iter()
        .filter(|c| names.is_empty() || names.iter().any(|n| n == c.name))
    {
        let (block, x) = (
            Block::new(*case, &Device::flex()),
            case.input(&Device::flex()),
        );
        report(
            case.name,
            "forward",
            &times(seconds, || drop(block.forward(x.clone()))),
        );
        let device = Device::flex().autodiff();
        let (block, x) = (Block::new(*case, &device), case.input(&device));
        report(
            case.name,
            "forward+backward",
            &times(seconds, || assert_eq!(block.train(&x), 17)),
        );
    }
}

#[expect(clippy::print_stdout, reason = "the output of this program")]
fn report(case: &str, pass: &str, millis: &[f64]) {
    println!("{{\"case\": {case:?}, \"pass\": {pass:?}, \"millis\": {millis:?}}}");
}
