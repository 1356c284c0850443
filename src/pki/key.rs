//! Private keys: generated, or loaded from PKCS#1, PKCS#8 and SEC1. The type wipes its bytes and prints nothing.

use std::fmt;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair as _,
    RSA_PKCS1_SHA256, RsaKeyPair,
};
use rcgen::{PublicKeyData, SignatureAlgorithm, SigningKey};
use zeroize::Zeroizing;

use super::pem::{self, PemError};

/// What kind of key to generate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum KeyAlgorithm {
    /// ECDSA on P-256: small, fast, and taken by everything Istio is made of.
    #[default]
    EcdsaP256,
    /// ECDSA on P-384.
    EcdsaP384,
    /// RSA with 4096 bits, as in Istio's own makefile.
    Rsa4096,
}

impl KeyAlgorithm {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::EcdsaP256, Self::EcdsaP384, Self::Rsa4096];

    /// The name used in configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EcdsaP256 => "ECDSA-P256",
            Self::EcdsaP384 => "ECDSA-P384",
            Self::Rsa4096 => "RSA-4096",
        }
    }

    /// Reads that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == name)
    }
}

/// A private key.
pub struct PrivateKey {
    pair: Pair,
    label: &'static str,
    der: Zeroizing<Vec<u8>>,
}

enum Pair {
    Ecdsa(EcdsaKeyPair, &'static SignatureAlgorithm),
    Rsa(RsaKeyPair),
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(..)")
    }
}

/// Why there is no key. No message holds a part of one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The text is not PEM.
    #[error("cannot read the private key")]
    Pem(#[source] PemError),
    /// A block of another kind where a key was expected.
    #[error("line {line} begins a {label} block where a private key is expected")]
    NotAKey {
        /// Its label.
        label: String,
        /// Counted from 1.
        line: usize,
    },
    /// Two keys.
    #[error("there is more than one private key")]
    Several,
    /// A passphrase is on it.
    #[error("the private key is encrypted; decrypt it first (openssl pkey -in FILE)")]
    Encrypted,
    /// Not the bytes of a key of the kind its label says.
    #[error(
        "the content of the {label} block is not a private key that this provider can use; it takes RSA from 2048 bits, and ECDSA on P-256 and P-384"
    )]
    Unusable {
        /// Its label.
        label: String,
    },
    /// An RSA key of less than 2048 bits.
    #[error("the RSA private key has less than 2048 bits; nobody should trust certificates it signs")]
    Weak,
    /// The random number generator or the library failed.
    #[error("cannot generate a private key")]
    Generate,
}

impl PrivateKey {
    /// Makes a new key from the operating system's randomness.
    pub fn generate(algorithm: KeyAlgorithm) -> Result<Self, KeyError> {
        match algorithm {
            KeyAlgorithm::EcdsaP256 => Self::generate_ecdsa(&ECDSA_P256_SHA256_ASN1_SIGNING),
            KeyAlgorithm::EcdsaP384 => Self::generate_ecdsa(&ECDSA_P384_SHA384_ASN1_SIGNING),
            KeyAlgorithm::Rsa4096 => {
                let pair = RsaKeyPair::generate(KeySize::Rsa4096).map_err(|_| KeyError::Generate)?;
                let der = pair.as_der().map_err(|_| KeyError::Generate)?;
                let der = Zeroizing::new(der.as_ref().to_vec());
                Ok(Self { pair: Pair::Rsa(pair), label: PKCS8, der })
            }
        }
    }

    fn generate_ecdsa(algorithm: &'static EcdsaSigningAlgorithm) -> Result<Self, KeyError> {
        let document = EcdsaKeyPair::generate_pkcs8(algorithm, &SystemRandom::new()).map_err(|_| KeyError::Generate)?;
        Self::ecdsa(PKCS8, document.as_ref()).ok_or(KeyError::Generate)
    }

