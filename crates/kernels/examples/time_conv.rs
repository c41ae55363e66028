//! Times convolution nets and prints one line of JSON per case: `{"case", "pass", "millis": [..]}`.
//!
//! `bench/torch_kernels.py` runs it in alternation with PyTorch. Arguments: seconds per case, then
//! names of cases (all when none is given).

#[path = "../benches/cases/conv.rs"]
mod conv;
#[path = "../benches/cases/times.rs"]
mod times;

use burn::tensor::Device;
use conv::{Net, STACKS, Stack};
use times::times;

fn main() {
    let mut args = std::env::args().skip(1);
    let seconds: f64 = args.next().and_then(|s| s.parse().ok()).unwrap_or(1.0);
    let names: Vec<String> = args.collect();
    let asked = |stack: &&Stack| names.is_empty() || names.iter().any(|name| name == stack.name);
    for &stack in STACKS.iter().filter(asked) {
        let net = Net::new(stack, &Device::flex());
        report(
            &net,
            stack.name,
            "forward",
            &times(seconds, || drop(net.forward())),
        );
        let net = Net::new(stack, &Device::flex().autodiff());
        let gradients = 2 * stack.layers.len() + usize::from(stack.inner);
        let train = || assert_eq!(net.train(), gradients);
        report(&net, stack.name, "forward+backward", &times(seconds, train));
    }
}

#[expect(clippy::print_stdout, reason = "the output of this program")]
fn report(net: &Net, case: &str, pass: &str, millis: &[f64]) {
    let flop = net.operations();
    println!(
        "{{\"case\": {case:?}, \"pass\": {pass:?}, \"forward_flop\": {flop}, \"millis\": {millis:?}}}"
    );
}
