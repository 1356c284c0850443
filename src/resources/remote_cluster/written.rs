//! What a watched cluster and its links are made of, for the page that lists it.

use super::renewal::Renewed;
use super::spec::{Endpoint, Spec};
use super::{RemoteCluster, build, charts_of, credential, secret};
use crate::diag::{Diagnostic, Diagnostics};
use crate::istiod::BASE_RELEASE;
use crate::kept::{namespace, render};
use crate::mesh::{Login, RenewalPod, Token, istiod_name};
use crate::resources::charts::{Store, Version};
use crate::resources::keeping;
use crate::resources::parsing;
use crate::resources::written::{self, Written};

/// In place of a watcher's token.
const TOKEN: &str = "TOKEN";
/// In place of the image of the istiod that runs in the watcher.
const ISTIOD_S_IMAGE: &str = "ISTIOD_IMAGE";

pub async fn written(planned: &RemoteCluster, store: &Store) -> Result<Written, Diagnostics> {
    let spec = parsing::complete(Spec::parse(planned)?)?;
    let charts = match spec.remote {
        Some(_) => Some(charts_of(store, planned, Version::default()).await?),
        None => None,
    };
    let wanted = build::wanted(&spec, charts.as_ref()).map_err(|error| render::diagnostic(&error))?;
    let (label, cluster) = (spec.owner(), planned.cluster.text());
    let mut written = Written::default();
    if spec.remote.is_none() {
        written.add(cluster, namespace::plain(spec.namespace.as_str(), &label))?;
    }
    written.keep(cluster, &wanted);
    written.claim(cluster, keeping::place(planned, &label))?;
    links(&mut written, planned, &spec)?;
    if let (Some(charts), Some(remote)) = (&charts, &spec.remote) {
        written.give(&charts.base, BASE_RELEASE, &remote.base_values);
        written.give(&charts.istiod, &istiod_name(remote.data_plane.revision.as_ref()), &remote.istiod_values);
    }
    Ok(written)
}

fn links(written: &mut Written, planned: &RemoteCluster, spec: &Spec) -> Result<(), Diagnostics> {
    let owner = written::owner(&spec.owner());
    let server = spec.endpoint.server.clone().ok_or_else(|| Diagnostic::bug("There is no address."))?;
    let endpoint = Endpoint {
        server,
        certificate_authority: spec.endpoint.certificate_authority.clone(),
        tls_server_name: spec.endpoint.tls_server_name.clone(),
        proxy_url: spec.endpoint.proxy_url.clone(),
    };
    for watcher in &spec.watchers {
        let login = match &spec.link_token {
            Some(own) => Login::Own(own.audience.clone()),
            None => {
                written.add(planned.cluster.text(), credential::first_binding(spec, &owner, watcher))?;
                Login::Token(Token::new(TOKEN))
            }
        };
        let reference = secret::reference(spec, planned.secret_name.text());
        let object = secret::object(&reference, &secret::remote(spec, &endpoint, login), &owner);
        written.add(spec.secrets_of(watcher), object)?;
        if let Some(renewal) = &spec.token.renewal {
            let image = renewal.image.clone().unwrap_or_else(|| ISTIOD_S_IMAGE.to_owned());
            let pod = RenewalPod { image, ..RenewalPod::default() };
            let granted = spec.token.lifetime.as_secs();
            let renewed = Renewed { spec, secret_name: planned.secret_name.text(), watcher: watcher.as_str(), granted };
            for object in renewed.objects(pod) {
                written.add(spec.secrets_of(watcher), owner.put_on(object))?;
            }
        }
    }
    Ok(())
}
