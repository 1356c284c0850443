//! Checks values against a chart's `values.schema.json`, in the words of the validator Helm uses.
//!
//! The keywords of drafts 6 to 2020-12 that state something about a value; references inside the document only.
//! A schema crate would bring a second URL and format machinery for one file of 200 lines.
use regex::{Regex, RegexBuilder};
use serde_json::{Map, Value as Json};

use super::budget::{self, Budget};
use super::{Chart, funcs, json, print};

/// References that double with each step, and values held against values.
const TOO_MUCH: &str = "the schema takes more work than it may: checking the values was given up";

/// References that only lead to references, and schemas within schemas, end somewhere.
const MAX_DEPTH: usize = 200;

/// The report on a chart and its subcharts; empty when all is well.
pub(super) fn violations(chart: &Chart, values: &Map<String, Json>) -> String {
    let mut report = String::new();
    if let Some(schema) = &chart.schema {
        let checked = check(schema, values);
        match checked.and_then(|errors| budget::pay(0, 0).map(|()| errors).map_err(|_| TOO_MUCH.to_owned())) {
            Ok(errors) if errors.is_empty() => {}
            Ok(errors) => {
                report.push_str(&format!("{}:\n", chart.name()));
                let lines: Vec<String> = errors.iter().flat_map(|error| error.lines(0)).collect();
                report.push_str(&lines.join("\n"));
                report.push('\n');
            }
            Err(message) => report.push_str(&format!("{}:\n{message}", chart.name())),
        }
    }
    for subchart in &chart.dependencies {
        match values.get(subchart.name()) {
            None | Some(Json::Null) => {}
            Some(Json::Object(inner)) => report.push_str(&violations(subchart, inner)),
            Some(_) => {
                report.push_str(&format!("{}:\ninvalid type for values: expected object (map)\n", subchart.name()));
            }
        }
    }
    report
}

fn check(schema: &[u8], values: &Map<String, Json>) -> Result<Vec<Violation>, String> {
    let mut budget = Budget::of_length(schema.len());
    let root = json::parse(schema, &mut budget).map_err(|error| format!("the schema is not JSON: {error}"))?;
    let validator = Validator { root: &root };
    let mut errors = validator.schema(&root, &Json::Object(values.clone()), &Place::default(), 0)?;
    // One error that only groups others is left out at the top.
    if let [single] = &mut errors[..]
        && single.message.is_none()
        && !single.transparent
    {
        return Ok(std::mem::take(&mut single.causes));
    }
    Ok(errors)
}

struct Validator<'a> {
    root: &'a Json,
}

/// A JSON pointer being built.
#[derive(Clone, Default)]
struct Place(String);

impl Place {
    fn below(&self, key: &str) -> Self {
        Self(format!("{}/{}", self.0, key.replace('~', "~0").replace('/', "~1")))
    }
}

struct Violation {
    place: Place,
    /// Absent where several violations of one schema are grouped.
    message: Option<String>,
    /// A reference to another schema, not worth a line of its own when there is one cause.
    transparent: bool,
    causes: Vec<Violation>,
}

impl Violation {
    fn lines(&self, indent: usize) -> Vec<String> {
        let mut lines = Vec::new();
        let mut inner = indent;
        if !(self.transparent && self.causes.len() == 1) {
            let message = self.message.as_deref().unwrap_or("validation failed");
            lines.push(format!("{}- at {}: {message}", "  ".repeat(indent), quote(&self.place.0)));
            inner += 1;
        }
        lines.extend(self.causes.iter().flat_map(|cause| cause.lines(inner)));
        lines
    }
}

fn quote(text: &str) -> String {
    let quoted = print::quote(text).replace("\\\"", "\"").replace('\'', "\\'");
    format!("'{}'", &quoted[1..quoted.len() - 1])
}

type Errors = Result<Vec<Violation>, String>;

