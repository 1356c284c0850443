//! Whether a secret stands in something that a run leaves behind, however it is written there.
//!
//! Of a key only the secret part is looked for (what is public stands everywhere), and any sixteen bytes in a row of it
//! are found. A text is looked through as it is and, over and over, as what it may be an encoding of: escaped, PEM,
//! base64 in both alphabets, hexadecimal with and without colons, a list of bytes, zip, gzip.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io::Read;

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use flate2::read::{DeflateDecoder, GzDecoder};

/// How many bytes of a secret in a row are a find.
const WINDOW: usize = 16;
/// base64 of base64 of PEM in a zip is four; one more for what wraps it.
const DEPTH: usize = 5;

/// What must not be found, by what it is called.
pub struct Secrets {
    names: BTreeSet<String>,
    windows: HashMap<[u8; WINDOW], String>,
    /// The first three bytes of every window: almost all of a text is passed over by it.
    beginnings: Vec<bool>,
}

impl Default for Secrets {
    fn default() -> Self {
        Self { names: BTreeSet::new(), windows: HashMap::new(), beginnings: vec![false; 1 << 24] }
    }
}

fn beginning(window: &[u8]) -> usize {
    usize::from(window[0]) << 16 | usize::from(window[1]) << 8 | usize::from(window[2])
}

impl Secrets {
    /// Takes the secret parts of every private key of a PEM text.
    #[track_caller]
    pub fn add_keys(&mut self, name: &str, pem: &str) {
        let mut blocks = 0;
        for block in pem.split("-----BEGIN ").skip(1) {
            let (label, rest) = block.split_once("-----").expect("a label");
            if !label.ends_with("PRIVATE KEY") {
                continue;
            }
            let body: String = rest.split("-----END").next().unwrap_or_default().split_whitespace().collect();
            let der = base64::prelude::BASE64_STANDARD.decode(body).expect("base64");
            let parts = secret_parts(&der);
            assert!(!parts.is_empty(), "{name} is a private key of an unknown kind");
            for part in parts {
                self.add(name, &part);
            }
            blocks += 1;
        }
        assert!(blocks > 0, "{name} holds no private key");
    }

    /// Takes the signature of a bearer token, without which it is worth nothing; one that is not a JWT whole.
    pub fn add_token(&mut self, name: &str, token: &str) {
        let signature = token.rsplit('.').next().unwrap_or(token);
        self.add(name, signature.as_bytes());
        if let Ok(bytes) = decoder(&URL_SAFE).decode(signature) {
            self.add(name, &bytes);
        }
    }

    fn add(&mut self, name: &str, secret: &[u8]) {
        assert!(secret.len() >= WINDOW, "{name} is too short to be a secret");
        self.names.insert(name.to_owned());
        for window in secret.windows(WINDOW) {
            self.beginnings[beginning(window)] = true;
            self.windows.insert(window.try_into().expect("its length"), name.to_owned());
        }
    }

    /// Takes everything secret out of a Secret's data, or any other text: keys, and tokens wherever a kubeconfig or a
    /// Secret has them.
    pub fn add_all_of(&mut self, name: &str, text: &str) {
        if text.contains("PRIVATE KEY-----") {
            self.add_keys(name, text);
        }
        for word in text.split(|c: char| !(c.is_ascii_alphanumeric() || "._-+/=".contains(c))) {
            if word.starts_with("eyJ") && word.matches('.').count() == 2 {
                self.add_token(name, word);
            }
            let decoded =
                base64::prelude::BASE64_STANDARD.decode(word).ok().and_then(|der| String::from_utf8(der).ok());
            if let Some(inner) = decoded.filter(|inner| inner.contains("PRIVATE KEY-----")) {
                self.add_keys(name, &inner);
            }
        }
    }

    pub fn names(&self) -> &BTreeSet<String> {
        &self.names
    }

    /// Names of the secrets that stand in these bytes.
    pub fn found_in(&self, bytes: &[u8]) -> BTreeSet<String> {
        let (mut found, mut seen) = (BTreeSet::new(), HashSet::new());
        self.look(bytes, DEPTH, &mut seen, &mut found);
        found
    }

