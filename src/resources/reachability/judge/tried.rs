//! Verdicts on the addresses that were tried. Pure.

use super::super::door::Outcome;
use super::proxied::{tunnelled, without_sidecar};
use super::{
    BROKEN, Call, Met, OtherDomain, REACHABLE, ServiceState, There, Tried, UNKNOWN, Unanswered, Verdict, Watched, Way,
    broken, gateway, join, no_gateway, private, reachable, service, silent_address, unknown,
};
use crate::mesh::SpiffeId;
use crate::resources::policies::PlainText;

/// All addresses that clients are given count: any of them may be the next call's. The worst speaks.
pub(in super::super) fn of_all(
    call: Call<'_>,
    way: Way,
    unanswered: Unanswered,
    tried: &[Tried],
    there: Option<&There>,
) -> Verdict {
    // Of Pods with a sidecar and without, it is known of none which of them a policy would be for.
    let is_mixed = tried.iter().any(|one| !one.is_plain);
    let plain = there.filter(|_| way == Way::Direct && !is_mixed).and_then(|there| plain_text_refused(call, there));
    let of = |one: &Tried| match &plain {
        Some(refused) => refused.clone(),
        None => of_one(call, way, unanswered, one, there),
    };
    let mut verdicts: Vec<Verdict> = tried.iter().map(of).collect();
    let worst = |wanted: &str| verdicts.iter().position(|verdict| verdict.verdict == wanted);
    match worst(BROKEN).or_else(|| worst(UNKNOWN)).or_else(|| worst(REACHABLE)) {
        Some(place) => verdicts.swap_remove(place),
        None => unknown("link", format!("the istiod of {} gives no address", call.from)),
    }
}

fn of_one(call: Call<'_>, way: Way, unanswered: Unanswered, tried: &Tried, there: Option<&There>) -> Verdict {
    let Tried { address, port, dialled, spoken, forwarded, .. } = tried;
    let at = format!("{address}:{port}");
    if tried.is_fine() {
        return spoken.as_ref().map_or_else(|| plain_text(&at), |met| of_met(call, way, &at, met, there));
    }
    if let Some(verdict) = there.and_then(|there| gateway(&there.places, &there.gateway)) {
        return verdict;
    }
    // What answers there and is not of the mesh is another machine's: some answer for every address.
    if way == Way::NoGateway {
        return no_gateway(call, &Watched::As("synced".to_owned()));
    }
    // From here, an address may lead to another machine than for the callers. The Pod itself is what there is.
    let direct = match (dialled, spoken) {
        (Ok(()), Some(met)) => Some(of_met(call, way, &at, met, there)),
        _ => None,
    };
    match forwarded {
        Some(Ok(met)) => {
            let behind = of_met(call, way, "a Pod of the gateway, by port-forward", met, there);
            let why = match dialled {
                Err(why) => why.clone(),
                Ok(()) => format!(
                    "something else answers there: {}",
                    direct.map(|verdict| verdict.detail).unwrap_or_default()
                ),
            };
            if behind.verdict == REACHABLE { unanswered_address(call, unanswered, &at, &why, behind) } else { behind }
        }
        forwarded => {
            let unasked = forwarded.as_ref().and_then(|asked| asked.as_ref().err());
            match (direct, dialled) {
                (Some(verdict), _) if private(&at).is_empty() => verdict,
                (Some(verdict), _) => elsewhere(call, &at, verdict),
                (None, dialled) => {
                    let why = dialled.as_ref().err().cloned().unwrap_or_default();
                    silent_address(call, way, unanswered, &at, &why, unasked)
                }
            }
        }
    }
}

/// That an address takes connections says nothing of who takes plain text: proxies judge what comes after. What keeps
/// them from it, whether the address answers here or not.
fn plain_text_refused(call: Call<'_>, there: &There) -> Option<Verdict> {
    let Call { from, to, host, .. } = call;
    // Proxies judge by policies, and ztunnels do: a Pod without one refuses nobody.
    if matches!(there.service, Ok(ServiceState::NoSidecar | ServiceState::Other)) {
        return None;
    }
    let clients = format!("clients of {from} speak plain text with {host}");
    let ruled_in = &there.ruled_in;
    Some(match &there.plain_text {
        Ok(PlainText::Taken) => return None,
        Ok(PlainText::Refused(strict)) => broken(
            "mtls",
            format!(
                "{clients}, and its Pods in {to} take mTLS alone, by {strict} in {ruled_in}: they refuse the call. Remove the DestinationRule or `enableAutoMtls: false` that turns mTLS off in {from}, or use the mode PERMISSIVE in {ruled_in}"
            ),
        ),
        Ok(PlainText::Unsure(picked)) => unknown(
            "mtls",
            format!(
                "{clients}, and whether its Pods in {to} take it is unknown: {picked} in {ruled_in} may be for them"
            ),
        ),
        Err(why) => unknown("mtls", format!("{clients}, and whether its Pods in {to} take it is unknown: {why}")),
    })
}