impl Validator<'_> {
    /// What is wrong with one value by one schema: nothing, or one violation, which may group several.
    fn schema(&self, schema: &Json, value: &Json, place: &Place, depth: usize) -> Errors {
        if depth > MAX_DEPTH {
            return Err("the schema is nested too deeply, or refers to itself".to_owned());
        }
        let listed = ["enum", "required"].into_iter().filter_map(|keyword| schema.get(keyword)?.as_array());
        let steps = 1 + listed.map(Vec::len).sum::<usize>() / 16;
        // What goes wrong here is told with its place, and again by whatever it is a cause of.
        budget::pay(steps, 256 + place.0.len()).map_err(|_| TOO_MUCH.to_owned())?;
        let error = |message: String| {
            vec![Violation { place: place.clone(), message: Some(message), transparent: false, causes: Vec::new() }]
        };
        let keywords = match schema {
            Json::Bool(true) => return Ok(Vec::new()),
            Json::Bool(false) => return Ok(error("false schema".to_owned())),
            Json::Object(keywords) => keywords,
            _ => return Err("a schema is neither an object nor a boolean".to_owned()),
        };
        if let Some(message) = wrong_type(keywords, value).or_else(|| wrong_choice(keywords, value)) {
            return Ok(error(message));
        }
        let mut errors = Vec::new();
        if let Some(Json::String(reference)) = keywords.get("$ref") {
            let causes = self.schema(self.resolve(reference)?, value, place, depth + 1)?;
            if !causes.is_empty() {
                let causes = ungrouped(causes);
                errors.push(Violation { place: place.clone(), message: None, transparent: true, causes });
            }
        }
        for message in simple_violations(keywords, value)? {
            errors.extend(error(message));
        }
        match value {
            Json::Object(fields) => errors.extend(self.object(keywords, fields, place, depth)?),
            Json::Array(items) => errors.extend(self.array(keywords, items, place, depth)?),
            _ => {}
        }
        errors.extend(self.combined(keywords, value, place, depth)?);
        if errors.len() > 1 {
            return Ok(vec![Violation { place: place.clone(), message: None, transparent: false, causes: errors }]);
        }
        Ok(errors)
    }

    fn resolve(&self, reference: &str) -> Result<&Json, String> {
        let unresolved = || format!("the schema refers to {reference:?}, which is not inside of it");
        let pointer = reference.strip_prefix('#').ok_or_else(unresolved)?;
        let pointer = percent_encoding::percent_decode_str(pointer).decode_utf8_lossy();
        self.root.pointer(&pointer).ok_or_else(unresolved)
    }

    fn object(&self, keywords: &Map<String, Json>, fields: &Map<String, Json>, place: &Place, depth: usize) -> Errors {
        let mut errors = Vec::new();
        let mut additional = Vec::new();
        let properties = keywords.get("properties").and_then(Json::as_object);
        let mut patterns = Vec::new();
        for (pattern, schema) in keywords.get("patternProperties").and_then(Json::as_object).into_iter().flatten() {
            patterns.push((regex(pattern)?, schema));
            budget::pay(fields.keys().map(|name| 1 + name.len() / 16).sum(), 0).map_err(|_| TOO_MUCH.to_owned())?;
        }
        for (name, value) in fields {
            let inner = place.below(name);
            let mut evaluated = false;
            if let Some(schema) = properties.and_then(|p| p.get(name)) {
                evaluated = true;
                errors.extend(self.schema(schema, value, &inner, depth + 1)?);
            }
            for (_, schema) in patterns.iter().filter(|(regex, _)| regex.is_match(name)) {
                evaluated = true;
                errors.extend(self.schema(schema, value, &inner, depth + 1)?);
            }
            match keywords.get("additionalProperties") {
                Some(Json::Bool(false)) if !evaluated => additional.push(quote(name)),
                Some(schema) if !evaluated => errors.extend(self.schema(schema, value, &inner, depth + 1)?),
                _ => {}
            }
            if let Some(schema) = keywords.get("propertyNames")
                && !self.schema(schema, &Json::String(name.clone()), place, depth + 1)?.is_empty()
            {
                let message = Some(format!("invalid propertyName {}", quote(name)));
                errors.push(Violation { place: place.clone(), message, transparent: false, causes: Vec::new() });
            }
        }
        if !additional.is_empty() {
            let message = Some(format!("additional properties {} not allowed", additional.join(", ")));
            errors.push(Violation { place: place.clone(), message, transparent: false, causes: Vec::new() });
        }
        Ok(errors)
    }

    fn array(&self, keywords: &Map<String, Json>, items: &[Json], place: &Place, depth: usize) -> Errors {
        let mut errors = Vec::new();
        let (prefix, rest) = match (keywords.get("prefixItems"), keywords.get("items")) {
            (Some(Json::Array(prefix)), rest) => (prefix.as_slice(), rest),
            (_, Some(Json::Array(prefix))) => (prefix.as_slice(), keywords.get("additionalItems")),
            (_, rest) => (&[][..], rest),
        };
        for (i, item) in items.iter().enumerate() {
            if let Some(schema) = prefix.get(i).or(rest) {
                errors.extend(self.schema(schema, item, &place.below(&i.to_string()), depth + 1)?);
            }
        }
        if let Some(schema) = keywords.get("contains") {
            let mut found = false;
            for item in items {
                found |= self.schema(schema, item, place, depth + 1)?.is_empty();
            }
            if !found {
                let message = Some("no items match contains schema".to_owned());
                errors.push(Violation { place: place.clone(), message, transparent: false, causes: Vec::new() });
            }
        }
        Ok(errors)
    }

    fn combined(&self, keywords: &Map<String, Json>, value: &Json, place: &Place, depth: usize) -> Errors {
        let mut errors = Vec::new();
        let all = |keyword: &str| -> Result<Option<Vec<Vec<Violation>>>, String> {
            let Some(Json::Array(schemas)) = keywords.get(keyword) else { return Ok(None) };
            schemas.iter().map(|s| self.schema(s, value, place, depth + 1)).collect::<Result<_, _>>().map(Some)
        };
        let mut fail = |message: &str, causes: Vec<Violation>| {
            let message = Some(message.to_owned());
            errors.push(Violation { place: place.clone(), message, transparent: false, causes });
        };
        if let Some(schema) = keywords.get("not")
            && self.schema(schema, value, place, depth + 1)?.is_empty()
        {
            fail("'not' failed", Vec::new());
        }
        if let Some(results) = all("allOf")? {
            let causes: Vec<_> = results.into_iter().flatten().collect();
            if !causes.is_empty() {
                fail("'allOf' failed", causes);
            }
        }
        if let Some(results) = all("anyOf")?
            && results.iter().all(|errors| !errors.is_empty())
        {
            fail("'anyOf' failed", results.into_iter().flatten().collect());
        }
        if let Some(results) = all("oneOf")? {
            let matched: Vec<usize> = (0..results.len()).filter(|i| results[*i].is_empty()).collect();
            match matched[..] {
                [_] => {}
                [] => fail("'oneOf' failed, none matched", results.into_iter().flatten().collect()),
                [a, b, ..] => fail(&format!("'oneOf' failed, subschemas {a}, {b} matched"), Vec::new()),
            }
        }
        if let Some(condition) = keywords.get("if") {
            let holds = self.schema(condition, value, place, depth + 1)?.is_empty();
            if let Some(schema) = keywords.get(if holds { "then" } else { "else" }) {
                errors.extend(self.schema(schema, value, place, depth + 1)?);
            }
        }
        if let (Json::Object(fields), Some(Json::Object(dependent))) = (value, keywords.get("dependentSchemas")) {
            for (_, schema) in dependent.iter().filter(|(name, _)| fields.contains_key(*name)) {
                errors.extend(self.schema(schema, value, place, depth + 1)?);
            }
        }
        Ok(errors)
    }
}