    /// Reads a key: one block, alone but for the EC PARAMETERS that `openssl ecparam -genkey` writes before it.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let mut blocks = pem::parse(text).map_err(KeyError::Pem)?;
        blocks.retain(|block| block.label != "EC PARAMETERS");
        let [block] = blocks.as_slice() else {
            return Err(if blocks.is_empty() { KeyError::Pem(PemError::Empty) } else { KeyError::Several });
        };
        Self::from_block(block)
    }

    /// Reads the first key in a text that is in use already, as [`pem::found_in`] does.
    pub fn first_in(text: &str) -> Result<Self, KeyError> {
        match pem::found_in(text).iter().find(|block| block.label.ends_with("PRIVATE KEY")) {
            Some(block) => Self::from_block(block),
            None => Self::from_pem(text),
        }
    }

    fn from_block(block: &pem::Block) -> Result<Self, KeyError> {
        let unusable = || KeyError::Unusable { label: block.label.clone() };
        match block.label.as_str() {
            SEC1 => Self::ecdsa(SEC1, &block.der).ok_or_else(unusable),
            PKCS1 => Self::rsa(PKCS1, &block.der, unusable),
            PKCS8 => match Self::ecdsa(PKCS8, &block.der) {
                Some(key) => Ok(key),
                None => Self::rsa(PKCS8, &block.der, unusable),
            },
            "ENCRYPTED PRIVATE KEY" => Err(KeyError::Encrypted),
            label => Err(KeyError::NotAKey { label: label.to_owned(), line: block.line }),
        }
    }

    fn ecdsa(label: &'static str, der: &[u8]) -> Option<Self> {
        let curves = [
            (&ECDSA_P256_SHA256_ASN1_SIGNING, &rcgen::PKCS_ECDSA_P256_SHA256),
            (&ECDSA_P384_SHA384_ASN1_SIGNING, &rcgen::PKCS_ECDSA_P384_SHA384),
        ];
        curves.into_iter().find_map(|(signing, algorithm)| {
            let pair = EcdsaKeyPair::from_private_key_der(signing, der).ok()?;
            Some(Self { pair: Pair::Ecdsa(pair, algorithm), label, der: Zeroizing::new(der.to_vec()) })
        })
    }

    fn rsa(label: &'static str, der: &[u8], unusable: impl Fn() -> KeyError) -> Result<Self, KeyError> {
        let pair = if label == PKCS1 { RsaKeyPair::from_der(der) } else { RsaKeyPair::from_pkcs8(der) };
        match pair {
            Ok(pair) => Ok(Self { pair: Pair::Rsa(pair), label, der: Zeroizing::new(der.to_vec()) }),
            Err(rejected) if rejected.to_string() == "TooSmall" => Err(KeyError::Weak),
            Err(_) => Err(unusable()),
        }
    }

    /// The key as PEM, for the Secret it is kept in and nothing else.
    pub fn to_pem(&self) -> Zeroizing<String> {
        pem::encode(self.label, &self.der)
    }

    /// The kind of key to generate for one like this.
    pub fn algorithm(&self) -> KeyAlgorithm {
        match &self.pair {
            Pair::Ecdsa(_, algorithm) if **algorithm == rcgen::PKCS_ECDSA_P384_SHA384 => KeyAlgorithm::EcdsaP384,
            Pair::Ecdsa(..) => KeyAlgorithm::EcdsaP256,
            Pair::Rsa(_) => KeyAlgorithm::Rsa4096,
        }
    }

    /// The public half, as DER of a SubjectPublicKeyInfo.
    pub fn public_key_info(&self) -> Vec<u8> {
        self.subject_public_key_info()
    }
}

impl PublicKeyData for PrivateKey {
    fn der_bytes(&self) -> &[u8] {
        match &self.pair {
            Pair::Ecdsa(pair, _) => pair.public_key().as_ref(),
            Pair::Rsa(pair) => pair.public_key().as_ref(),
        }
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        match &self.pair {
            Pair::Ecdsa(_, algorithm) => algorithm,
            Pair::Rsa(_) => &rcgen::PKCS_RSA_SHA256,
        }
    }
}

impl SigningKey for PrivateKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Ecdsa(pair, _) => pair
                .sign(&random, message)
                .map(|signature| signature.as_ref().to_vec())
                .map_err(|_| rcgen::Error::RingUnspecified),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                    .map_err(|_| rcgen::Error::RingUnspecified)?;
                Ok(signature)
            }
        }
    }
}

const PKCS1: &str = "RSA PRIVATE KEY";
const PKCS8: &str = "PRIVATE KEY";
const SEC1: &str = "EC PRIVATE KEY";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_keys_are_read_back() {
        for algorithm in [KeyAlgorithm::EcdsaP256, KeyAlgorithm::EcdsaP384] {
            let key = PrivateKey::generate(algorithm).unwrap();
            let read = PrivateKey::from_pem(&key.to_pem()).unwrap();
            assert_eq!(read.public_key_info(), key.public_key_info());
            assert_eq!(KeyAlgorithm::from_name(algorithm.as_str()), Some(algorithm));
        }
    }

    #[test]
    fn debug_shows_nothing() {
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        assert_eq!(format!("{key:?}"), "PrivateKey(..)");
    }

    #[test]
    fn says_what_it_got_instead_of_a_key() {
        let certificate = "-----BEGIN CERTIFICATE-----\nAAEC\n-----END CERTIFICATE-----\n";
        assert_eq!(
            PrivateKey::from_pem(certificate).unwrap_err().to_string(),
            "line 1 begins a CERTIFICATE block where a private key is expected"
        );
        assert_eq!(
            PrivateKey::from_pem(&certificate.replace("CERTIFICATE", "ENCRYPTED PRIVATE KEY")).unwrap_err(),
            KeyError::Encrypted
        );
        let broken = certificate.replace("CERTIFICATE", "PRIVATE KEY");
        assert!(matches!(PrivateKey::from_pem(&broken), Err(KeyError::Unusable { .. })));
        assert_eq!(PrivateKey::from_pem(&format!("{broken}{broken}")).unwrap_err(), KeyError::Several);
        assert_eq!(PrivateKey::from_pem("secret").unwrap_err(), KeyError::Pem(PemError::Junk { line: 1 }));
    }
}