fn plain_text(at: &str) -> Verdict {
    reachable(format!(
        "{at} takes connections; within the network clients speak plain text with it, so nobody is identified"
    ))
}

/// What answers at a private address, and the gateway's Pods could not be asked to compare.
fn elsewhere(call: Call<'_>, at: &str, verdict: Verdict) -> Verdict {
    let Verdict { layer, detail, .. } = verdict;
    let detail = format!(
        "{detail}. {at} is a private address, at which {} may meet another machine than Terraform does",
        call.from
    );
    Verdict { verdict: UNKNOWN, layer, detail }
}

/// Everything behind the address is right.
fn unanswered_address(call: Call<'_>, unanswered: Unanswered, at: &str, why: &str, behind: Verdict) -> Verdict {
    let Call { from, .. } = call;
    let private = private(at);
    match unanswered {
        Unanswered::Ignored => reachable(format!(
            "{}; the way from {from} to {at}{private} is untried, as the address does not lead there from where Terraform runs ({why})",
            behind.detail
        )),
        Unanswered::Broken => broken(
            "address",
            format!(
                "{at}{private} does not lead to the gateway from where Terraform runs ({why}), though a Pod of the gateway answers through the API server. Do the load balancer, firewalls and source ranges let calls pass?"
            ),
        ),
        Unanswered::Unknown => unknown(
            "address",
            format!(
                "{at}{private} does not lead to the gateway from where Terraform runs ({why}), and may do so for {from}. Behind it all is right: {}. Set `unanswered_address` to say what that is to mean",
                behind.detail
            ),
        ),
    }
}

fn of_met(call: Call<'_>, way: Way, at: &str, met: &Met, there: Option<&There>) -> Verdict {
    let Call { from, to, .. } = call;
    let untrusted = met.showed.then(|| met.vouched.as_ref().err()).flatten();
    let untrusted =
        untrusted.map(|why| format!("the roots of {from} do not vouch for the certificate that {to} shows: {why}"));
    let refused = match &met.outcome {
        Outcome::Refused(alert) if is_of_certificates(alert) => {
            Some(format!("{to} does not take a certificate of {from} (TLS alert {alert})"))
        }
        _ => None,
    };
    let trust: Vec<String> = untrusted.into_iter().chain(refused).collect();
    if !trust.is_empty() {
        let trust = trust.join("; and ");
        return broken(
            "trust",
            format!(
                "{trust}. Give both clusters one root with mesh_ca, and where trust domains differ, `trust_domain_aliases`"
            ),
        );
    }
    match &met.outcome {
        Outcome::Accepted => accepted(call, at, met),
        Outcome::Closed if !met.showed => closed(call, way, at, there),
        Outcome::NotTls => plain(call, at, there),
        Outcome::Silent => silent(call, at, there),
        Outcome::Closed => unknown(
            "service",
            format!(
                "{at} closed the connection after the handshake, without a reason: does anything listen behind the proxy in {to}?"
            ),
        ),
        Outcome::Failed(why) => unknown("trust", format!("TLS with {at} fails: {why}")),
        Outcome::Refused(alert) => {
            unknown("exposure", format!("{at} refuses the handshake (TLS alert {alert}): is it a gateway of the mesh?"))
        }
    }
}

/// Alerts by which a server refuses a client's certificate; others are about the handshake.
fn is_of_certificates(alert: &str) -> bool {
    matches!(
        alert,
        "UnknownCA"
            | "BadCertificate"
            | "UnsupportedCertificate"
            | "CertificateRevoked"
            | "CertificateExpired"
            | "CertificateUnknown"
            | "CertificateRequired"
            | "AccessDenied"
            | "DecryptError"
    )
}

