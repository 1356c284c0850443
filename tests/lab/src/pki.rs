//! Certificates and keys of one cluster, made anew at every start.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use time::{Duration, OffsetDateTime};

use crate::error::{Error, Result};

/// Files of a cluster's keys and certificates.
#[derive(Clone, Debug)]
pub(crate) struct Pki {
    pub dir: PathBuf,
    pub ca_pem: String,
}

impl Pki {
    /// `names` are what the API server is called, beside its fixed names.
    pub fn create(dir: &Path, cluster: &str, names: &[String]) -> Result<Pki> {
        fs::create_dir_all(dir).map_err(Error::file("create", dir))?;
        let ca_key = KeyPair::generate()?;
        let mut ca = params(&format!("{cluster} CA"));
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        let ca_pem = ca.self_signed(&ca_key)?.pem();
        let issuer = Issuer::new(ca, ca_key);

        let server_key = KeyPair::generate()?;
        let fixed = ["localhost", "127.0.0.1", "kubernetes", "kubernetes.default", "kubernetes.default.svc"];
        let all: Vec<String> = fixed.iter().map(|name| (*name).to_owned()).chain(names.iter().cloned()).collect();
        let mut server = CertificateParams::new(all)?;
        server.distinguished_name.push(DnType::CommonName, "kube-apiserver");
        server.not_after = OffsetDateTime::now_utc() + Duration::days(365);
        server.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let server_pem = server.signed_by(&server_key, &issuer)?.pem();

        let pki = Pki { dir: dir.to_owned(), ca_pem: ca_pem.clone() };
        pki.write("ca.crt", &ca_pem)?;
        pki.write("ca.key", &issuer.key().serialize_pem())?;
        pki.write("server.crt", &server_pem)?;
        pki.write("server.key", &server_key.serialize_pem())?;
        pki.renew_service_account_key()?;
        Ok(pki)
    }

    /// Makes every token issued so far worthless, once the API server has restarted.
    pub fn renew_service_account_key(&self) -> Result<()> {
        let key = KeyPair::generate()?;
        self.write("service-account.key", &key.serialize_pem())?;
        self.write("service-account.pub", &key.public_key_pem())
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let file = self.file(name);
        fs::write(&file, text).map_err(Error::file("write", &file))
    }
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_after = OffsetDateTime::now_utc() + Duration::days(365);
    params
}
