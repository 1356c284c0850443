//! Chance that is the same on every machine, and what it does to bytes, texts and JSON.

use serde_json::{Map, Value as Json};

/// xorshift64*, which is enough for this and needs no crate.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        let mut random = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0xd1b5_4a32_d192_ed03);
        if random.0 == 0 {
            random.0 = 1;
        }
        random.next();
        random
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        ((self.next() >> 16) % bound.max(1) as u64) as usize
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// Pieces that mean something to one reader or another.
const PIECES: &[&[u8]] = &[
    b"{{",
    b"}}",
    b"{{-",
    b"-}}",
    b"(",
    b")",
    b"[",
    b"]",
    b"{",
    b"}",
    b"\"",
    b"'",
    b"`",
    b"|",
    b": ",
    b"- ",
    b"&a ",
    b"*a",
    b"<<: *a",
    b"!!binary ",
    b"|\n ",
    b">-\n ",
    b"? ",
    b"---\n",
    b"...\n",
    b"%YAML 1.2\n",
    b"\t",
    b"\r\n",
    b"\0",
    b"\xff",
    b"\xc0\x80",
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf",
    b"null",
    b"~",
    b"true",
    b"-1",
    b"0",
    b"1e999",
    b"9223372036854775808",
    b"-0.0",
    b".nan",
    b"0x7fffffffffffffff",
    b"18446744073709551616",
    b"{{ range until 99999 }}",
    b"{{ end }}",
    b"{{ include \"a\" . }}",
    b"{{ define \"a\" }}",
    b"{{ if ",
    b"{{ with ",
    b" | toYaml",
    b" | fromYaml",
    b" | nindent 99999",
    b" | repeat 99999",
    b" | quote",
    b"$x := ",
    b".Values.",
    b"$.Values",
    b"tpl ",
    b"printf \"%999999d\" ",
    b"regexMatch \"(a*)*b\" ",
    b"mergeOverwrite ",
    b"list ",
    b"dict ",
    b"\\u0000",
    b"\\ud800",
    b"\\",
    b"/",
    b"..",
    b"%s",
    b"-----BEGIN CERTIFICATE-----\n",
    b"-----END CERTIFICATE-----\n",
    b"\x30\x84\xff\xff\xff\xff",
    b"\x30\x80",
    b"\xdd\xff\xff\xff\xff",
    b"\xdf\xff\xff\xff\xff",
    b"\xc9\xff\xff\xff\xff\x0c",
    b"\xd4\x00\x00",
    b"\xc7\x00\x0c",
    b"\x91",
    b"\x81",
    b"\xc0",
];

/// Bytes like these, but not these.
pub fn bytes(random: &mut Random, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = random.pick(corpus).clone();
    for _ in 0..=random.below(6) {
        let at = random.below(bytes.len() + 1);
        match random.below(10) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            1 if at < bytes.len() => bytes[at] = random.next() as u8,
            2 => bytes.truncate(at),
            3 => {
                let end = (at + random.below(40)).min(bytes.len());
                bytes.drain(at..end);
            }
            4 => {
                let end = (at + random.below(200)).min(bytes.len());
                let copy = bytes[at..end].to_vec();
                let times = [1, 1, 2, 8, 300][random.below(5)];
                for _ in 0..times {
                    bytes.splice(at..at, copy.iter().copied());
                }
            }
            5 => {
                let other = random.pick(corpus);
                let (from, length) = (random.below(other.len() + 1), random.below(300));
                let part = &other[from..(from + length).min(other.len())];
                bytes.splice(at..at, part.iter().copied());
            }
            6 if random.one_in(8) => {
                let piece = *random.pick(PIECES);
                let many: Vec<u8> = piece.iter().copied().cycle().take(piece.len() * random.below(3000)).collect();
                bytes.splice(at..at, many);
            }
            _ => {
                let piece = random.pick(PIECES).iter().copied();
                bytes.splice(at..at, piece);
            }
        }
        if bytes.len() > 200_000 {
            bytes.truncate(200_000);
        }
    }
    bytes
}

pub fn text(random: &mut Random, corpus: &[Vec<u8>]) -> String {
    String::from_utf8_lossy(&bytes(random, corpus)).into_owned()
}

/// JSON like this, with members that are gone, doubled, swapped or of another kind.
pub fn json(random: &mut Random, value: &Json) -> Json {
    let count = count(value).max(1);
    let mut changed = value.clone();
    for _ in 0..=random.below(4) {
        let mut at = random.below(count);
        let odd = odd(random);
        put(&mut changed, &mut at, random, odd);
    }
    changed
}

fn count(value: &Json) -> usize {
    1 + match value {
        Json::Array(items) => items.iter().map(count).sum(),
        Json::Object(members) => members.values().map(count).sum(),
        _ => 0usize,
    }
}

/// Puts `odd` in the place of the node with this number, or changes the collection there.
fn put(value: &mut Json, at: &mut usize, random: &mut Random, odd: Json) -> bool {
    if *at == 0 {
        match value {
            Json::Object(members) if !random.one_in(3) => collection(members, random, odd),
            Json::Array(items) if !random.one_in(3) => match random.below(3) {
                0 => items.push(odd),
                1 => items.extend(items.clone()),
                _ => items.reverse(),
            },
            Json::String(text) if random.one_in(2) => *text = self::text(random, &[text.clone().into_bytes()]),
            _ => *value = odd,
        }
        return true;
    }
    *at -= 1;
    match value {
        Json::Array(items) => items.iter_mut().any(|item| put(item, at, random, odd.clone())),
        Json::Object(members) => members.values_mut().any(|member| put(member, at, random, odd.clone())),
        _ => false,
    }
}

fn collection(members: &mut Map<String, Json>, random: &mut Random, odd: Json) {
    let keys: Vec<String> = members.keys().cloned().collect();
    let Some(key) = (!keys.is_empty()).then(|| random.pick(&keys).clone()) else {
        members.insert(String::new(), odd);
        return;
    };
    match random.below(4) {
        0 => drop(members.remove(&key)),
        1 => drop(members.insert(key, odd)),
        2 => {
            let value = members.remove(&key).unwrap_or_default();
            members.insert(self::text(random, &[key.into_bytes()]), value);
        }
        _ => {
            let other = random.pick(&keys).clone();
            let value = members.get(&other).cloned().unwrap_or_default();
            members.insert(key, value);
        }
    }
}

fn odd(random: &mut Random) -> Json {
    match random.below(14) {
        0 => Json::Null,
        1 => Json::Bool(random.one_in(2)),
        2 => random.next().into(),
        3 => (random.next() as i64).into(),
        4 => 1e300.into(),
        5 => "".into(),
        6 => "x".repeat(random.below(20_000)).into(),
        7 => "\u{202e}\u{0}e\u{301}\u{10ffff}".into(),
        8 => Json::Array(Vec::new()),
        9 => Json::Object(Map::new()),
        10 => {
            let depth = random.below(110);
            (0..depth).fold(Json::Null, |inner, _| Json::Array(vec![inner]))
        }
        11 => {
            let depth = random.below(110);
            (0..depth).fold("x".into(), |inner, _| Json::Object([("a".to_owned(), inner)].into_iter().collect()))
        }
        12 => vec![Json::from("a"); random.below(2000)].into(),
        _ => "2026-13-45T99:99:99Z".into(),
    }
}