    fn look(&self, bytes: &[u8], depth: usize, seen: &mut HashSet<Vec<u8>>, found: &mut BTreeSet<String>) {
        // Logs say the same again and again.
        if bytes.len() < WINDOW || !seen.insert(bytes.to_vec()) {
            return;
        }
        for window in bytes.windows(WINDOW) {
            if self.beginnings[beginning(window)]
                && let Some(name) = self.windows.get(window)
            {
                found.insert(name.clone());
            }
        }
        if depth == 0 {
            return;
        }
        for view in views(bytes) {
            self.look(&view, depth - 1, seen, found);
        }
    }
}

/// What these bytes may be an encoding of.
fn views(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut views = unzipped(bytes);
    if bytes.starts_with(&[0x1f, 0x8b]) {
        let mut text = Vec::new();
        if GzDecoder::new(bytes).read_to_end(&mut text).is_ok() {
            views.push(text);
        }
    }
    if !views.is_empty() {
        return views;
    }
    if bytes.contains(&b'\\') {
        views.push(unescaped(bytes));
    }
    let joined = without_breaks(bytes);
    for text in [bytes, &joined] {
        for (alphabet, extra) in [(&STANDARD, b"+/"), (&URL_SAFE, b"-_")] {
            let digit = |byte: u8| byte.is_ascii_alphanumeric() || extra.contains(&byte);
            for run in runs(text, digit, 22) {
                // What stands before an encoded text may look like a part of it.
                views.extend((0..4).filter_map(|skip| decoded(alphabet, &run[skip..])));
            }
        }
        let digit = |byte: u8| byte.is_ascii_hexdigit() || byte == b':';
        for run in runs(text, digit, 2 * WINDOW) {
            let digits: Vec<u8> = run.iter().copied().filter(|byte| *byte != b':').collect();
            let shifted = (0..2).filter_map(|skip| digits.get(skip..));
            views.extend(shifted.map(|digits| digits.chunks_exact(2).map(hexadecimal).collect::<Vec<u8>>()));
        }
    }
    let list = |byte: u8| byte.is_ascii_digit() || matches!(byte, b' ' | b',');
    for run in runs(bytes, list, 2 * WINDOW) {
        let text = String::from_utf8_lossy(run);
        let numbers = text.split([' ', ',']).filter(|number| !number.is_empty()).map(str::parse::<u8>);
        views.extend(numbers.collect::<Result<Vec<u8>, _>>());
    }
    views
}

fn runs(bytes: &[u8], digit: impl Fn(u8) -> bool, least: usize) -> Vec<&[u8]> {
    bytes.split(|byte| !digit(*byte)).filter(|run| run.len() >= least).collect()
}

fn decoder(alphabet: &base64::alphabet::Alphabet) -> GeneralPurpose {
    let lenient = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    GeneralPurpose::new(alphabet, lenient)
}

fn decoded(alphabet: &base64::alphabet::Alphabet, run: &[u8]) -> Option<Vec<u8>> {
    let whole = if run.len() % 4 == 1 { &run[..run.len() - 1] } else { run };
    decoder(alphabet).decode(whole).ok()
}

fn hexadecimal(pair: &[u8]) -> u8 {
    pair.iter().fold(0, |value, digit| value << 4 | char::from(*digit).to_digit(16).unwrap_or(0) as u8)
}

/// Without white space: PEM, and whatever else was broken into lines.
fn without_breaks(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect()
}

/// As JSON, Go and protocol buffers write text: `\n`, `\"`, `\x2d`, `\055`, `\u002d`.
fn unescaped(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, tail)) = rest.split_first() {
        let (plain, taken) = match (first, tail.first()) {
            (b'\\', Some(b'n')) => (b'\n', 2),
            (b'\\', Some(b'r')) => (b'\r', 2),
            (b'\\', Some(b't')) => (b'\t', 2),
            (b'\\', Some(b'x')) if tail.len() > 2 => (hexadecimal(&tail[1..3]), 4),
            (b'\\', Some(b'u')) if tail.len() > 4 => (hexadecimal(&tail[3..5]), 6),
            (b'\\', Some(b'0'..=b'3')) if tail.len() > 2 => {
                (tail[..3].iter().fold(0u8, |value, digit| value << 3 | (digit & 7)), 4)
            }
            (b'\\', Some(other)) => (*other, 2),
            _ => (*first, 1),
        };
        out.push(plain);
        rest = &rest[taken..];
    }
    out
}

