//! The provider as a whole: its address, its configuration, and the client made of it.
//!
//! Configuring opens no file and no connection. Values may be unknown (a cluster made in the same run): such a cluster
//! is known by name only, and resources plan around it.

mod config;
mod connection;

use crate::cluster::Clusters;
use crate::diag::Diagnostics;
use crate::engine::{Configure, Provider};
use crate::kept::renderer::Renderer;
use crate::resources::charts::Store;
use crate::resources::client::Client;
use crate::resources::walk::Walk;

pub use config::{ClusterModel, Config, Exec};

/// Where registries and configurations find the provider.
pub const ADDRESS: &str = "registry.terraform.io/terraform-provider-mesh/mesh";

pub struct Mesh;

impl Provider for Mesh {
    type Config = Config;
    type Client = Client;

    const NAME: &'static str = "mesh";

    fn validate(&self, config: &Config, diagnostics: &mut Diagnostics) {
        connection::validate(config, diagnostics);
    }

    async fn configure(&self, Configure { config, .. }: Configure<Config>) -> Result<Client, Diagnostics> {
        const VERSION: &str = env!("CARGO_PKG_VERSION");
        let clusters = match connection::clusters(&config) {
            Some(clusters) => Clusters::new(clusters, VERSION),
            None => Clusters::unknown(VERSION),
        };
        let clusters = clusters.answering(connection::must_answer(&config));
        Ok(Client { clusters, charts: Store::new(config.charts), renderer: Renderer::default(), walk: Walk::default() })
    }
}
