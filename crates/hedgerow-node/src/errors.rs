//! Errors as users see them.

use hedgerow_workload::hint;

use crate::models::ModelError;

/// Describes an error for users: what is wrong, where, and the hint.
pub fn describe(error: &anyhow::Error) -> String {
    let hint = hint_of(error).map(|hint| format!("\n\nhint: {hint}"));
    format!("error: {error:#}{}", hint.unwrap_or_default())
}

/// The hint of an error, if one of its causes has one.
pub(crate) fn hint_of(error: &anyhow::Error) -> Option<String> {
    let of_model =
        || error.chain().find_map(|cause| cause.downcast_ref::<ModelError>().map(ModelError::hint));
    hint::of(error).or_else(of_model)
}
