//! The msgpack form of values, as Terraform's cores write and read it.
//!
//! Decoding follows the type, so each error names the attribute; it never recurses deeper than the type does and never
//! allocates ahead of the input, so hostile bytes end in an error.

use std::collections::BTreeMap;

use rmp::Marker;

use super::{Bound, Dyn, Error, MAX_DEPTH, Number, Problem, Refinements, Type, normalise};

/// The extension type of a refined unknown value; any other extension is an unknown value too.
const REFINED: i8 = 12;
/// The cores refuse longer refinements.
const MAX_REFINEMENT: usize = 1024;

/// Keys of a refinement's map.
mod refinement {
    pub const NULLNESS: u64 = 1;
    pub const PREFIX: u64 = 2;
    pub const MIN: u64 = 3;
    pub const MAX: u64 = 4;
    pub const MIN_LENGTH: u64 = 5;
    pub const MAX_LENGTH: u64 = 6;
}

/// Reads one value of the given type; the bytes must hold nothing else.
pub fn decode(bytes: &[u8], ty: &Type) -> Result<Dyn, Error> {
    let mut input = Input { rest: bytes };
    let value = input.value(ty, 0)?;
    match input.rest.len() {
        0 => Ok(value),
        trailing => Err(Error::new(Problem::Trailing(trailing))),
    }
}

/// Writes a value as the given type. Attributes an object lacks are written as null; what the type does not know is
/// an error.
pub fn encode(value: &Dyn, ty: &Type) -> Result<Vec<u8>, Error> {
    let mut out = Vec::with_capacity(256);
    write(&mut out, value, ty, 0)?;
    Ok(out)
}

struct Input<'a> {
    rest: &'a [u8],
}

fn truncated() -> Error {
    Error::new(Problem::Truncated)
}

impl<'a> Input<'a> {
    fn value(&mut self, ty: &Type, depth: usize) -> Result<Dyn, Error> {
        if depth > MAX_DEPTH {
            return Err(Error::new(Problem::TooDeep));
        }
        match self.peek()? {
            Marker::Null => {
                self.marker()?;
                return Ok(Dyn::Null);
            }
            Marker::FixExt1
            | Marker::FixExt2
            | Marker::FixExt4
            | Marker::FixExt8
            | Marker::FixExt16
            | Marker::Ext8
            | Marker::Ext16
            | Marker::Ext32 => return self.unknown(),
            _ => {}
        }
        match ty {
            Type::String => Ok(Dyn::String(self.string(ty)?)),
            Type::Bool => match self.marker()? {
                Marker::True => Ok(Dyn::Bool(true)),
                Marker::False => Ok(Dyn::Bool(false)),
                other => Err(unexpected(ty, other)),
            },
            Type::Number => Ok(Dyn::Number(self.number(ty)?)),
            Type::List(element) => {
                let count = self.array(ty)?;
                Ok(Dyn::List(self.elements(count, element, depth)?))
            }
            Type::Set(element) => {
                let count = self.array(ty)?;
                Ok(Dyn::set(self.elements(count, element, depth)?))
            }
            Type::Map(element) => {
                let count = self.map(ty)?;
                let mut elements = BTreeMap::new();
                for _ in 0..count {
                    let key = self.string(&Type::String)?;
                    let value = self.value(element, depth + 1).map_err(|e| e.in_key(&key))?;
                    elements.insert(key, value);
                }
                Ok(Dyn::Map(elements))
            }
            Type::Object(attributes) => self.object(attributes, depth),
            Type::Tuple(types) => {
                let found = self.array(ty)? as usize;
                if found != types.len() {
                    return Err(Error::new(Problem::Length { expected: types.len(), found }));
                }
                let element = |(i, ty)| self.value(ty, depth + 1).map_err(|e| e.in_index(i));
                Ok(Dyn::Tuple(types.iter().enumerate().map(element).collect::<Result<_, _>>()?))
            }
            Type::Dynamic => {
                if self.array(ty)? != 2 {
                    return Err(Error::new(Problem::Type));
                }
                let spelled = self.bytes_or_string(ty)?;
                let json = serde_json::from_slice(spelled).map_err(|_| Error::new(Problem::Type))?;
                let ty = Type::from_json(&json).ok_or(Error::new(Problem::Type))?;
                let value = self.value(&ty, depth + 1)?;
                Ok(Dyn::Dynamic(ty, Box::new(value)))
            }
        }
    }

