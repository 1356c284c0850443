//! PEM, strictly: what is not a block is an error that says where. istiod drops junk in a bundle without a word, so a
//! typing error would otherwise silently leave a root out. Messages never repeat the text: it may be a key.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use zeroize::Zeroizing;

/// One block.
#[derive(Clone)]
pub struct Block {
    /// What stands behind BEGIN.
    pub label: String,
    /// The line of BEGIN, counted from 1.
    pub line: usize,
    /// The decoded content, wiped after use since it may be a key.
    pub der: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Block").field("label", &self.label).field("line", &self.line).finish_non_exhaustive()
    }
}

/// Why a text is not a sequence of PEM blocks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PemError {
    /// No block at all.
    #[error("there is no PEM block; it should begin with -----BEGIN")]
    Empty,
    /// Text outside of blocks.
    #[error("line {line} is outside of any PEM block; remove it (comments too)")]
    Junk {
        /// Counted from 1.
        line: usize,
    },
    /// A BEGIN line out of shape.
    #[error("line {line} is not a complete -----BEGIN ...----- line")]
    Begin {
        /// Counted from 1.
        line: usize,
    },
    /// BEGIN without END.
    #[error("the {label} block that begins at line {line} has no end")]
    Unterminated {
        /// The block's label.
        label: String,
        /// Counted from 1.
        line: usize,
    },
    /// END of something else.
    #[error("line {line} ends another block than the {label} that is open")]
    EndMismatch {
        /// The open block's label.
        label: String,
        /// Counted from 1.
        line: usize,
    },
    /// A header such as `Proc-Type`, which old encrypted keys have.
    #[error(
        "the {label} block has a header at line {line}; if it is an encrypted key, decrypt it first (openssl pkey -in FILE)"
    )]
    Header {
        /// The block's label.
        label: String,
        /// Counted from 1.
        line: usize,
    },
    /// The content is not base64.
    #[error("the content of the {label} block that begins at line {line} is not base64")]
    Base64 {
        /// The block's label.
        label: String,
        /// Counted from 1.
        line: usize,
    },
}

/// Reads all blocks; at least one.
pub fn parse(text: &str) -> Result<Vec<Block>, PemError> {
    let mut blocks = Vec::new();
    let mut open: Option<(String, usize, Zeroizing<String>)> = None;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (index, raw) in text.lines().enumerate() {
        let (number, line) = (index + 1, raw.trim());
        match open.as_mut() {
            None if line.is_empty() => {}
            None => match line.strip_prefix("-----BEGIN ") {
                Some(rest) => {
                    let label = rest.strip_suffix("-----").filter(|label| is_label(label));
                    let label = label.ok_or(PemError::Begin { line: number })?;
                    open = Some((label.to_owned(), number, Zeroizing::default()));
                }
                None => return Err(PemError::Junk { line: number }),
            },
            Some((label, _, _)) if line.contains(':') => {
                return Err(PemError::Header { label: label.clone(), line: number });
            }
            Some((label, begin, content)) => match line.strip_prefix("-----END ") {
                Some(rest) => {
                    if rest.strip_suffix("-----") != Some(label.as_str()) {
                        return Err(PemError::EndMismatch { label: label.clone(), line: number });
                    }
                    let broken = || PemError::Base64 { label: label.clone(), line: *begin };
                    let der = BASE64.decode(content.as_bytes()).map_err(|_| broken())?;
                    if der.is_empty() {
                        return Err(broken());
                    }
                    blocks.push(Block { label: label.clone(), line: *begin, der: Zeroizing::new(der) });
                    open = None;
                }
                None if line.starts_with("-----") => {
                    return Err(PemError::EndMismatch { label: label.clone(), line: number });
                }
                None => content.push_str(line),
            },
        }
    }
    match open {
        Some((label, line, _)) => Err(PemError::Unterminated { label, line }),
        None if blocks.is_empty() => Err(PemError::Empty),
        None => Ok(blocks),
    }
}

/// The blocks in a text of others, found as Go finds them, and so istiod: whatever stands between them (comments,
/// `openssl x509 -text`, bag attributes) is passed over, and so is what only looks like one. For texts that are in use
/// already; what is written anew is read with [`parse`].
pub fn found_in(text: &str) -> Vec<Block> {
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    let mut blocks = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let label = lines[at].strip_prefix("-----BEGIN ").and_then(|rest| rest.strip_suffix("-----"));
        at += 1;
        let Some(label) = label else { continue };
        let end = format!("-----END {label}-----");
        // What stands before another beginning is no base64, so that no line is looked at twice.
        let is_edge = |line: &&str| line.starts_with("-----END ") || line.starts_with("-----BEGIN ");
        let Some(length) = lines[at..].iter().position(is_edge) else { break };
        let content = &lines[at..at + length];
        if lines[at + length] != end || content.iter().any(|line| line.contains(':')) {
            continue;
        }
        let base64: Zeroizing<String> =
            Zeroizing::new(content.iter().flat_map(|line| line.split_whitespace()).collect());
        if let Ok(der) = BASE64.decode(base64.as_bytes()) {
            blocks.push(Block { label: label.to_owned(), line: at, der: Zeroizing::new(der) });
            at += length + 1;
        }
    }
    blocks
}

