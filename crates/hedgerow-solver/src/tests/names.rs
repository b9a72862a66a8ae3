//! Policies are parsed and displayed by the same names.

use super::*;

#[test]
fn every_policy_is_read_back_from_its_name() {
    for policy in POLICIES {
        assert_eq!(policy.to_string().parse(), Ok(policy));
    }
}

#[test]
fn a_number_may_be_left_out() {
    assert_eq!("static".parse(), Ok(Policy::Static { size: 8 }));
    assert_eq!("none".parse(), Ok(Policy::None { accelerators: 1 }));
}

#[test]
fn an_unknown_name_is_rejected_with_the_known_ones() {
    for name in ["", "DFTSP", "edf:3", "static:0", "static:", "none:x", "none:-1"] {
        let error = name.parse::<Policy>().unwrap_err().to_string();
        assert_eq!(
            error,
            format!(
                "unknown policy `{name}`; choose one of brute-force, dftsp, exact, greedy, edf, fifo, static[:size], \
                 none[:accelerators]"
            )
        );
    }
}