fn accepted(call: Call<'_>, at: &str, met: &Met) -> Verdict {
    let Call { from, host, .. } = call;
    let expected = host.split('.').nth(1).filter(|_| host.split('.').nth(2) == Some("svc"));
    // Whom clients take for other hosts is said by whoever describes them.
    if let Some(OtherDomain { domain, unsure }) = met.other_domain.as_ref().filter(|_| expected.is_some()) {
        if let Some(why) = unsure {
            return unknown(
                "trust",
                format!(
                    "who answers at {at} is of the trust domain {domain}, which the mesh configuration of {from} does not accept. From Istio 1.31 on clients accept it if it is that of the other cluster's own mesh configuration, and whether it is is unknown: {why}. Name {domain} in `trust_domain_aliases` of the mesh_primary that serves {from}"
                ),
            );
        }
        return broken(
            "trust",
            format!(
                "who answers at {at} is of the trust domain {domain}, which the mesh configuration of {from} does not accept: clients in {from} do not take it for {host}. Name {domain} in `trust_domain_aliases` of the mesh_primary that serves {from}, or give both one `trust_domain`"
            ),
        );
    }
    match met.identity.as_deref().map(|text| (text, SpiffeId::parse(text))) {
        Some((text, Ok(id))) => match expected {
            Some(namespace) if namespace != id.namespace.as_str() => broken(
                "identity",
                format!(
                    "{text} answers for {host}, and is of another namespace: clients do not take it for the Service. Who else answers at {at}?"
                ),
            ),
            _ => reachable(format!("{text} answers at {at}, and both sides trust each other's certificates")),
        },
        _ => broken(
            "identity",
            format!(
                "whoever answers at {at} for {host} has no SPIFFE id, by which clients know the Service: is it a proxy of the mesh?"
            ),
        ),
    }
}

/// A gateway that knows the SNI passes the connection on; one that does not, closes it. So does one that has nobody to
/// pass it on to.
fn closed(call: Call<'_>, way: Way, at: &str, there: Option<&There>) -> Verdict {
    let Call { host, sni, .. } = call;
    let Some(there) = there else {
        return unknown("exposure", format!("{at} closes connections for {sni} without a word"));
    };
    if let Some(verdict) = gateway(&there.places, &there.gateway) {
        return verdict;
    }
    if let Some(verdict) = service(call, &there.service) {
        return verdict;
    }
    if way != Way::Gateway {
        return mtls_off(call, there).unwrap_or_else(|| {
            unknown("mtls", format!("{at} closes the connection without a word: does the Pod have a sidecar?"))
        });
    }
    if let Some(verdict) = tunnelled(call, there) {
        return verdict;
    }
    let to = &there.places.opened_in;
    match &there.exposed {
        Ok(false) => broken("exposure", format!("no Gateway in {to} exposes {host}: the gateway at {at} does not know the SNI {sni}. Add the host to `expose` of its mesh_eastwest_gateway")),
        Err(why) => unknown("exposure", format!("the gateway at {at} does not know the SNI {sni}, and whether a Gateway in {to} exposes the host cannot be read: {why}")),
        Ok(true) => mtls_off(call, there).unwrap_or_else(|| {
            broken("exposure", format!("the gateway at {at} closes connections for {sni}, though a Gateway in {to} exposes the host. Has its istiod told it so, and does it find the Service's Pods? `istioctl proxy-config listeners` and `endpoints` of its Pods say it"))
        }),
    }
}

fn mtls_off(call: Call<'_>, there: &There) -> Option<Verdict> {
    let (host, to) = (call.host, &there.ruled_in);
    let policies: Vec<&String> = there.off.iter().flatten().collect();
    if !policies.is_empty() {
        let policies = join(&policies);
        return Some(broken(
            "mtls",
            format!(
                "policies in {to} turn mTLS off for {host}: its proxies take plain text alone, and no call crosses between networks without mTLS: {policies}. Remove them"
            ),
        ));
    }
    (there.service == Ok(ServiceState::NoSidecar)).then(|| broken("mtls", without_sidecar(call)))
}

fn plain(call: Call<'_>, at: &str, there: Option<&There>) -> Verdict {
    let Call { host, .. } = call;
    there.and_then(|there| mtls_off(call, there)).unwrap_or_else(|| {
        broken(
            "mtls",
            format!("what answers at {at} for {host} speaks no TLS: are its Pods injected, and is mTLS on for them?"),
        )
    })
}

fn silent(call: Call<'_>, at: &str, there: Option<&There>) -> Verdict {
    there.and_then(|there| mtls_off(call, there)).unwrap_or_else(|| {
        unknown("exposure", format!("{at} takes the connection and does not answer the handshake: a firewall may hold it, or an application that speaks no TLS"))
    })
}
