//! What istiod counts and reports at its monitoring port.

use std::collections::BTreeMap;

use super::{Istiod, MONITORING_PORT};
use crate::cluster::{Error, PodPort};

/// How many proxies are connected, by the version of Istio that they name; empty where they name none.
pub type Connected = BTreeMap<String, u64>;

impl Istiod {
    /// How many events on remote secrets a replica has handled; `None` where its metrics cannot be read. A change of
    /// the count after a secret was written shows that the replica saw it: `/debug/clusterz` alone goes on saying
    /// `synced` of the credential before.
    pub async fn secret_events(&self, pod: &str) -> Option<u64> {
        self.metrics(pod).await.ok().map(|metrics| secret_events(&metrics))
    }

    /// Which proxies are connected to a replica.
    ///
    /// # Errors
    ///
    /// Where its metrics cannot be read, or what is there is not istiod's.
    pub async fn connected(&self, pod: &str) -> Result<Connected, Error> {
        let metrics = self.metrics(pod).await?;
        connected(&metrics).ok_or_else(|| self.cluster.unexpected(format!("the metrics of {pod} are not istiod's")))
    }

    async fn metrics(&self, pod: &str) -> Result<String, Error> {
        let port = PodPort { namespace: self.namespace.clone(), pod: pod.to_owned(), port: MONITORING_PORT };
        let answer = self.cluster.pod_http_get(&port, "/metrics").await?;
        match answer.status {
            200 => Ok(String::from_utf8_lossy(&answer.body).into_owned()),
            status => Err(self.cluster.unexpected(format!("istiod {pod} answers /metrics with HTTP status {status}"))),
        }
    }
}

/// An istiod to which no proxy ever came does not count them: what shows that the page is istiod's is its version.
fn connected(metrics: &str) -> Option<Connected> {
    metrics.lines().any(|line| line.starts_with("pilot_info{")).then_some(())?;
    let mut connected = Connected::new();
    for (labels, count) in metrics.lines().filter_map(|line| line.strip_prefix("pilot_xds{")?.rsplit_once("} ")) {
        let version = labels.split_once("version=\"")?.1.split_once('"')?.0;
        let count = count.trim().parse::<f64>().ok()?;
        if count > 0.0 {
            *connected.entry(version.to_owned()).or_default() += count as u64;
        }
    }
    Some(connected)
}

fn secret_events(metrics: &str) -> u64 {
    let lines = metrics.lines().filter(|line| line.starts_with("remote_cluster_secret_events_total{"));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).map(|count| count as u64).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_count_the_secrets_events() {
        let metrics = "# HELP x\nremote_cluster_secret_events_total{event=\"add\"} 2\nremote_cluster_secret_events_total{event=\"update\"} 3\n";
        assert_eq!(secret_events(metrics), 5);
        assert_eq!(secret_events(""), 0);
    }

    #[test]
    fn metrics_count_the_proxies_by_their_version() {
        let info = "pilot_info{version=\"1.31.0\"} 1\n";
        let proxies = "# TYPE pilot_xds gauge\npilot_xds{version=\"1.30.0\"} 3\npilot_xds{version=\"1.31.0\"} 12\n\
            pilot_xds{version=\"\"} 1\npilot_xds{version=\"1.29.0\"} 0\npilot_xds_pushes{type=\"cds\"} 7\n";
        let counts = |page: &str| connected(page).map(|counts| counts.into_iter().collect::<Vec<_>>());
        let expected = [("", 1), ("1.30.0", 3), ("1.31.0", 12)].map(|(version, count)| (version.to_owned(), count));
        assert_eq!(counts(&format!("{info}{proxies}")), Some(expected.into()));
        assert_eq!(counts(info), Some(Vec::new()), "no proxy ever came");
        assert_eq!(counts(proxies), None, "not istiod's own page");
        assert_eq!(counts(&format!("{info}pilot_xds{{version=\"1.30.0\"}} many\n")), None);
    }
}