/// The files of a zip archive, read by the headers before each: enough for archives that nobody appends to.
pub fn unzipped(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut files = Vec::new();
    if !bytes.starts_with(b"PK\x03\x04") {
        return files;
    }
    let number = |at: usize| usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
    let mut at = 0;
    while let Some(offset) = bytes[at..].windows(4).position(|window| window == b"PK\x03\x04") {
        let header = at + offset;
        at = header + 4;
        let Some(start) = (header + 30 <= bytes.len()).then(|| header + 30 + number(header + 26) + number(header + 28))
        else {
            continue;
        };
        let Some(content) = bytes.get(start..) else { continue };
        let mut file = Vec::new();
        match number(header + 8) {
            0 => file.extend_from_slice(content),
            // What was read up to an error counts as well.
            _ => drop(DeflateDecoder::new(content).read_to_end(&mut file)),
        }
        files.push(file);
    }
    files
}

/// PKCS#8, SEC1 or PKCS#1: the scalar of an elliptic curve, or the numbers of RSA from the private exponent on.
fn secret_parts(der: &[u8]) -> Vec<Vec<u8>> {
    let Some(fields) = sequence(der) else { return Vec::new() };
    match fields.as_slice() {
        [(2, _), (0x30, _), (4, inner), ..] => secret_parts(inner),
        [(2, _), (4, scalar), ..] => vec![scalar.to_vec()],
        [(2, _), (2, _modulus), (2, _public), private @ ..] if private.len() >= 6 => {
            private.iter().map(|(_, number)| number.strip_prefix(&[0]).unwrap_or(number).to_vec()).collect()
        }
        _ => Vec::new(),
    }
}

/// Tag and content.
type Member<'a> = (u8, &'a [u8]);

/// The members of a DER sequence.
fn sequence(der: &[u8]) -> Option<Vec<Member<'_>>> {
    let ((0x30, mut content), _) = member(der)? else { return None };
    let mut members = Vec::new();
    while !content.is_empty() {
        let (found, rest) = member(content)?;
        members.push(found);
        content = rest;
    }
    Some(members)
}