/// A reference takes over what the schema it names has grouped, wherever that was.
fn ungrouped(mut errors: Vec<Violation>) -> Vec<Violation> {
    match &mut errors[..] {
        [group] if group.message.is_none() && !group.transparent => std::mem::take(&mut group.causes),
        _ => errors,
    }
}

fn wrong_type(keywords: &Map<String, Json>, value: &Json) -> Option<String> {
    let wanted: Vec<&str> = match keywords.get("type")? {
        Json::String(one) => vec![one],
        Json::Array(several) => several.iter().filter_map(Json::as_str).collect(),
        _ => return None,
    };
    let got = match value {
        Json::Null => "null",
        Json::Bool(_) => "boolean",
        Json::Number(_) => "number",
        Json::String(_) => "string",
        Json::Array(_) => "array",
        Json::Object(_) => "object",
    };
    let whole = value.as_f64().is_some_and(|f| f.fract() == 0.0);
    if wanted.contains(&got) || (whole && wanted.contains(&"integer")) {
        return None;
    }
    // The original lists the types in the order in which it knows them.
    let order = ["null", "boolean", "number", "integer", "string", "array", "object"];
    let wanted: Vec<&str> = order.into_iter().filter(|name| wanted.contains(name)).collect();
    Some(format!("got {got}, want {}", wanted.join(" or ")))
}

