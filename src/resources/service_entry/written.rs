//! What an imported service writes, for the page that lists it.

use std::net::{IpAddr, Ipv4Addr};

use super::spec::Spec;
use super::{ServiceEntry, build};
use crate::diag::Diagnostics;
use crate::resources::keeping;
use crate::resources::parsing;
use crate::resources::written::Written;

/// In place of the address that the stub Service gets.
const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7));

pub fn written(planned: &ServiceEntry) -> Result<Written, Diagnostics> {
    let spec = parsing::complete(Spec::parse(planned)?)?;
    let (label, cluster) = (spec.owner(), planned.cluster.text());
    let mut written = Written::default();
    written.keep(cluster, &build::imported(&spec, spec.stub_service.then_some(ADDRESS)));
    for (cluster, wanted) in build::exported(&spec) {
        written.keep(&cluster, &wanted);
    }
    written.claim(cluster, keeping::place(planned, &label))?;
    Ok(written)
}
