use super::*;

/// Checks a map of a `[2, 3, 5]` tensor.
fn check_map<const E: usize>(f: impl Fn(Dual<3>) -> Dual<E>) {
    check(&normals([30]), |p| flat(f(p[0].clone().reshape([2, 3, 5]))));
}

#[test]
fn moving_axes() {
    check_map(|x| x.swap_dims(0, 2));
    check_map(Dual::transpose);
    check_map(|x| x.permute([1, 2, 0]));
    check_map(|x| x.flatten::<2>(1, 2));
    check_map(|x| x.reshape([-1, 6]));
}

#[test]
fn taking_parts() {
    check_map(|x| x.slice([0..1, 1..3, 2..5]));
    check_map(|x| x.narrow(2, 1, 3));
    check_map(|x| x.narrow(1, 1, 1).squeeze_dim::<2>(1));
    check_map(|x| x.narrow(0, 0, 1).squeeze::<2>());
    check_map(|x| {
        let at = refit_testkit::integers(4, [2, 4, 5], 3);
        let at = at.to_device(&x.device());
        x.gather(1, &at)
    });
}

#[test]
fn repeating() {
    check_map(|x| x.unsqueeze::<4>().expand([4, 2, 3, 5]));
    check_map(|x| x.unsqueeze_dim::<4>(2).expand([2, 3, 2, 5]));
    check_map(|x| x.repeat(&[2, 1, 3]));
    check_map(|x| x.repeat_dim(1, 2));
}

#[test]
fn adding_up() {
    check_map(Dual::sum);
    check_map(Dual::mean);
    check_map(|x| x.sum_dim(1));
    check_map(|x| x.mean_dim(2));
}

#[test]
fn joining_parts_of_which_some_stand_still() {
    check(&normals([6, 10]), |p| {
        let fixed = fixed(&p[0], tensor_f64(normal_vec(9, 4), [2, 2]));
        let parts = vec![
            p[0].clone().reshape([2, 3]),
            fixed,
            p[1].clone().reshape([2, 5]),
        ];
        flat(Dual::cat(parts, 1))
    });
}
