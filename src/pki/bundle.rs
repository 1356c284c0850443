//! A set of roots that keeps its order: what `root-cert.pem` holds.

use std::collections::HashSet;

use super::certificate::{Certificate, CertificateError, Fingerprint};

/// Roots without duplicates. Comparisons ignore the order; writing keeps it.
#[derive(Debug, Clone, Default)]
pub struct Bundle(Vec<Certificate>);

/// How two sets of roots lie to each other. istiod takes a new bundle live only if it equals the old one, or, with
/// ISTIO_MULTIROOT_MESH, contains it or is contained in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// The same roots.
    Equal,
    /// The first holds all of the second's and more.
    Wider,
    /// The first holds a part of the second's.
    Narrower,
    /// Some in common, and each has its own.
    Overlapping,
    /// Nothing in common.
    Disjoint,
}

impl Bundle {
    /// Reads one or more roots; a root that is listed twice counts once.
    pub fn from_pem(text: &str) -> Result<Self, CertificateError> {
        Certificate::all_from_pem(text).map(Self::from_iter)
    }

    /// The roots as PEM, in order.
    pub fn to_pem(&self) -> String {
        self.0.iter().map(Certificate::to_pem).collect()
    }

    /// As [`Self::to_pem`] with one root written twice. Agents ignore a bundle whose bytes did not change; istiod
    /// compares sets: so this makes every proxy ask for a new certificate while trust stays the same.
    pub fn to_pem_with_duplicate(&self, root: &Certificate) -> String {
        self.to_pem() + &root.to_pem()
    }

    /// Adds a root at the end unless it is there.
    pub fn insert(&mut self, root: Certificate) {
        if !self.0.contains(&root) {
            self.0.push(root);
        }
    }

    /// Whether the root is there.
    pub fn contains(&self, root: &Certificate) -> bool {
        self.0.contains(root)
    }

    /// The root with that fingerprint.
    pub fn get(&self, fingerprint: Fingerprint) -> Option<&Certificate> {
        self.0.iter().find(|root| root.fingerprint() == fingerprint)
    }

    /// How this set lies to the other.
    pub fn relation(&self, other: &Self) -> Relation {
        let (mine, theirs) = (self.fingerprint_set(), other.fingerprint_set());
        match (theirs.is_subset(&mine), mine.is_subset(&theirs)) {
            (true, true) => Relation::Equal,
            (true, false) => Relation::Wider,
            (false, true) => Relation::Narrower,
            (false, false) if mine.is_disjoint(&theirs) => Relation::Disjoint,
            (false, false) => Relation::Overlapping,
        }
    }

    /// Fingerprints in order.
    pub fn fingerprints(&self) -> Vec<Fingerprint> {
        self.0.iter().map(Certificate::fingerprint).collect()
    }

    fn fingerprint_set(&self) -> HashSet<Fingerprint> {
        self.0.iter().map(Certificate::fingerprint).collect()
    }

    /// The roots in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Certificate> {
        self.0.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<Certificate> for Bundle {
    fn from_iter<I: IntoIterator<Item = Certificate>>(roots: I) -> Self {
        let mut bundle = Self::default();
        roots.into_iter().for_each(|root| bundle.insert(root));
        bundle
    }
}

impl<'a> IntoIterator for &'a Bundle {
    type Item = &'a Certificate;
    type IntoIter = std::slice::Iter<'a, Certificate>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl PartialEq for Bundle {
    fn eq(&self, other: &Self) -> bool {
        self.relation(other) == Relation::Equal
    }
}

impl Eq for Bundle {}
