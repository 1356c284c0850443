//! What the cores check of every answer, checked here first: a violation is a defect of the provider, and the cores'
//! own message for it blames it less precisely.
//!
//! Written from the rules in words. Runs in debug builds, and so in every test; a release leaves it to the core.

use crate::diag::{Diagnostic, Diagnostics};
use crate::schema::{Attribute, Nested, Nesting, Shape};
use crate::value::{Dyn, Path, Refinements};

pub(super) const ENABLED: bool = cfg!(any(test, debug_assertions));

/// A plan, and what it must follow from. Objects.
#[derive(Clone, Copy)]
pub(super) struct Planned<'a> {
    pub attributes: &'a [Attribute],
    pub prior: Option<&'a Dyn>,
    pub config: &'a Dyn,
    pub planned: &'a Dyn,
}

/// A plan keeps what is configured and invents only what is computed.
pub(super) fn plan(planned: Planned<'_>) -> Diagnostics {
    let mut broken = Vec::new();
    object(planned, &Path::empty(), &mut broken);
    report(broken)
}

/// A result is the plan with its unknowns filled in.
pub(super) fn result(planned: &Dyn, actual: &Dyn) -> Diagnostics {
    let mut broken = Vec::new();
    compatible(planned, actual, &Path::empty(), &mut broken);
    if broken.is_empty() && !actual.is_wholly_known() {
        broken.push((Path::empty(), "the new state still holds unknown values"));
    }
    report(broken)
}

/// A value from outside any plan: read, imported or upgraded.
pub(super) fn state(state: &Dyn, attributes: &[Attribute]) -> Diagnostics {
    let mut broken = Vec::new();
    if !state.is_wholly_known() {
        broken.push((Path::empty(), "a state holds unknown values"));
    }
    if super::wire::without_write_only(state.clone(), attributes) != *state {
        broken.push((Path::empty(), "a state holds a write-only value"));
    }
    report(broken)
}