/// Writes one block with a line break at its end.
pub fn encode(label: &str, der: &[u8]) -> Zeroizing<String> {
    let base64 = Zeroizing::new(BASE64.encode(der));
    // Allocated once: growing would leave copies of a key behind.
    let mut out = Zeroizing::new(String::with_capacity(base64.len() + base64.len() / 64 + 2 * label.len() + 40));
    out.push_str(&format!("-----BEGIN {label}-----\n"));
    let mut rest = base64.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(64));
        out.push_str(line);
        out.push('\n');
        rest = tail;
    }
    out.push_str(&format!("-----END {label}-----\n"));
    out
}

fn is_label(label: &str) -> bool {
    !label.is_empty() && label.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == ' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: &str = "-----BEGIN CERTIFICATE-----\nAAEC\n-----END CERTIFICATE-----\n";

    /// Somebody else's text: looked at once for each beginning it would take hours.
    #[test]
    fn beginnings_without_an_end_cost_little() {
        let text = format!("{}-----END A-----\n{BLOCK}", "-----BEGIN A-----\n".repeat(200_000));
        let (say, hear) = std::sync::mpsc::channel();
        std::thread::spawn(move || say.send(found_in(&text)));
        let found =
            hear.recv_timeout(std::time::Duration::from_secs(60)).expect("no line is looked at again and again");
        assert_eq!(found.iter().map(|block| block.label.as_str()).collect::<Vec<_>>(), ["A", "CERTIFICATE"]);
    }

    #[test]
    fn reads_what_it_writes() {
        let der: Vec<u8> = (0..=255).collect();
        let text = encode("CERTIFICATE", &der);
        assert!(text.lines().all(|line| line.len() <= 64));
        let blocks = parse(&format!("{}\r\n\n{BLOCK}", text.replace('\n', "\r\n"))).unwrap();
        assert_eq!(
            (blocks.len(), blocks[0].der.as_slice(), blocks[1].der.as_slice()),
            (2, der.as_slice(), [0, 1, 2].as_slice())
        );
    }

    #[test]
    fn what_stands_between_blocks_is_passed_over_where_it_is_in_use_already() {
        let found = |text: &str| -> Vec<(String, usize)> {
            found_in(text).into_iter().map(|block| (block.label, block.line)).collect()
        };
        let one = |line| vec![("CERTIFICATE".to_owned(), line)];
        assert_eq!(found(BLOCK), one(1));
        assert_eq!(found(BLOCK.trim_end()), one(1));
        let text = format!("Certificate:\n    Data: x\n{BLOCK}# the end\n");
        assert_eq!(found(&text), one(3));
        let bag = format!(
            "Bag Attributes\n    friendlyName: x\nKey Attributes: <No Attributes>\r\n{}",
            BLOCK.replace('\n', "\r\n")
        );
        assert_eq!(found(&bag), one(4));
        assert_eq!(found(&format!("-----BEGIN X-----\n{BLOCK}")), one(2));
        assert_eq!(
            found(&format!("{BLOCK}-----BEGIN CERTIFICATE-----\nA!\n-----END CERTIFICATE-----\n{BLOCK}")).len(),
            2
        );
        assert_eq!(found("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4\nAAEC\n-----END RSA PRIVATE KEY-----\n"), []);
        assert_eq!(found("no block"), []);
    }

    #[test]
    fn says_where_it_is_wrong() {
        let cases = [
            (String::new(), PemError::Empty),
            ("\n \n".into(), PemError::Empty),
            (format!("{BLOCK}# root of east\n{BLOCK}"), PemError::Junk { line: 4 }),
            (format!("subject=CN=x\n{BLOCK}"), PemError::Junk { line: 1 }),
            ("-----BEGIN CERTIFICATE\nAAEC".into(), PemError::Begin { line: 1 }),
            (
                "\n-----BEGIN CERTIFICATE-----\nAAEC\n".into(),
                PemError::Unterminated { label: "CERTIFICATE".into(), line: 2 },
            ),
            (BLOCK.replace("END CERTIFICATE", "END X"), PemError::EndMismatch { label: "CERTIFICATE".into(), line: 3 }),
            (
                format!("-----BEGIN CERTIFICATE-----\nAAEC\n{BLOCK}"),
                PemError::EndMismatch { label: "CERTIFICATE".into(), line: 3 },
            ),
            (BLOCK.replace("AAEC", "AA!C"), PemError::Base64 { label: "CERTIFICATE".into(), line: 1 }),
            (BLOCK.replace("AAEC\n", ""), PemError::Base64 { label: "CERTIFICATE".into(), line: 1 }),
            (
                "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n".into(),
                PemError::Header { label: "RSA PRIVATE KEY".into(), line: 2 },
            ),
        ];
        for (text, error) in cases {
            assert_eq!(parse(&text).unwrap_err(), error, "{text}");
        }
    }
}
