//! What an istiod takes from the Secret `cacerts`, in whichever form it is. Pure.

use crate::cluster::Object;
use crate::pki::Certificate;

/// The roots that istiod hands out.
pub fn roots(secret: &Object) -> Vec<Certificate> {
    certificates(secret, if is_tls(secret) { "ca.crt" } else { "root-cert.pem" })
}

/// The intermediate that istiod signs by.
pub fn intermediate(secret: &Object) -> Option<Certificate> {
    certificates(secret, if is_tls(secret) { "tls.crt" } else { "ca-cert.pem" }).into_iter().next()
}

/// The form of a TLS Secret, as cert-manager writes it: istiod prefers it where both are there.
fn is_tls(secret: &Object) -> bool {
    secret.data("tls.crt").is_some()
}

/// As istiod reads them: text between the blocks is nothing to it.
fn certificates(secret: &Object, key: &str) -> Vec<Certificate> {
    let text = secret.data(key).and_then(|bytes| String::from_utf8(bytes).ok());
    text.and_then(|text| Certificate::all_in(&text).ok()).unwrap_or_default()
}
