//! What Pods without a sidecar are to callers that act as one.

use super::{Call, ServiceState, There, Verdict, unknown};

/// Pods that only ztunnels call across networks. The caller acts as a sidecar.
pub(super) fn tunnelled(call: Call<'_>, there: &There) -> Option<Verdict> {
    let Call { to, host, .. } = call;
    (there.service == Ok(ServiceState::Tunnelled)).then(|| {
        unknown(
            "link",
            format!("the Pods of {host} in {to} are in ambient mode: ztunnels call them by HBONE, which is not tried"),
        )
    })
}

pub(super) fn without_sidecar(call: Call<'_>) -> String {
    let Call { to, host, .. } = call;
    format!(
        "the Pods of {host} in {to} have no sidecar, and a gateway passes on nothing but mTLS. Inject them, and restart them"
    )
}
