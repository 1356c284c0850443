//! Whose tokens an API server takes beside its own: the flag `--authentication-config`, in labs with
//! [`crate::Options::own_issuers`].

use crate::cluster::Cluster;
use crate::error::Result;

impl Cluster {
    /// Who issues the tokens of its ServiceAccounts.
    pub fn issuer(&self) -> String {
        self.layout.issuer()
    }

    /// Gives the API server another `AuthenticationConfiguration`, and waits until it goes by it: the keys of every
    /// issuer are fetched then.
    pub fn trust(&self, configuration: &str) -> Result<()> {
        let before = self.taken_up()?;
        self.layout.trust(configuration)?;
        self.wait_until("another authentication configuration", || self.taken_up().is_ok_and(|now| now > before))
    }

    /// Lets everybody fetch the keys by which its tokens are checked, as clouds publish them.
    pub fn publish_keys(&self) -> Result<()> {
        let role = "--clusterrole=system:service-account-issuer-discovery";
        self.kubectl(&["create", "clusterrolebinding", "keys", role, "--group=system:unauthenticated"]).map(drop)
    }

    /// How many configurations the API server has taken up since it started.
    fn taken_up(&self) -> Result<u64> {
        let metrics = self.kubectl(&["get", "--raw", "/metrics"])?;
        let reloads = metrics.lines().filter(|line| {
            line.starts_with("apiserver_authentication_config_controller_automatic_reloads_total")
                && line.contains("status=\"success\"")
        });
        Ok(reloads.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum())
    }
}