    fn elements(&mut self, count: u32, ty: &Type, depth: usize) -> Result<Vec<Dyn>, Error> {
        (0..count as usize).map(|i| self.value(ty, depth + 1).map_err(|e| e.in_index(i))).collect()
    }

    fn object(&mut self, types: &BTreeMap<String, Type>, depth: usize) -> Result<Dyn, Error> {
        let count = self.map(&Type::Object(BTreeMap::new()))?;
        let mut attributes = BTreeMap::new();
        for _ in 0..count {
            let name = self.string(&Type::String)?;
            let Some(ty) = types.get(&name) else {
                return Err(Error::new(Problem::UnexpectedAttribute(name)));
            };
            let value = self.value(ty, depth + 1).map_err(|e| e.in_attr(&name))?;
            attributes.insert(name, value);
        }
        match types.keys().find(|name| !attributes.contains_key(*name)) {
            Some(missing) => Err(Error::new(Problem::MissingAttribute(missing.clone()))),
            None => Ok(Dyn::Object(attributes)),
        }
    }

    fn unknown(&mut self) -> Result<Dyn, Error> {
        let length = match self.marker()? {
            Marker::FixExt1 => 1,
            Marker::FixExt2 => 2,
            Marker::FixExt4 => 4,
            Marker::FixExt8 => 8,
            Marker::FixExt16 => 16,
            Marker::Ext8 => self.be::<1>()? as usize,
            Marker::Ext16 => self.be::<2>()? as usize,
            _ => self.be::<4>()? as usize,
        };
        let kind = self.be::<1>()? as u8 as i8;
        let payload = self.take(length)?;
        if kind != REFINED || length > MAX_REFINEMENT {
            return Ok(Dyn::UNKNOWN);
        }
        Ok(Dyn::Unknown(Input { rest: payload }.refinements().ok().flatten().map(Box::new)))
    }

    /// A refinement is advice: one that cannot be read, or that is new to us, counts as absent.
    fn refinements(&mut self) -> Result<Option<Refinements>, Error> {
        let mut found = Refinements::default();
        for _ in 0..self.map(&Type::Dynamic)? {
            let key = self.number(&Type::Number)?.as_i64().unwrap_or(0) as u64;
            match key {
                refinement::NULLNESS => found.null = Some(self.marker()? == Marker::True),
                refinement::PREFIX => found.prefix = Some(self.string(&Type::String)?),
                refinement::MIN => found.min = Some(self.bound()?),
                refinement::MAX => found.max = Some(self.bound()?),
                refinement::MIN_LENGTH => found.min_length = self.length()?,
                refinement::MAX_LENGTH => found.max_length = self.length()?,
                _ => break,
            }
        }
        Ok((found != Refinements::default()).then_some(found))
    }

    fn bound(&mut self) -> Result<Bound, Error> {
        self.array(&Type::Dynamic)?;
        Ok(Bound { number: self.number(&Type::Number)?, inclusive: self.marker()? == Marker::True })
    }

    fn length(&mut self) -> Result<Option<u64>, Error> {
        Ok(self.number(&Type::Number)?.as_i64().and_then(|length| u64::try_from(length).ok()))
    }

    fn number(&mut self, ty: &Type) -> Result<Number, Error> {
        let signed = |value: i64| Ok(Number::from(value));
        let parsed = |result: Result<Number, _>| result.map_err(|e| Error::new(Problem::Number(e)));
        match self.peek()? {
            Marker::FixStr(_) | Marker::Str8 | Marker::Str16 | Marker::Str32 => parsed(self.string(ty)?.parse()),
            _ => match self.marker()? {
                Marker::FixPos(value) => signed(value.into()),
                Marker::FixNeg(value) => signed(value.into()),
                Marker::U8 => signed(self.be::<1>()? as i64),
                Marker::U16 => signed(self.be::<2>()? as i64),
                Marker::U32 => signed(self.be::<4>()? as i64),
                Marker::U64 => Ok(Number::from(self.be::<8>()?)),
                Marker::I8 => signed(self.be::<1>()? as u8 as i8 as i64),
                Marker::I16 => signed(self.be::<2>()? as u16 as i16 as i64),
                Marker::I32 => signed(self.be::<4>()? as u32 as i32 as i64),
                Marker::I64 => signed(self.be::<8>()? as i64),
                Marker::F32 => parsed(Number::try_from(f32::from_bits(self.be::<4>()? as u32) as f64)),
                Marker::F64 => parsed(Number::try_from(f64::from_bits(self.be::<8>()?))),
                other => Err(unexpected(ty, other)),
            },
        }
    }

