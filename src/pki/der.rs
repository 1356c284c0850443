//! As much DER as it takes to exchange one field of a certificate.

/// The elements inside a constructed element, each with its header.
pub(super) fn children(element: &[u8]) -> Option<Vec<&[u8]>> {
    let (header, length) = header(element)?;
    let mut rest = element.get(header..header + length)?;
    let mut found = Vec::new();
    while !rest.is_empty() {
        let (header, length) = self::header(rest)?;
        let (child, tail) = rest.split_at_checked(header.checked_add(length)?)?;
        found.push(child);
        rest = tail;
    }
    Some(found)
}

/// A SEQUENCE of encoded elements.
pub(super) fn sequence(elements: &[&[u8]]) -> Vec<u8> {
    element(0x30, &elements.concat())
}

/// A BIT STRING of whole bytes.
pub(super) fn bit_string(bytes: &[u8]) -> Vec<u8> {
    element(0x03, &[&[0], bytes].concat())
}

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match u8::try_from(content.len()) {
        Ok(short) if short < 0x80 => out.push(short),
        _ => {
            let bytes = content.len().to_be_bytes();
            let significant = &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..];
            out.push(0x80 | significant.len() as u8);
            out.extend_from_slice(significant);
        }
    }
    out.extend_from_slice(content);
    out
}

/// Lengths of header and content of the element at the start. Tags of certificates have one byte.
fn header(bytes: &[u8]) -> Option<(usize, usize)> {
    match *bytes.get(1)? {
        short if short < 0x80 => Some((2, usize::from(short))),
        long => {
            let count = usize::from(long & 0x7f);
            if !(1..=4).contains(&count) {
                return None;
            }
            let length = bytes.get(2..2 + count)?.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
            Some((2 + count, length))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_apart_what_it_puts_together() {
        for length in [0, 1, 127, 128, 255, 256, 70_000] {
            let long = bit_string(&vec![7; length]);
            let short = bit_string(&[]);
            let whole = sequence(&[&long, &short]);
            assert_eq!(children(&whole).unwrap(), [long.as_slice(), short.as_slice()], "{length}");
        }
    }

    #[test]
    fn refuses_lengths_that_lie() {
        for bytes in [&[][..], &[0x30], &[0x30, 5, 1], &[0x30, 0x80], &[0x30, 0x85, 1, 1, 1, 1, 1], &[0x30, 2, 2, 9]] {
            assert_eq!(children(bytes), None, "{bytes:?}");
        }
    }
}
