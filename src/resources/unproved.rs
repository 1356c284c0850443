//! What an apply could not prove, and says.

use crate::cluster::Error;
use crate::diag::Diagnostic;

/// The Pod that shows whether istiod's webhook injects was refused by somebody else.
pub fn injection(error: &Error) -> Diagnostic {
    Diagnostic::warning("Injection was not checked").detail(format!(
        "An apply creates a Pod as a dry run, to see whether istiod's webhook injects a proxy of this cluster and network. The Pod was refused, so that is unknown: {error}. {} Everything else was applied.",
        error.remedy()
    ))
}
