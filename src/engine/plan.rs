//! The attribute rules of a plan, in their fixed order; pure.
//!
//! [`prepare`] is all that happens before the resource's own plan step, [`replacements`] what happens after it.

use std::collections::BTreeMap;

use super::timeouts;
use super::wire::without_write_only;
use crate::schema::{Attribute, Nested, Nesting, Schema, Shape};
use crate::value::{Dyn, Path};

/// A plan before any rule was applied. All objects.
#[derive(Clone, Copy)]
pub(super) struct Inputs<'a> {
    pub schema: &'a Schema,
    pub config: &'a Dyn,
    pub prior: Option<&'a Dyn>,
    /// Prior state and configuration as merged by the core.
    pub proposed: &'a Dyn,
}

/// Applies the attribute rules to what the core proposes.
pub(super) fn prepare(inputs: Inputs<'_>) -> Dyn {
    let Inputs { schema, config, prior, proposed } = inputs;
    let attributes = &schema.attributes;
    let mut planned = proposed.clone();
    defaults(&mut planned, config, attributes);
    planned = without_write_only(planned, attributes);
    if let Some(prior) = prior {
        keep_spelling(&mut planned, prior, attributes);
        if only_timeouts_differ(&planned, prior) {
            return planned;
        }
    }
    mark_unknown(&mut planned, config, prior, attributes);
    planned
}

/// True when two objects are equal, the `timeouts` attribute left out of account: nothing needs to be done then.
pub(super) fn only_timeouts_differ(a: &Dyn, b: &Dyn) -> bool {
    match (a, b) {
        (Dyn::Object(a), Dyn::Object(b)) => {
            let rest = |object: &BTreeMap<String, Dyn>| {
                object
                    .iter()
                    .filter(|(name, _)| *name != timeouts::ATTRIBUTE)
                    .map(|(n, v)| (n.clone(), v.clone()))
                    .collect::<Vec<_>>()
            };
            a.len() == b.len() && rest(a) == rest(b)
        }
        _ => false,
    }
}

/// Fills in defaults where the configuration sets nothing.
pub(super) fn defaults(planned: &mut Dyn, config: &Dyn, attributes: &[Attribute]) {
    walk(planned, config, attributes, &mut |attribute, planned, config| {
        if let Some(default) = &attribute.default
            && config.is_null()
        {
            *planned = default.clone();
        }
    });
}

/// Where a value means the same as in `prior`, and the attribute can tell, goes back to prior's spelling.
pub(super) fn keep_spelling(value: &mut Dyn, prior: &Dyn, attributes: &[Attribute]) {
    walk(value, prior, attributes, &mut |attribute, value, prior| {
        if let Some(same) = &attribute.same
            && value != prior
            && !value.is_null()
            && !prior.is_null()
            && value.is_wholly_known()
            && same.holds(value, prior)
        {
            *value = prior.clone();
        }
    });
}

/// Visits each attribute of an object together with its counterpart, then the attributes nested in it. Elements of a
/// list pair up by index, those of a map by key, those of a set as [`counterpart`] finds them.
fn walk(value: &mut Dyn, other: &Dyn, attributes: &[Attribute], visit: &mut dyn FnMut(&Attribute, &mut Dyn, &Dyn)) {
    let Dyn::Object(values) = value else { return };
    for attribute in attributes {
        let Some(value) = values.get_mut(&attribute.name) else { continue };
        let other = other.attr(&attribute.name).unwrap_or(&Dyn::Null);
        visit(attribute, value, other);
        let Shape::Nested(Nested { nesting, attributes }) = &attribute.shape else { continue };
        match (nesting, value, other) {
            (Nesting::Single, value, other @ Dyn::Object(_)) => walk(value, other, attributes, visit),
            (Nesting::List, Dyn::List(values), Dyn::List(others)) => {
                values.iter_mut().zip(others).for_each(|(value, other)| walk(value, other, attributes, visit));
            }
            (Nesting::Map, Dyn::Map(values), Dyn::Map(others)) => {
                for (key, value) in values {
                    if let Some(other) = others.get(key) {
                        walk(value, other, attributes, visit);
                    }
                }
            }
            (Nesting::Set, value @ Dyn::Set(_), Dyn::Set(others)) => {
                let Dyn::Set(values) = std::mem::replace(value, Dyn::Null) else { continue };
                *value = Dyn::set(values.iter().cloned().map(|mut value| {
                    if let Some(other) = counterpart(&value, others) {
                        walk(&mut value, other, attributes, visit);
                    }
                    value
                }));
            }
            _ => {}
        }
    }
}

