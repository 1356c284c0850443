//! Waits that end when what they wait for cannot come: an object that the apply has made was deleted meanwhile, and
//! only another apply brings it back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::kinds;
use super::objects::Recorded;
use crate::cluster::{Cluster, Error, Kind, OWNER_LABEL, ObjectRef, Query};
use crate::diag::{Diagnostic, Diagnostics};

/// Between two looks. Most waits are over before the first.
const PAUSE: Duration = Duration::from_secs(10);

/// Waits, and looks now and then whether everything that was applied is still there.
pub async fn while_there<T>(
    cluster: &Cluster,
    recorded: &Recorded,
    waiting: impl Future<Output = Result<T, Diagnostics>>,
) -> Result<T, Diagnostics> {
    let vanished = async {
        loop {
            tokio::time::sleep(PAUSE).await;
            // What cannot be read is not gone.
            let gone = gone(cluster, recorded).await.unwrap_or_default();
            if !gone.is_empty() {
                return gone;
            }
        }
    };
    tokio::select! {
        biased;
        waited = waiting => waited,
        gone = vanished => Err(told(cluster.name(), &gone).into()),
    }
}

/// Keys and objects, by kind and namespace.
type Places<'a> = BTreeMap<(Kind, Option<String>), Vec<(&'a str, ObjectRef)>>;

/// What is recorded and truly not there, or on its way out: one list for each kind and namespace, and a request for
/// each object that is not in it.
async fn gone(cluster: &Cluster, recorded: &Recorded) -> Result<Vec<String>, Error> {
    let mut places = Places::new();
    let references = kinds::references(cluster, recorded).await?;
    for (key, reference) in references.into_iter().filter(|(_, reference)| reference.kind != Kind::NAMESPACE) {
        places.entry((reference.kind.clone(), reference.namespace.clone())).or_default().push((key, reference));
    }
    let mut gone = Vec::new();
    for ((kind, namespace), references) in places {
        let query = Query { namespace, ..Query::of(kind.clone()).selector(OWNER_LABEL).metadata_only() };
        let listed = match cluster.list_now(&query).await {
            Err(error) if error.is_unknown_kind() && cluster.lacks_definition_of(&kind).await? => Default::default(),
            listed => listed?,
        };
        let there: BTreeSet<&str> =
            listed.iter().filter(|object| !object.is_terminating()).map(|object| object.name()).collect();
        for (key, reference) in references.into_iter().filter(|(_, reference)| !there.contains(&*reference.name)) {
            // It may have lost its label alone.
            let live = cluster.get_metadata_if_defined(&reference).await?;
            if live.is_none_or(|live| live.is_terminating()) {
                gone.push(key.to_owned());
            }
        }
    }
    Ok(gone)
}

fn told(cluster: &str, gone: &[String]) -> Diagnostic {
    const SHOWN: usize = 6;
    let more = if gone.len() > SHOWN { format!(" and {} more", gone.len() - SHOWN) } else { String::new() };
    Diagnostic::error("Objects were deleted during the apply").detail(format!(
        "This apply has made or kept these objects in cluster {cluster}, and somebody has deleted them since: {}{more}. Waiting for them would not end. Find out who deletes them, then apply again: that recreates them.",
        gone[..gone.len().min(SHOWN)].join(", ")
    ))
}
