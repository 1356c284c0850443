//! As much of Protocol Buffers and gRPC framing as four small messages take: length-delimited fields out, fields in. Pure.

/// A message under construction.
#[derive(Default)]
pub(super) struct Message(Vec<u8>);

impl Message {
    /// A field of bytes, text or a message.
    pub fn bytes(mut self, field: u32, value: &[u8]) -> Self {
        varint(&mut self.0, u64::from(field) << 3 | 2);
        varint(&mut self.0, value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    pub fn text(self, field: u32, value: &str) -> Self {
        self.bytes(field, value.as_bytes())
    }

    pub fn message(self, field: u32, value: &Message) -> Self {
        self.bytes(field, &value.0)
    }

    pub fn number(mut self, field: u32, value: u64) -> Self {
        varint(&mut self.0, u64::from(field) << 3);
        varint(&mut self.0, value);
        self
    }

    /// A `google.protobuf.Struct` whose values are texts.
    pub fn texts(entries: &[(&str, &str)]) -> Self {
        entries.iter().fold(Self::default(), |whole, (key, value)| {
            let value = Self::default().text(3, value);
            whole.message(1, &Self::default().text(1, key).message(2, &value))
        })
    }

    /// In a gRPC frame of its own, uncompressed.
    pub fn framed(&self) -> Vec<u8> {
        let mut frame = vec![0];
        frame.extend_from_slice(&u32::try_from(self.0.len()).unwrap_or(u32::MAX).to_be_bytes());
        frame.extend_from_slice(&self.0);
        frame
    }
}

/// The first message of a stream of gRPC frames, as soon as it is whole. `Err` where it is compressed, which was not asked for.
pub(super) fn first_frame(bytes: &[u8]) -> Result<Option<&[u8]>, ()> {
    let Some((head, rest)) = bytes.split_first_chunk::<5>() else { return Ok(None) };
    if head[0] != 0 {
        return Err(());
    }
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    Ok(rest.get(..length))
}

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message, in order. What cannot be read ends them.
pub(super) fn fields(mut rest: &[u8]) -> impl Iterator<Item = (u64, Field<'_>)> {
    std::iter::from_fn(move || {
        let (tag, after) = read_varint(rest)?;
        let (field, after) = match tag & 7 {
            0 => read_varint(after).map(|(number, after)| (Field::Number(number), after))?,
            1 => after.split_at_checked(8).map(|(value, after)| (Field::Bytes(value), after))?,
            2 => {
                let (length, after) = read_varint(after)?;
                let (value, after) = after.split_at_checked(usize::try_from(length).ok()?)?;
                (Field::Bytes(value), after)
            }
            5 => after.split_at_checked(4).map(|(value, after)| (Field::Bytes(value), after))?,
            _ => return None,
        };
        rest = after;
        Some((tag >> 3, field))
    })
}

/// All values of a field of bytes.
pub(super) fn all(message: &[u8], wanted: u64) -> impl Iterator<Item = &[u8]> {
    fields(message).filter_map(move |(number, field)| match field {
        Field::Bytes(bytes) if number == wanted => Some(bytes),
        _ => None,
    })
}

/// The last value of a field of bytes; none is empty.
pub(super) fn one(message: &[u8], wanted: u64) -> &[u8] {
    all(message, wanted).last().unwrap_or_default()
}

pub(super) fn text(message: &[u8], wanted: u64) -> &str {
    std::str::from_utf8(one(message, wanted)).unwrap_or_default()
}

pub(super) fn number(message: &[u8], wanted: u64) -> u64 {
    let numbers = fields(message).filter_map(|(number, field)| match field {
        Field::Number(value) if number == wanted => Some(value),
        _ => None,
    });
    numbers.last().unwrap_or_default()
}

/// The value of a map's key.
pub(super) fn entry<'a>(message: &'a [u8], map: u64, key: &str) -> &'a [u8] {
    all(message, map).find(|entry| text(entry, 1) == key).map(|entry| one(entry, 2)).unwrap_or_default()
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn read_varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0u64;
    for (index, byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f).checked_shl(u32::try_from(7 * index).ok()?)?;
        if byte & 0x80 == 0 {
            return Some((value, bytes.get(index + 1..)?));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let inner = Message::texts(&[("a", "1"), ("b", "zwei")]);
        let message = Message::default().text(1, "x").number(2, 300).message(3, &inner).text(1, "y");
        let bytes = &message.framed()[5..];
        assert_eq!(all(bytes, 1).collect::<Vec<_>>(), [b"x", b"y"]);
        assert_eq!((text(bytes, 1), number(bytes, 2)), ("y", 300));
        assert_eq!(text(entry(one(bytes, 3), 1, "b"), 3), "zwei");
        assert_eq!(entry(one(bytes, 3), 1, "c"), b"");
    }

    #[test]
    fn a_frame_is_taken_when_it_is_whole() {
        let framed = Message::default().text(1, "hello").framed();
        for end in 0..framed.len() {
            assert_eq!(first_frame(&framed[..end]), Ok(None), "{end}");
        }
        assert_eq!(first_frame(&framed).unwrap().map(|message| text(message, 1)), Some("hello"));
        assert_eq!(first_frame(&[1, 0, 0, 0, 0]), Err(()));
    }

    #[test]
    fn noise_ends_the_fields_and_nothing_else() {
        for bytes in
            [&[0xff_u8; 32][..], &[0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f, 1], &[0x0b], &[0x0d, 1], &[0x09, 1, 2], &[0x08]]
        {
            assert_eq!(fields(bytes).count(), 0, "{bytes:?}");
        }
    }
}