/// The element of a configured set that a planned element comes from: the one all of whose set attributes it has.
fn counterpart<'a>(planned: &Dyn, config: &'a [Dyn]) -> Option<&'a Dyn> {
    config.iter().find(|config| comes_from(planned, config))
}

fn comes_from(planned: &Dyn, config: &Dyn) -> bool {
    match (planned, config) {
        (_, Dyn::Null) => true,
        (Dyn::Object(planned), Dyn::Object(config)) => {
            config.iter().all(|(name, config)| comes_from(planned.get(name).unwrap_or(&Dyn::Null), config))
        }
        (planned, config) => planned == config,
    }
}

/// Marks computed attributes that the configuration leaves out as unknown, but for those that keep their prior value.
fn mark_unknown(planned: &mut Dyn, config: &Dyn, prior: Option<&Dyn>, attributes: &[Attribute]) {
    let Dyn::Object(values) = planned else { return };
    for attribute in attributes {
        let Some(value) = values.get_mut(&attribute.name) else { continue };
        let config = config.attr(&attribute.name).unwrap_or(&Dyn::Null);
        let prior = prior.and_then(|prior| prior.attr(&attribute.name));
        if config.is_null() {
            if attribute.computed && attribute.default.is_none() {
                *value = match prior {
                    Some(prior) if attribute.keep && !prior.is_null() => prior.clone(),
                    _ => Dyn::UNKNOWN,
                };
            }
            continue;
        }
        let Shape::Nested(Nested { nesting, attributes }) = &attribute.shape else { continue };
        match (nesting, value, config) {
            (Nesting::Single, value, config) => mark_unknown(value, config, prior, attributes),
            (Nesting::List, Dyn::List(values), Dyn::List(configs)) => {
                for (i, (value, config)) in values.iter_mut().zip(configs).enumerate() {
                    let prior = prior.and_then(|prior| prior.at(&Path::empty().index(i)));
                    mark_unknown(value, config, prior, attributes);
                }
            }
            (Nesting::Map, Dyn::Map(values), Dyn::Map(configs)) => {
                for (key, value) in values {
                    let Some(config) = configs.get(key) else { continue };
                    let prior = prior.and_then(|prior| prior.at(&Path::empty().key(key)));
                    mark_unknown(value, config, prior, attributes);
                }
            }
            (Nesting::Set, value @ Dyn::Set(_), Dyn::Set(configs)) => {
                let Dyn::Set(values) = std::mem::replace(value, Dyn::Null) else { continue };
                let priors = match prior {
                    Some(Dyn::Set(priors)) => &priors[..],
                    _ => &[],
                };
                *value = Dyn::set(values.iter().cloned().map(|mut value| {
                    // An element that was there before stays as it was, computed attributes and all.
                    if !priors.contains(&value)
                        && let Some(config) = counterpart(&value, configs)
                    {
                        mark_unknown(&mut value, config, None, attributes);
                    }
                    value
                }));
            }
            _ => {}
        }
    }
}

