//! What is said of clusters and of objects kept in them: errors, what could not be read, what drifted.

use super::objects::Drift;
use crate::cluster::{Error, Failure, Object, Owner};
use crate::diag::{Diagnostic, Diagnostics};
use crate::value::Path;

/// What a failed request means to the user: whose fault it is, and what to do.
fn diagnostic(error: &Error) -> Diagnostic {
    let summary = match &error.failure {
        Failure::Conflict(_) => "Another field manager owns a field",
        Failure::Foreign(_) => "An object of this name exists already",
        Failure::Forbidden { .. } => "Not allowed in the cluster",
        Failure::Timeout(_) => "Not ready in time",
        Failure::Cancelled { .. } => "Interrupted",
        _ if error.is_unreachable() => "The cluster cannot be reached",
        Failure::Config { .. } | Failure::ConfigFile { .. } | Failure::NotKnown => {
            "No usable connection to the cluster"
        }
        Failure::UnknownCluster { .. } => "No such cluster",
        _ => "The cluster refused",
    };
    let diagnostic = Diagnostic::error(summary)
        .detail(format!("{}. {}", sentence(&error.to_string()), error.remedy()).trim().to_owned());
    match &error.failure {
        Failure::UnknownCluster { .. } => diagnostic.at(Path::root("cluster")),
        Failure::Foreign(_) => diagnostic.at(Path::root("adopt")),
        Failure::Conflict(_) => diagnostic.at(Path::root("force_conflicts")),
        _ => diagnostic,
    }
}

impl From<Error> for Diagnostic {
    fn from(error: Error) -> Diagnostic {
        diagnostic(&error)
    }
}

impl From<&Error> for Diagnostic {
    fn from(error: &Error) -> Diagnostic {
        diagnostic(error)
    }
}

pub fn diagnostics<'a>(errors: impl IntoIterator<Item = &'a Error>) -> Diagnostics {
    errors.into_iter().map(diagnostic).collect()
}

/// What to do about a cluster that is gone for good, where the resource can go on without it.
pub const SKIPPING: &str = "apply `skip_unreachable_on_destroy = true` first (that apply may end with this error, and is remembered), and destroy again";
/// The same, where the resource has nothing but what is in that cluster, or cannot go on without it.
pub const FORGETTING: &str = "remove the resource from state (`removed` block with `destroy = false`, or `state rm`)";

/// Which of these a resource of this type has.
pub fn way_out(resource: &str) -> &'static str {
    match ["mesh_remote_cluster", "mesh_service_entry"].contains(&resource) {
        true => SKIPPING,
        false => FORGETTING,
    }
}

/// What failed requests of a removal mean: where a cluster does not answer, with the way out if it is gone for good.
pub fn at_destroy<'a>(errors: impl IntoIterator<Item = &'a Error>, way_out: &str) -> Diagnostics {
    errors.into_iter().map(|error| one_at_destroy(error, way_out)).collect()
}

pub fn one_at_destroy(error: &Error, way_out: &str) -> Diagnostic {
    let said = diagnostic(error);
    if !error.may_be_gone() {
        return said;
    }
    let detail = format!("{} If cluster {} is gone for good, {way_out}.", said.detail, error.cluster);
    said.detail(detail)
}

/// A refresh that has to do without the cluster.
pub fn stale(error: &Error) -> Diagnostic {
    // Of several warnings with one summary Terraform shows the first alone.
    Diagnostic::warning(format!("Cluster {} cannot be read", error.cluster)).detail(format!(
        "{}. {} The plan uses the state.",
        sentence(&error.to_string()),
        error.remedy()
    ))
}

/// One warning for what others changed, at most a dozen lines long.
pub fn drift_warning(id: &str, drifts: &[Drift]) -> Option<Diagnostic> {
    const SHOWN: usize = 12;
    if drifts.is_empty() {
        return None;
    }
    let mut lines: Vec<String> = drifts.iter().take(SHOWN).map(|drift| format!("- {}", drift_line(drift))).collect();
    if drifts.len() > SHOWN {
        lines.push(format!("- and {} more", drifts.len() - SHOWN));
    }
    Some(
        Diagnostic::warning(format!("Objects of {id} were changed outside of Terraform"))
            .detail(format!("{}\n\nThe plan shows what an apply would put back.", lines.join("\n"))),
    )
}

/// One warning for all objects that stay although they are no longer wanted.
pub fn left(lines: &[String]) -> Option<Diagnostic> {
    let shown = lines.iter().map(|line| format!("- {line}")).collect::<Vec<_>>().join("\n");
    (!lines.is_empty()).then(|| {
        Diagnostic::warning("Some objects stay behind").detail(format!("These objects were not removed:\n{shown}"))
    })
}

/// One warning for all objects that another instance of this provider has taken over.
pub fn taken_over(id: &str, objects: &[(String, String)]) -> Option<Diagnostic> {
    const SHOWN: usize = 6;
    let lines: Vec<String> = objects.iter().take(SHOWN).map(|(object, whose)| format!("- {object}: {whose}")).collect();
    let more = objects.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!("\n- and {more} more") } else { String::new() };
    (!objects.is_empty()).then(|| {
        Diagnostic::warning(format!("Objects of {id} were taken over")).detail(format!(
            "{}{more}\n\nThe plan leaves them alone. Remove the resource from this state (`removed` block or `state rm`) if the other is to keep them, or set `adopt = true` to manage them here again.",
            lines.join("\n")
        ))
    })
}

fn drift_line(drift: &Drift) -> String {
    let Some(path) = &drift.path else {
        return match &drift.is {
            None => format!("{} is missing", drift.object),
            Some(whose) => format!("{}: {whose}", drift.object),
        };
    };
    let by = drift.manager.as_ref().map(|manager| format!(", by {manager}")).unwrap_or_default();
    match (&drift.was, &drift.is) {
        (Some(was), Some(is)) => format!("{}: {path} is {is:?} in place of {was:?}{by}", drift.object),
        (Some(was), None) => format!("{}: {path} was removed (was {was:?}){by}", drift.object),
        (None, is) => format!("{}: {path} was added ({:?}){by}", drift.object, is.as_deref().unwrap_or_default()),
    }
}

fn sentence(text: &str) -> String {
    let mut chars = text.trim_end_matches('.').chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

/// Whose an object is that was this instance's.
pub fn whose(owner: &Owner, live: &Object) -> String {
    let others = owner.others(live);
    match (owner.is_taken_over(live), others.as_slice()) {
        (_, []) => "somebody else has recreated it".to_owned(),
        (true, others) => format!("it is now {}'s", others.join(", ")),
        (false, others) => format!("somebody else has recreated it ({})", others.join(", ")),
    }
}