    fn string(&mut self, ty: &Type) -> Result<String, Error> {
        let bytes = self.bytes_or_string(ty)?;
        std::str::from_utf8(bytes).map(normalise).map_err(|_| Error::new(Problem::Utf8))
    }

    fn bytes_or_string(&mut self, ty: &Type) -> Result<&'a [u8], Error> {
        let length = match self.marker()? {
            Marker::FixStr(length) => length as usize,
            Marker::Str8 | Marker::Bin8 => self.be::<1>()? as usize,
            Marker::Str16 | Marker::Bin16 => self.be::<2>()? as usize,
            Marker::Str32 | Marker::Bin32 => self.be::<4>()? as usize,
            other => return Err(unexpected(ty, other)),
        };
        self.take(length)
    }

    fn array(&mut self, ty: &Type) -> Result<u32, Error> {
        match self.marker()? {
            Marker::FixArray(count) => Ok(count.into()),
            Marker::Array16 => Ok(self.be::<2>()? as u32),
            Marker::Array32 => Ok(self.be::<4>()? as u32),
            other => Err(unexpected(ty, other)),
        }
    }

    fn map(&mut self, ty: &Type) -> Result<u32, Error> {
        match self.marker()? {
            Marker::FixMap(count) => Ok(count.into()),
            Marker::Map16 => Ok(self.be::<2>()? as u32),
            Marker::Map32 => Ok(self.be::<4>()? as u32),
            other => Err(unexpected(ty, other)),
        }
    }

    fn peek(&self) -> Result<Marker, Error> {
        self.rest.first().map(|byte| Marker::from_u8(*byte)).ok_or_else(truncated)
    }

    fn marker(&mut self) -> Result<Marker, Error> {
        self.take(1).map(|byte| Marker::from_u8(byte[0]))
    }

    fn be<const N: usize>(&mut self) -> Result<u64, Error> {
        Ok(self.take(N)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Error> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or_else(truncated)?;
        self.rest = rest;
        Ok(taken)
    }
}

fn unexpected(ty: &Type, found: Marker) -> Error {
    let found = match found {
        Marker::True | Marker::False => "a bool",
        Marker::FixStr(_) | Marker::Str8 | Marker::Str16 | Marker::Str32 => "a string",
        Marker::Bin8 | Marker::Bin16 | Marker::Bin32 => "bytes",
        Marker::FixArray(_) | Marker::Array16 | Marker::Array32 => "a list",
        Marker::FixMap(_) | Marker::Map16 | Marker::Map32 => "a map",
        Marker::Null => "null",
        Marker::Reserved => "a reserved byte",
        _ => "a number",
    };
    Error::expected(ty.describe(), found)
}

