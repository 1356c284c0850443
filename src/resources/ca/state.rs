//! The states that a cluster's certificates can be in.

use time::OffsetDateTime;

use super::secret::CaCerts;
use crate::pki::{Certificate, CheckIntermediate, Problem, check_intermediate, renewal_due};

pub const READY: &str = "ready";
pub const RENEWAL_DUE: &str = "renewal-due";
pub const AWAITING_SIGNATURE: &str = "awaiting-signature";
pub const MISSING: &str = "missing";
pub const UNREACHABLE: &str = "unreachable";
pub const FOREIGN: &str = "foreign";
pub const INVALID: &str = "invalid";

/// `ready`, `renewal-due` or `invalid`.
pub fn of(held: &CaCerts, renew_before: time::Duration, now: OffsetDateTime) -> &'static str {
    // One that lives as long as its root gains nothing from being made again.
    let root_end = held.issuer().map(Certificate::not_after);
    let gains = |intermediate: &Certificate| root_end.is_none_or(|end| intermediate.not_after() < end);
    let due = held.chain.first().is_none_or(|ca| gains(ca) && renewal_due(ca, renew_before, now));
    match (problems(held, now).is_empty(), due) {
        (false, _) => INVALID,
        (true, true) => RENEWAL_DUE,
        (true, false) => READY,
    }
}

/// What istiod or a proxy would find wrong with it.
pub fn problems(held: &CaCerts, now: OffsetDateTime) -> Vec<Problem> {
    let key = held.key.public_key_info();
    check_intermediate(CheckIntermediate { chain: &held.chain, roots: &held.roots, public_key_info: Some(&key), now })
}
