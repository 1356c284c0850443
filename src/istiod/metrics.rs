//! What istiod counts and reports at its monitoring port.

use super::{Istiod, MONITORING_PORT};
use crate::cluster::PodPort;

impl Istiod {
    /// How many events on remote secrets a replica has handled; `None` where its metrics cannot be read. A change of
    /// the count after a secret was written shows that the replica saw it: `/debug/clusterz` alone goes on saying
    /// `synced` of the credential before.
    pub async fn secret_events(&self, pod: &str) -> Option<u64> {
        let port = PodPort { namespace: self.namespace.clone(), pod: pod.to_owned(), port: MONITORING_PORT };
        let answer = self.cluster.pod_http_get(&port, "/metrics").await.ok().filter(|answer| answer.status == 200)?;
        Some(secret_events(&String::from_utf8_lossy(&answer.body)))
    }
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
}
