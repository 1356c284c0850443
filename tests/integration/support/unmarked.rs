//! Objects and states as this provider left them before there were marks: nothing but their label says whose they are.

use lab::Cluster;
use serde_json::Value as Json;

use super::core::Stored;

const MARK: &str = "terraform-provider-mesh/instance";
const OWNER: &str = "terraform-provider-mesh/owner";

/// Takes the mark from every object of these kinds that is labelled so; the Leases of that owner go.
pub fn unmark(cluster: &Cluster, kinds: &str, owner: &str) {
    let (selector, unmark) = (format!("{OWNER}={owner}"), format!("{MARK}-"));
    let all = ["annotate", kinds, "-A", "-l", &selector, &unmark, "--field-manager=terraform-provider-mesh"];
    cluster.kubectl(&all).expect("kubectl");
    cluster.kubectl(&["delete", "leases", "-A", "-l", &selector]).expect("kubectl");
}

/// The state, and what is remembered beside it, without a mark.
pub fn without_marks(stored: &Stored) -> Stored {
    let mut json: Json = serde_json::from_str(&stored.json).expect("JSON");
    json.as_object_mut().expect("an object").remove("instance");
    let mut private: Json = serde_json::from_slice(&stored.private).expect("JSON");
    let of_marks = ["marked", "unfinished", "imported", "creation", "made"];
    private.as_object_mut().expect("an object").retain(|key, _| !of_marks.contains(&key.as_str()));
    Stored { json: json.to_string(), private: private.to_string().into_bytes(), ..stored.clone() }
}