fn member(der: &[u8]) -> Option<(Member<'_>, &[u8])> {
    let (tag, length, rest) = (*der.first()?, *der.get(1)?, der.get(2..)?);
    let (length, rest) = if length < 0x80 {
        (usize::from(length), rest)
    } else {
        let (digits, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
        (digits.iter().fold(0, |value, digit| value << 8 | usize::from(*digit)), rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some(((tag, content), rest))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder};
    use terraform_provider_mesh::pki::{KeyAlgorithm, PrivateKey};

    use super::*;

    fn hex(bytes: &[u8], between: &str) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(between)
    }

    fn zip(content: &[u8]) -> Vec<u8> {
        let mut deflated = DeflateEncoder::new(Vec::new(), Compression::default());
        deflated.write_all(content).unwrap();
        let mut archive = b"PK\x03\x04\x14\0\x08\0\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x04\0\0\0plan".to_vec();
        archive.extend(deflated.finish().unwrap());
        archive
    }

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut packed = GzEncoder::new(Vec::new(), Compression::default());
        packed.write_all(content).unwrap();
        packed.finish().unwrap()
    }

    /// Every way of writing a key that a plan, a state or a log could come to.
    fn spellings(pem: &str, der: &[u8], part: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
        let escaped = serde_json::json!({ "key": pem }).to_string();
        let doubly = serde_json::json!({ "state": escaped }).to_string();
        let based = BASE64_STANDARD.encode(pem);
        let list = |between: &str| der.iter().map(u8::to_string).collect::<Vec<_>>().join(between);
        let octal: String = der.iter().map(|byte| format!("\\{byte:03o}")).collect();
        let go: String = der.iter().map(|byte| format!("\\x{byte:02x}")).collect();
        vec![
            ("PEM", pem.into()),
            ("PEM in one line", pem.replace('\n', "").into()),
            ("PEM with CRLF", pem.replace('\n', "\r\n").into()),
            ("PEM, indented as in YAML", pem.replace('\n', "\n      ").into()),
            ("JSON", escaped.clone().into()),
            ("JSON in JSON", doubly.into()),
            ("base64 of PEM", based.clone().into()),
            ("base64 of base64 of PEM", BASE64_STANDARD.encode(&based).into()),
            ("base64 of JSON", BASE64_STANDARD.encode(&escaped).into()),
            ("base64 behind a word", format!("data{based}").into()),
            ("URL-safe base64", BASE64_URL_SAFE_NO_PAD.encode(der).into()),
            ("DER", der.to_vec()),
            ("hexadecimal", hex(der, "").into()),
            ("hexadecimal in capitals", hex(der, "").to_uppercase().into()),
            ("hexadecimal with colons", hex(der, ":").into()),
            ("hexadecimal in lines", hex(der, ":").replace(":4", ":\n    4").into()),
            ("a list of bytes as Go has it", format!("[{}]", list(" ")).into()),
            ("a list of bytes as JSON has it", format!("[{}]", list(",")).into()),
            ("octal escapes", octal.into()),
            ("hexadecimal escapes", go.into()),
            ("the secret part", part.to_vec()),
            ("the secret part in hexadecimal", hex(part, "").into()),
            ("the secret part in base64", BASE64_URL_SAFE_NO_PAD.encode(part).into()),
            ("half of the secret part", part[..part.len() / 2].to_vec()),
            ("zip", zip(escaped.as_bytes())),
            ("base64 of zip", BASE64_STANDARD.encode(zip(pem.as_bytes())).into()),
            ("base64 of gzip", BASE64_STANDARD.encode(gzip(pem.as_bytes())).into()),
        ]
    }

    #[test]
    fn a_key_is_found_however_it_is_written() {
        for algorithm in KeyAlgorithm::ALL {
            let (key, other) = (PrivateKey::generate(algorithm).unwrap(), PrivateKey::generate(algorithm).unwrap());
            let pem = key.to_pem();
            let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
            let der = BASE64_STANDARD.decode(body).unwrap();
            let (mut secrets, mut others) = (Secrets::default(), Secrets::default());
            secrets.add_keys("the key", &pem);
            others.add_keys("another", &other.to_pem());
            for part in secret_parts(&der) {
                for (spelling, bytes) in spellings(&pem, &der, &part) {
                    let compressed = spelling.contains("zip") && !spelling.contains("base64");
                    let around =
                        if compressed { bytes.clone() } else { [b"{\"x\": \"", &bytes[..], b"\"}\n"].concat() };
                    assert!(secrets.found_in(&around).contains("the key"), "{spelling} of {algorithm:?}");
                    assert!(others.found_in(&around).is_empty(), "{spelling} of {algorithm:?}: not the other one");
                }
                if algorithm == KeyAlgorithm::Rsa4096 {
                    break;
                }
            }
            assert!(secrets.found_in(&key.public_key_info()).is_empty(), "what is public is no secret");
        }
    }

    #[test]
    fn a_token_is_found_by_its_signature() {
        let token = format!(
            "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.{}",
            BASE64_URL_SAFE_NO_PAD.encode([7; 64].map(|b: u8| b ^ 0x5a))
        );
        let mut secrets = Secrets::default();
        secrets.add_all_of("the token", &format!("users:\n- user:\n    token: {token}\n"));
        assert_eq!(secrets.names().len(), 1);
        for text in
            [token.clone(), format!("Bearer {token}"), BASE64_STANDARD.encode(&token), hex(token.as_bytes(), "")]
        {
            assert!(!secrets.found_in(text.as_bytes()).is_empty(), "{text}");
        }
        assert!(secrets.found_in(b"eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.another-signature").is_empty());
    }
}
