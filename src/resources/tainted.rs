//! A create that fails is tainted: the next apply deletes what is in state, and creates it again. What was adopted goes
//! with it, unless somebody says otherwise in time.

use crate::diag::Diagnostic;
use crate::engine::Failed;

/// Adds the way out to a create that adopted something and failed with a state.
pub fn tell<M>(outcome: Result<M, Failed<M>>, adopts: bool) -> Result<M, Failed<M>> {
    outcome.map_err(|mut failed| {
        if adopts && failed.partial.is_some() {
            failed.diagnostics.push(
                Diagnostic::warning("What was adopted is tainted").detail(
                    "This resource was created with something that was there before, and the create failed. The next apply deletes all of it, and creates it again. To keep it, run `terraform untaint` (or `tofu untaint`) with the address of the resource first. The next apply then continues where this one ended.",
                ),
            );
        }
        failed
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_in_state_and_was_there_before_is_told() {
        let told = |partial: Option<()>, adopts| {
            let failed = Failed { diagnostics: Diagnostic::error("Late").into(), partial };
            tell(Err(failed), adopts).unwrap_err().diagnostics.len() == 2
        };
        assert_eq!([told(Some(()), true), told(Some(()), false), told(None, true)], [true, false, false]);
    }
}
