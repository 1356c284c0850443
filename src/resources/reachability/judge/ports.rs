//! What keeps calls to one port of a Service from crossing.

use super::Call;

pub(super) fn lacks_port(at: &str, host: &str, port: u16, ports: &[u16]) -> String {
    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
    let has = if ports.is_empty() { "none".to_owned() } else { ports.join(", ") };
    format!(
        "the Service {host} has no port {port} in {at} (it has {has}): callers and gateway must mean the same number"
    )
}

/// Both clusters have the port, by different names. istiod gives a port the endpoints that carry its name, so that
/// those of the other cluster are left out.
pub(super) fn named_otherwise(call: Call<'_>, here: Option<&str>, there: Option<&str>) -> Option<String> {
    let Call { from, to, host, port, .. } = call;
    let (here, there) = (here?, there?);
    let called = |name: &str| if name.is_empty() { "has no name".to_owned() } else { format!("is called {name}") };
    (here != there).then(|| {
        format!(
            "port {port} of the Service {host} {} in {from} and {} in {to}; istiod matches endpoints by that name, and leaves out those of {to}. Give the port one name in both",
            called(here),
            called(there)
        )
    })
}