fn wrong_choice(keywords: &Map<String, Json>, value: &Json) -> Option<String> {
    let show = |json: &Json| match json {
        Json::String(text) => quote(text),
        Json::Null => "<nil>".to_owned(),
        Json::Array(_) | Json::Object(_) => "value".to_owned(),
        other => other.to_string(),
    };
    if let Some(wanted) = keywords.get("const")
        && !equal(value, wanted)
    {
        let structured = matches!(wanted, Json::Array(_) | Json::Object(_));
        return Some(if structured { "'const' failed".to_owned() } else { format!("value must be {}", show(wanted)) });
    }
    let Some(Json::Array(choices)) = keywords.get("enum") else { return None };
    if choices.iter().any(|choice| equal(value, choice)) {
        return None;
    }
    if choices.iter().any(|choice| matches!(choice, Json::Array(_) | Json::Object(_))) {
        return Some("'enum' failed".to_owned());
    }
    match &choices[..] {
        [one] => Some(format!("value must be {}", show(one))),
        several => {
            let several: Vec<String> = several.iter().map(show).collect();
            Some(format!("value must be one of {}", several.join(", ")))
        }
    }
}

/// 1 and 1.0 are one number.
fn equal(a: &Json, b: &Json) -> bool {
    // Whoever asks finds out at the next step.
    budget::goes_on(1, 0)
        && match (a, b) {
            (Json::Number(x), Json::Number(y)) => x == y || x.as_f64() == y.as_f64(),
            (Json::Array(x), Json::Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(x, y)| equal(x, y)),
            (Json::Object(x), Json::Object(y)) => {
                x.len() == y.len() && x.iter().all(|(k, v)| y.get(k).is_some_and(|w| equal(v, w)))
            }
            _ => a == b,
        }
}

