//! Questions about identities: tokens for service accounts, who am I, may I.

use std::time::Duration;

use jiff::Timestamp;

use super::{Cluster, Error, Secret};

/// A bounded token for a service account.
#[derive(Clone, Debug)]
pub struct TokenRequest {
    pub namespace: String,
    pub service_account: String,
    /// Empty: the API server's own audience.
    pub audiences: Vec<String>,
    pub expires_in: Duration,
}

#[derive(Clone, Debug)]
pub struct Token {
    pub token: Secret,
    /// What the server granted: it may be shorter or longer than asked.
    pub expires_at: Timestamp,
}

/// Who the API server takes us for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    pub username: String,
    pub uid: String,
    pub groups: Vec<String>,
}

/// One right to ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    pub verb: String,
    pub group: String,
    pub resource: String,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessAnswer {
    pub allowed: bool,
    pub reason: String,
}

impl Cluster {
    pub async fn request_token(&self, request: &TokenRequest) -> Result<Token, Error> {
        todo!("{request:?}")
    }

    /// SelfSubjectReview; on a server too old for it the answer to SelfSubjectAccessReview proves the credential, without a name.
    pub async fn whoami(&self) -> Result<Identity, Error> {
        todo!()
    }

    pub async fn may(&self, access: &Access) -> Result<AccessAnswer, Error> {
        todo!("{access:?}")
    }
}
