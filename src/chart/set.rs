//! `--set` and `--set-string`: values as `a.b=1,c[0].d={x,y}`.
use serde_json::{Map, Value as Json};

use super::{Error, Values};

const MAX_INDEX: usize = 65536;
const MAX_NESTING: usize = 30;

impl Values {
    /// Sets values as `--set` does: `true`, `false`, `null` and decimal integers are not text.
    pub fn set(&mut self, assignments: &str) -> Result<(), Error> {
        self.assign(assignments, Typed::Guessed)
    }

    /// Sets values as `--set-string` does: all of them are text.
    pub fn set_string(&mut self, assignments: &str) -> Result<(), Error> {
        self.assign(assignments, Typed::Text)
    }

    fn assign(&mut self, assignments: &str, typed: Typed) -> Result<(), Error> {
        let mut parser = Parser { rest: assignments.chars().collect(), typed, path: Vec::new(), integers: Vec::new() };
        parser.rest.reverse();
        let result = parser.all(&mut self.map);
        self.integers.append(&mut parser.integers);
        result.map_err(|message| Error::Values(format!("failed parsing --set data: {message}")))
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Typed {
    Guessed,
    Text,
}

struct Parser {
    /// Reversed: the next character is the last.
    rest: Vec<char>,
    typed: Typed,
    path: Vec<String>,
    /// Where a number is an int64, which values from YAML never are.
    integers: Vec<Vec<String>>,
}

impl Parser {
    fn all(&mut self, data: &mut Map<String, Json>) -> Result<(), String> {
        while !self.rest.is_empty() {
            self.path.clear();
            self.key(data, 0)?;
        }
        Ok(())
    }

    fn key(&mut self, data: &mut Map<String, Json>, nesting: usize) -> Result<(), String> {
        let (key, stop) = self.until(&['=', '[', ',', '.']);
        let Some(stop) = stop else {
            return if key.is_empty() { Ok(()) } else { Err(format!("key {key:?} has no value")) };
        };
        self.path.push(key.clone());
        match stop {
            '=' => {
                let value = self.value()?;
                put(data, key, value);
            }
            '[' => {
                let index = self.index()?;
                let mut list = match data.get(&key) {
                    None => Vec::new(),
                    Some(Json::Array(list)) => list.clone(),
                    Some(_) => return Err(format!("unable to parse key: {key:?} is not a list")),
                };
                self.item(&mut list, index, nesting)?;
                put(data, key, Json::Array(list));
            }
            ',' => return Err(format!("key {key:?} has no value (cannot end with ,)")),
            _ => {
                if nesting + 1 > MAX_NESTING {
                    return Err(format!(
                        "value name nested level is greater than maximum supported nested level of {MAX_NESTING}"
                    ));
                }
                let mut inner = match data.get(&key) {
                    None => Map::new(),
                    Some(Json::Object(inner)) => inner.clone(),
                    Some(_) => return Err(format!("unable to parse key: {key:?} is not a map")),
                };
                self.key(&mut inner, nesting + 1)?;
                if inner.is_empty() {
                    return Err(format!("key map {key:?} has no value"));
                }
                put(data, key, Json::Object(inner));
            }
        }
        Ok(())
    }

    fn item(&mut self, list: &mut Vec<Json>, index: usize, nesting: usize) -> Result<(), String> {
        self.path.push(index.to_string());
        let (between, stop) = self.until(&['[', '.', '=']);
        if !between.is_empty() {
            return Err(format!("unexpected data at end of array index: {between:?}"));
        }
        let present = list.get(index).cloned();
        let value = match (stop, present) {
            (Some('='), _) => self.value()?,
            (Some('['), present) => {
                let next = self.index()?;
                let mut inner = match present {
                    Some(Json::Array(inner)) => inner,
                    None | Some(Json::Null) => Vec::new(),
                    Some(_) => return Err(format!("unable to parse key: item {index} is not a list")),
                };
                self.item(&mut inner, next, nesting)?;
                Json::Array(inner)
            }
            (Some(_), present) => {
                let mut inner = match present {
                    Some(Json::Object(inner)) => inner,
                    _ => Map::new(),
                };
                self.key(&mut inner, nesting)?;
                Json::Object(inner)
            }
            (None, _) => return Ok(()),
        };
        if list.len() <= index {
            list.resize(index + 1, Json::Null);
        }
        list[index] = value;
        Ok(())
    }

    fn index(&mut self) -> Result<usize, String> {
        let (digits, stop) = self.until(&[']']);
        if stop.is_none() {
            return Err("error parsing index: EOF".to_owned());
        }
        let index: i64 = digits.parse().map_err(|_| format!("error parsing index: {digits:?} is not a number"))?;
        match usize::try_from(index) {
            Ok(index) if index <= MAX_INDEX => Ok(index),
            Ok(_) => Err(format!("index of {index} is greater than maximum supported index of {MAX_INDEX}")),
            Err(_) => Err(format!("negative {index} index not allowed")),
        }
    }

    fn value(&mut self) -> Result<Json, String> {
        if self.rest.last() != Some(&'{') {
            let (text, _) = self.until(&[',']);
            let path = self.path.clone();
            return Ok(self.typed(text, path));
        }
        self.rest.pop();
        let mut list = Vec::new();
        loop {
            let (text, stop) = self.until(&[',', '}']);
            let mut path = self.path.clone();
            path.push(list.len().to_string());
            list.push(self.typed(text, path));
            match stop {
                Some('}') => break,
                Some(_) => {}
                None => return Err("list must terminate with '}'".to_owned()),
            }
        }
        if self.rest.last() == Some(&',') {
            self.rest.pop();
        }
        Ok(Json::Array(list))
    }

    fn typed(&mut self, text: String, path: Vec<String>) -> Json {
        if self.typed == Typed::Text {
            return Json::String(text);
        }
        for (word, value) in [("true", Json::Bool(true)), ("false", Json::Bool(false)), ("null", Json::Null)] {
            if text.eq_ignore_ascii_case(word) {
                return value;
            }
        }
        let plain = text == "0" || !text.starts_with('0');
        match text.parse::<i64>() {
            Ok(number) if plain => {
                self.integers.push(path);
                Json::from(number)
            }
            _ => Json::String(text),
        }
    }

    /// The text before one of `stops`, which is consumed; a backslash takes the next character as it is.
    fn until(&mut self, stops: &[char]) -> (String, Option<char>) {
        let mut text = String::new();
        while let Some(c) = self.rest.pop() {
            if stops.contains(&c) {
                return (text, Some(c));
            }
            match c {
                '\\' => text.extend(self.rest.pop()),
                c => text.push(c),
            }
        }
        (text, None)
    }
}

fn put(data: &mut Map<String, Json>, key: String, value: Json) {
    if !key.is_empty() {
        data.insert(key, value);
    }
}