/// What a value's own size, text or presence of properties offends.
fn simple_violations(keywords: &Map<String, Json>, value: &Json) -> Result<Vec<String>, String> {
    let mut found = Vec::new();
    let mut sizes = |minimum: &str, maximum: &str, got: usize| {
        for (keyword, too_much) in [(minimum, false), (maximum, true)] {
            if let Some(limit) = keywords.get(keyword).and_then(Json::as_u64)
                && (if too_much { got as u64 > limit } else { (got as u64) < limit })
            {
                found.push(format!("{keyword}: got {got}, want {limit}"));
            }
        }
    };
    match value {
        Json::Object(fields) => {
            sizes("minProperties", "maxProperties", fields.len());
            let missing = |names: &[Json]| -> Vec<String> {
                names.iter().filter_map(Json::as_str).filter(|n| !fields.contains_key(*n)).map(quote).collect()
            };
            if let Some(Json::Array(required)) = keywords.get("required") {
                match missing(required) {
                    names if names.is_empty() => {}
                    names if names.len() == 1 => found.push(format!("missing property {}", names[0])),
                    names => found.push(format!("missing properties {}", names.join(", "))),
                }
            }
            if let Some(Json::Object(dependent)) = keywords.get("dependentRequired") {
                for (name, required) in dependent.iter().filter(|(name, _)| fields.contains_key(*name)) {
                    let names = missing(required.as_array().map(Vec::as_slice).unwrap_or_default());
                    if !names.is_empty() {
                        found.push(format!("properties {} required, if {} exists", names.join(", "), quote(name)));
                    }
                }
            }
        }
        Json::Array(items) => {
            sizes("minItems", "maxItems", items.len());
            if keywords.get("uniqueItems") == Some(&Json::Bool(true)) {
                let twin = twin(items)?;
                if let Some((i, j)) = twin {
                    found.push(format!("items at {i} and {j} are equal"));
                }
            }
        }
        Json::String(text) => {
            sizes("minLength", "maxLength", text.chars().count());
            if let Some(Json::String(pattern)) = keywords.get("pattern")
                && !regex_for(pattern, text)?.is_match(text)
            {
                found.push(format!("{} does not match pattern {}", quote(text), quote(pattern)));
            }
        }
        Json::Number(number) => found.extend(number_violations(keywords, number.as_f64().unwrap_or_default())),
        _ => {}
    }
    Ok(found)
}

/// The first two that are equal.
fn twin(items: &[Json]) -> Result<Option<(usize, usize)>, String> {
    for (i, item) in items.iter().enumerate() {
        for (j, earlier) in items[..i].iter().enumerate() {
            budget::pay(1, 0).map_err(|_| TOO_MUCH.to_owned())?;
            if equal(item, earlier) {
                return Ok(Some((j, i)));
            }
        }
    }
    Ok(None)
}

fn number_violations(keywords: &Map<String, Json>, got: f64) -> Vec<String> {
    let limit = |keyword: &str| keywords.get(keyword).and_then(Json::as_f64);
    let text = super::number::general;
    let mut found = Vec::new();
    for (keyword, wrong) in [
        ("minimum", limit("minimum").is_some_and(|l| got < l)),
        ("maximum", limit("maximum").is_some_and(|l| got > l)),
        ("exclusiveMinimum", limit("exclusiveMinimum").is_some_and(|l| got <= l)),
        ("exclusiveMaximum", limit("exclusiveMaximum").is_some_and(|l| got >= l)),
    ] {
        if wrong {
            found.push(format!("{keyword}: got {}, want {}", text(got), text(limit(keyword).unwrap_or_default())));
        }
    }
    if let Some(divisor) = limit("multipleOf").filter(|d| *d > 0.0)
        && (got / divisor).fract() != 0.0
    {
        found.push(format!("multipleOf: got {}, want {}", text(got), text(divisor)));
    }
    found
}

fn regex_for(pattern: &str, text: &str) -> Result<Regex, String> {
    budget::pay(text.len().saturating_mul(pattern.len()) / 64, 0).map_err(|_| TOO_MUCH.to_owned())?;
    regex(pattern)
}

fn regex(pattern: &str) -> Result<Regex, String> {
    funcs::pay_for_compiling(pattern).map_err(|_| TOO_MUCH.to_owned())?;
    RegexBuilder::new(pattern)
        .size_limit(funcs::MAX_REGEX)
        .build()
        .map_err(|_| format!("the schema has an invalid pattern {pattern:?}"))
}
