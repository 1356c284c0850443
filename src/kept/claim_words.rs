//! What is said where an instance cannot be claimed, or was another run's before.

use std::time::Duration;

use super::holder::Holder;
use super::instance::Place;
use super::lease::LeaseSays;
use super::read;
use crate::cluster::{Cluster, Kind, Object, Owner};
use crate::diag::Diagnostic;
use crate::value::Path;

/// The cluster, and what is claimed in it.
type Where<'a> = (&'a Cluster, Place<'a>);

/// Its holder is at work, and has been waited for.
pub(super) fn at_work((cluster, place): Where<'_>, found: &LeaseSays, waited: Duration) -> Diagnostic {
    Diagnostic::error(format!("Another run is at work on {} {}", place.resource, place.id)).detail(format!(
        "{} holds {} in cluster {} and renews it; this run has waited for {} seconds. Nothing was written. Wait until the other run has ended, or end it if it hangs, then apply again.",
        Holder::shown(&found.holder),
        place.lease(),
        cluster.name(),
        waited.as_secs()
    ))
}

/// Nothing tells what a killed run made from what another state knows of.
pub(super) fn taken_up((cluster, place): Where<'_>, found: &LeaseSays) -> Diagnostic {
    Diagnostic::warning(format!("{} {} was taken up", place.resource, place.id)).detail(format!(
        "An earlier run ({}, as {} in cluster {} says) made all of it, and ended before it could say that a state knows it. From here on this resource manages it. If another state manages it too, remove it from one of the two (`removed` block or `state rm`).",
        Holder::shown(&found.holder),
        place.lease(),
        cluster.name()
    ))
}

/// The objects with this mark, by name; nothing where they cannot be listed.
async fn objects((cluster, place): Where<'_>, kinds: &[Kind], mark: &str) -> String {
    const SHOWN: usize = 6;
    let owner = Owner { label: place.label.to_owned(), mark: mark.to_owned(), unmarked: false };
    let found = read::owned(cluster, kinds, place.namespace, &owner).await.unwrap_or_default();
    let names: Vec<String> = found.keys().take(SHOWN).map(ToString::to_string).collect();
    match found.len().saturating_sub(SHOWN) {
        _ if names.is_empty() => String::new(),
        0 => format!(" Its objects here are {}.", names.join(", ")),
        more => format!(" Its objects here are {} and {more} more.", names.join(", ")),
    }
}

/// It is another instance's; `is_update` says that it was this resource's.
pub(super) async fn refused(
    (cluster, place): Where<'_>,
    kinds: &[Kind],
    is_update: bool,
    lease: &Object,
) -> Diagnostic {
    let mark = LeaseSays::of(lease).mark;
    let whose = format!(
        "{} in cluster {} says so: instance {mark}, made {}.{}",
        place.lease(),
        cluster.name(),
        lease.creation_timestamp().unwrap_or("an unknown time"),
        objects((cluster, place), kinds, &mark).await
    );
    let import =
        format!("import {{\n  to = {}.NAME # the address of this resource\n  id = {:?}\n}}", place.resource, place.id);
    if is_update {
        return Diagnostic::error(format!("{} {} was taken over", place.resource, place.id))
            .detail(format!(
                "The objects belong to another instance by now, which another state or another block manages. {whose} Nothing was written.\n\nRemove this resource from state (`removed` block or `state rm`) if the other is to keep it. To manage it here again, set `adopt = true`."
            ))
            .at(Path::root("adopt"));
    }
    Diagnostic::error(format!("{} {} exists already", place.resource, place.id))
        .detail(format!(
            "The objects there belong to another instance of this resource, which another state or another block manages. {whose} Nothing was written.\n\n\
             If this apply replaces the resource, `create_before_destroy` is in effect: it is set in the `lifecycle` of this resource, or in that of a resource that refers to this one, from where Terraform spreads it. Two instances cannot have one id at the same time. Remove `create_before_destroy` there, or give the new instance another name or place.\n\n\
             To manage the instance that is there, import it:\n\n{import}\n\n\
             To take it over from whoever manages it now, set `adopt = true`."
        ))
        .at(Path::root("adopt"))
}