/// The paths whose change needs a new object: those of attributes with the `replace` rule, and those the resource
/// asked for; only where something differs.
pub(super) fn replacements(inputs: Inputs<'_>, planned: &Dyn, asked: Vec<Path>) -> Vec<Path> {
    let Some(prior) = inputs.prior else { return Vec::new() };
    let mut found = Vec::new();
    by_rule(prior, planned, inputs.config, &inputs.schema.attributes, &Path::empty(), &mut found);
    for path in asked {
        let path = up_to_set(path, prior, planned);
        if prior.at(&path) != planned.at(&path) {
            found.push(path);
        }
    }
    found.sort();
    found.dedup();
    found
}

fn by_rule(prior: &Dyn, planned: &Dyn, config: &Dyn, attributes: &[Attribute], at: &Path, found: &mut Vec<Path>) {
    for attribute in attributes {
        let (Some(before), Some(after)) = (prior.attr(&attribute.name), planned.attr(&attribute.name)) else {
            continue;
        };
        let config = config.attr(&attribute.name).unwrap_or(&Dyn::Null);
        if before == after {
            continue;
        }
        let path = at.attr(&attribute.name);
        // What the provider will compute anew is no wish of the user's.
        let chosen = !(after.is_unknown() && config.is_null());
        if attribute.replace && chosen {
            found.push(path);
            continue;
        }
        let Shape::Nested(Nested { nesting, attributes }) = &attribute.shape else { continue };
        match (nesting, before, after) {
            (Nesting::Single, before, after) => by_rule(before, after, config, attributes, &path, found),
            (Nesting::List, Dyn::List(before), Dyn::List(after)) => {
                for (i, (before, after)) in before.iter().zip(after).enumerate() {
                    let config = config.at(&Path::empty().index(i)).unwrap_or(&Dyn::Null);
                    by_rule(before, after, config, attributes, &path.index(i), found);
                }
            }
            (Nesting::Map, Dyn::Map(before), Dyn::Map(after)) => {
                for (key, before) in before {
                    let Some(after) = after.get(key) else { continue };
                    let config = config.at(&Path::empty().key(key)).unwrap_or(&Dyn::Null);
                    by_rule(before, after, config, attributes, &path.key(key), found);
                }
            }
            _ => {}
        }
    }
}

/// The path, cut at the first set on it: elements of a set have no address.
fn up_to_set(path: Path, prior: &Dyn, planned: &Dyn) -> Path {
    let is_set = |path: &Path| [prior, planned].iter().any(|value| matches!(value.at(path), Some(Dyn::Set(_))));
    let mut whole = Path::empty();
    for step in path.steps() {
        whole = whole.step(step.clone());
        if is_set(&whole) {
            break;
        }
    }
    whole
}

/// `after`, with what a model cannot hold put back from `before` wherever the two agree: what is known of unknown
/// values.
pub(super) fn restore_refinements(after: Dyn, before: &Dyn) -> Dyn {
    let each = |after: Vec<Dyn>, before: &[Dyn]| -> Vec<Dyn> {
        let mut before = before.iter();
        after.into_iter().map(|after| restore_refinements(after, before.next().unwrap_or(&Dyn::Null))).collect()
    };
    let all = |after: BTreeMap<String, Dyn>, before: &BTreeMap<String, Dyn>| {
        let pair = |(name, after)| {
            let after = restore_refinements(after, before.get(&name).unwrap_or(&Dyn::Null));
            (name, after)
        };
        after.into_iter().map(pair).collect()
    };
    match (after, before) {
        (Dyn::Unknown(None), Dyn::Unknown(refinements)) => Dyn::Unknown(refinements.clone()),
        (Dyn::List(after), Dyn::List(before)) => Dyn::List(each(after, before)),
        (Dyn::Tuple(after), Dyn::Tuple(before)) => Dyn::Tuple(each(after, before)),
        (Dyn::Map(after), Dyn::Map(before)) => Dyn::Map(all(after, before)),
        (Dyn::Object(after), Dyn::Object(before)) => Dyn::Object(all(after, before)),
        (Dyn::Set(after), Dyn::Set(before)) if after.len() == before.len() => Dyn::set(each(after.to_vec(), before)),
        (after, _) => after,
    }
}