fn write(out: &mut Vec<u8>, value: &Dyn, ty: &Type, depth: usize) -> Result<(), Error> {
    use rmp::encode as mp;
    if depth > MAX_DEPTH {
        return Err(Error::new(Problem::TooDeep));
    }
    match (value, ty) {
        (Dyn::Null, _) => out.push(Marker::Null.to_u8()),
        (Dyn::Unknown(None), _) => out.extend([Marker::FixExt1.to_u8(), 0, 0]),
        (Dyn::Unknown(Some(refinements)), _) => write_refined(out, refinements),
        (Dyn::Dynamic(inner, value), Type::Dynamic) => {
            if value.is_unknown() && *inner == Type::Dynamic {
                return write(out, value, inner, depth + 1);
            }
            infallible(mp::write_array_len(out, 2));
            infallible(mp::write_bin(out, inner.to_json().to_string().as_bytes()));
            write(out, value, inner, depth + 1)?;
        }
        (Dyn::Bool(value), Type::Bool) => out.push(if *value { Marker::True } else { Marker::False }.to_u8()),
        (Dyn::Number(number), Type::Number) => write_number(out, number),
        (Dyn::String(text), Type::String) => infallible(mp::write_str(out, &normalise(text))),
        (Dyn::List(elements), Type::List(ty)) => write_elements(out, elements, ty, depth)?,
        (Dyn::Set(elements), Type::Set(ty)) => write_elements(out, elements, ty, depth)?,
        (Dyn::Map(elements), Type::Map(ty)) => {
            infallible(mp::write_map_len(out, elements.len() as u32));
            for (key, value) in elements {
                infallible(mp::write_str(out, &normalise(key)));
                write(out, value, ty, depth + 1).map_err(|e| e.in_key(key))?;
            }
        }
        (Dyn::Object(attributes), Type::Object(types)) => {
            if let Some(extra) = attributes.keys().find(|name| !types.contains_key(*name)) {
                return Err(Error::new(Problem::UnexpectedAttribute(extra.clone())));
            }
            infallible(mp::write_map_len(out, types.len() as u32));
            for (name, ty) in types {
                infallible(mp::write_str(out, name));
                let value = attributes.get(name).unwrap_or(&Dyn::Null);
                write(out, value, ty, depth + 1).map_err(|e| e.in_attr(name))?;
            }
        }
        (Dyn::Tuple(elements), Type::Tuple(types)) => {
            if elements.len() != types.len() {
                return Err(Error::new(Problem::Length { expected: types.len(), found: elements.len() }));
            }
            infallible(mp::write_array_len(out, elements.len() as u32));
            for (i, (element, ty)) in elements.iter().zip(types).enumerate() {
                write(out, element, ty, depth + 1).map_err(|e| e.in_index(i))?;
            }
        }
        (value, ty) => return Err(Error::expected(ty.describe(), value.kind())),
    }
    Ok(())
}

fn write_elements(out: &mut Vec<u8>, elements: &[Dyn], ty: &Type, depth: usize) -> Result<(), Error> {
    infallible(rmp::encode::write_array_len(out, elements.len() as u32));
    for (i, element) in elements.iter().enumerate() {
        write(out, element, ty, depth + 1).map_err(|e| e.in_index(i))?;
    }
    Ok(())
}

fn write_number(out: &mut Vec<u8>, number: &Number) {
    use rmp::encode as mp;
    if let Some(value) = number.as_i64() {
        infallible(mp::write_sint(out, value));
    } else if let Some(value) = number.as_exact_fraction() {
        infallible(mp::write_f64(out, value));
    } else {
        infallible(mp::write_str(out, &number.to_string()));
    }
}

fn write_refined(out: &mut Vec<u8>, refinements: &Refinements) {
    use rmp::encode as mp;
    let Refinements { null, prefix, min, max, min_length, max_length } = refinements;
    let count =
        [null.is_some(), prefix.is_some(), min.is_some(), max.is_some(), min_length.is_some(), max_length.is_some()];
    let mut payload = Vec::new();
    infallible(mp::write_map_len(&mut payload, count.iter().filter(|set| **set).count() as u32));
    let key = |payload: &mut Vec<u8>, key| infallible(mp::write_uint(payload, key));
    if let Some(null) = null {
        key(&mut payload, refinement::NULLNESS);
        payload.push(if *null { Marker::True } else { Marker::False }.to_u8());
    }
    if let Some(prefix) = prefix {
        key(&mut payload, refinement::PREFIX);
        infallible(mp::write_str(&mut payload, prefix));
    }
    for (name, bound) in [(refinement::MIN, min), (refinement::MAX, max)] {
        if let Some(bound) = bound {
            key(&mut payload, name);
            infallible(mp::write_array_len(&mut payload, 2));
            write_number(&mut payload, &bound.number);
            payload.push(if bound.inclusive { Marker::True } else { Marker::False }.to_u8());
        }
    }
    for (name, length) in [(refinement::MIN_LENGTH, min_length), (refinement::MAX_LENGTH, max_length)] {
        if let Some(length) = length {
            key(&mut payload, name);
            infallible(mp::write_uint(&mut payload, *length));
        }
    }
    if payload.len() > MAX_REFINEMENT {
        return out.extend([Marker::FixExt1.to_u8(), 0, 0]);
    }
    infallible(mp::write_ext_meta(out, payload.len() as u32, REFINED));
    out.extend(payload);
}

/// Writing to a `Vec` cannot fail; rmp's signatures cannot say so.
fn infallible<T, E>(result: Result<T, E>) {
    debug_assert!(result.is_ok());
}