type Broken = Vec<(Path, &'static str)>;

fn report(broken: Broken) -> Diagnostics {
    let bug = |(path, rule): (Path, &str)| {
        Diagnostic::bug(format!("The provider broke a rule of the protocol: {rule}.")).at(path)
    };
    broken.into_iter().map(bug).collect()
}

fn object(inputs: Planned<'_>, at: &Path, broken: &mut Broken) {
    let Planned { attributes, prior, config, planned } = inputs;
    for attribute in attributes {
        let path = at.attr(&attribute.name);
        let of = |object: &'_ Dyn| object.attr(&attribute.name).cloned().unwrap_or(Dyn::Null);
        let prior = prior.map(of);
        one(attribute, [prior.as_ref(), Some(&of(config)), Some(&of(planned))], &path, broken);
    }
}

/// One attribute; prior, config, planned.
fn one(attribute: &Attribute, [prior, config, planned]: [Option<&Dyn>; 3], path: &Path, broken: &mut Broken) {
    let (Some(config), Some(planned)) = (config, planned) else { return };
    if attribute.write_only {
        if !planned.is_null() {
            broken.push((path.clone(), "a write-only value is in the plan"));
        }
        return;
    }
    if same(planned, config) {
        return;
    }
    if config.is_null() {
        if !attribute.computed {
            broken.push((path.clone(), "an attribute that is neither configured nor computed has a planned value"));
        }
        return;
    }
    if prior.is_some_and(|prior| !prior.is_null() && prior == planned) {
        return;
    }
    match &attribute.shape {
        Shape::Nested(nested) if !config.is_unknown() => {
            if planned.is_null() || planned.is_unknown() {
                broken.push((path.clone(), "a configured nested attribute is planned as null or unknown"));
            } else {
                inner(nested, [prior, Some(config), Some(planned)], path, broken);
            }
        }
        _ => broken.push((path.clone(), "the planned value is neither the configured nor the prior one")),
    }
}

fn inner(nested: &Nested, [prior, config, planned]: [Option<&Dyn>; 3], path: &Path, broken: &mut Broken) {
    let (Some(config), Some(planned)) = (config, planned) else { return };
    let attributes = &nested.attributes;
    match (nested.nesting, config, planned) {
        (Nesting::Single, config, planned) => object(Planned { attributes, prior, config, planned }, path, broken),
        (Nesting::List, Dyn::List(configs), Dyn::List(planneds)) => {
            if configs.len() != planneds.len() {
                return broken.push((path.clone(), "a list is planned with another length than configured"));
            }
            for (i, (config, planned)) in configs.iter().zip(planneds).enumerate() {
                let prior = prior.and_then(|prior| prior.at(&Path::empty().index(i)));
                element(Planned { attributes, prior, config, planned }, &path.index(i), broken);
            }
        }
        (Nesting::Map, Dyn::Map(configs), Dyn::Map(planneds)) => {
            if !configs.keys().eq(planneds.keys()) {
                return broken.push((path.clone(), "a map is planned with other keys than configured"));
            }
            for ((key, config), planned) in configs.iter().zip(planneds.values()) {
                let prior = prior.and_then(|prior| prior.at(&Path::empty().key(key)));
                element(Planned { attributes, prior, config, planned }, &path.key(key), broken);
            }
        }
        (Nesting::Set, Dyn::Set(configs), Dyn::Set(planneds)) => {
            if planneds.len() > configs.len() {
                broken.push((path.clone(), "a set is planned with more elements than configured"));
            }
        }
        _ => broken.push((path.clone(), "a value is planned with another type than configured")),
    }
}

fn element(inputs: Planned<'_>, path: &Path, broken: &mut Broken) {
    let (config, planned) = (inputs.config, inputs.planned);
    match (config, planned) {
        (Dyn::Object(_), Dyn::Object(_)) => object(inputs, path, broken),
        _ if same(config, planned) => {}
        _ => broken.push((path.clone(), "an element is planned as other than configured")),
    }
}

/// Equal, whatever is known of unknown values.
fn same(a: &Dyn, b: &Dyn) -> bool {
    match (a, b) {
        (Dyn::Unknown(_), Dyn::Unknown(_)) => true,
        (Dyn::List(a), Dyn::List(b)) | (Dyn::Tuple(a), Dyn::Tuple(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Dyn::Set(a), Dyn::Set(b)) => a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| same(a, b)),
        (Dyn::Map(a), Dyn::Map(b)) | (Dyn::Object(a), Dyn::Object(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|((x, a), (y, b))| x == y && same(a, b))
        }
        (a, b) => a == b,
    }
}

fn compatible(planned: &Dyn, actual: &Dyn, path: &Path, broken: &mut Broken) {
    let mut rule = |holds: bool, text: &'static str| {
        if !holds {
            broken.push((path.clone(), text));
        }
        holds
    };
    match (planned, actual) {
        (Dyn::Unknown(refinements), actual) => {
            let holds = refinements.as_deref().is_none_or(|refinements| holds(refinements, actual));
            rule(holds, "the new value is not what the plan promised of it");
        }
        (Dyn::Dynamic(_, planned), Dyn::Dynamic(_, actual)) => compatible(planned, actual, path, broken),
        (Dyn::List(planned), Dyn::List(actual)) | (Dyn::Tuple(planned), Dyn::Tuple(actual)) => {
            if rule(planned.len() == actual.len(), "the new list has another length than planned") {
                for (i, (planned, actual)) in planned.iter().zip(actual).enumerate() {
                    compatible(planned, actual, &path.index(i), broken);
                }
            }
        }
        (Dyn::Map(planned), Dyn::Map(actual)) => {
            if rule(planned.keys().eq(actual.keys()), "the new map has other keys than planned") {
                for ((key, planned), actual) in planned.iter().zip(actual.values()) {
                    compatible(planned, actual, &path.key(key), broken);
                }
            }
        }
        (Dyn::Object(planned), Dyn::Object(actual)) => {
            for (name, planned) in planned {
                compatible(planned, actual.get(name).unwrap_or(&Dyn::Null), &path.attr(name), broken);
            }
        }
        (Dyn::Set(planned), Dyn::Set(actual)) => {
            rule(actual.len() <= planned.len(), "the new set has more elements than planned");
            let fits = |planned: &Dyn, actual: &Dyn| {
                let mut misfits = Vec::new();
                compatible(planned, actual, path, &mut misfits);
                misfits.is_empty()
            };
            let all = planned.iter().all(|planned| actual.iter().any(|actual| fits(planned, actual)));
            if !all {
                broken.push((path.clone(), "an element of a planned set is missing from the new one"));
            }
        }
        (planned, actual) => {
            rule(planned == actual, "the new value is not the planned one");
        }
    }
}

fn holds(refinements: &Refinements, actual: &Dyn) -> bool {
    if refinements.null == Some(false) && actual.is_null() {
        return false;
    }
    let length = match actual {
        Dyn::List(elements) => Some(elements.len() as u64),
        Dyn::Set(elements) => Some(elements.len() as u64),
        Dyn::Map(elements) => Some(elements.len() as u64),
        _ => None,
    };
    let above = |bound: &crate::value::Bound| {
        actual.as_number().is_none_or(|n| *n > bound.number || bound.inclusive && *n == bound.number)
    };
    let below = |bound: &crate::value::Bound| {
        actual.as_number().is_none_or(|n| *n < bound.number || bound.inclusive && *n == bound.number)
    };
    refinements.prefix.as_deref().is_none_or(|prefix| actual.as_str().is_none_or(|text| text.starts_with(prefix)))
        && refinements.min.as_ref().is_none_or(above)
        && refinements.max.as_ref().is_none_or(below)
        && refinements.min_length.is_none_or(|min| length.is_none_or(|length| length >= min))
        && refinements.max_length.is_none_or(|max| length.is_none_or(|length| length <= max))
}
