//! Services that values change: what their fields open. What attributes say of a Service is judged in `doors.rs`.

use super::door::{Door, are_everyone, contains, opened_by};
use crate::review::objects::Field;
use crate::review::read::{Instance, Type};
use crate::review::risk::Level;

/// What a field of a Service lets in, with the words for it where the field does not say it by itself.
pub fn opened(instance: &Instance, field: &Field) -> Option<(Level, &'static str)> {
    let (before, after) = (field.before.as_deref(), field.after.as_deref());
    let level = if is_open(instance) { Level::Danger } else { Level::Warning };
    match field.path.as_str() {
        path if path.starts_with("spec.loadBalancerSourceRanges") => ranges(instance, before, after),
        "spec.type" if !is_said(instance, "type") => match (before, after) {
            (Some("LoadBalancer"), _) => None,
            (_, Some("LoadBalancer")) => Some((level, "It gets a load balancer.")),
            (None | Some("ClusterIP"), Some("NodePort")) => {
                Some((Level::Warning, "It gets a port on every node of the cluster, which source ranges do not guard."))
            }
            _ => None,
        },
        "spec.loadBalancerClass" if !is_said(instance, "load_balancer_class") => {
            before.map(|_| (Level::Warning, "What may keep the load balancer inside (annotations or class) changes."))
        }
        path => {
            let name = path.strip_prefix("metadata.annotations")?.trim_matches(['[', ']', '"', '.']);
            let (words, sure) = opened_by(name, before, after).filter(|_| !is_said(instance, "annotations"))?;
            Some((if sure { level } else { Level::Warning }, words))
        }
    }
}

fn ranges(instance: &Instance, before: Option<&str>, after: Option<&str>) -> Option<(Level, &'static str)> {
    let Some(after) = after.filter(|after| !after.contains("/0")) else { return Some((Level::Danger, "")) };
    let listed = |text: &str| serde_json::from_str::<Vec<String>>(text).ok();
    let Some(will) = listed(after) else {
        // A long list is shown as a digest. What an attribute says is judged with the attribute.
        return (!is_said(instance, "source_ranges"))
            .then_some((Level::Warning, "The review cannot read who can connect."));
    };
    let all: Vec<&str> = will.iter().map(String::as_str).collect();
    if all.is_empty() || are_everyone(&all) {
        return Some((Level::Danger, ""));
    }
    // Whoever could connect without ranges were all.
    let was = before.map(listed)?;
    let is_new = |range: &&str| !was.iter().flatten().any(|wider| contains(wider, range));
    let more = was.is_none() || all.iter().any(is_new);
    (more && !is_said(instance, "source_ranges")).then_some((Level::Warning, "Further networks can connect to it."))
}

/// Whether an attribute of the Service changes: it is judged as such.
fn is_said(instance: &Instance, name: &str) -> bool {
    let service = instance.sides(if instance.kind == Type::Primary { "expose" } else { "service" });
    service.is_some_and(|(before, after)| !before.get(name).is_same(after.get(name)))
}

/// Nothing in the attributes says who can connect.
fn is_open(instance: &Instance) -> bool {
    let door = match instance.kind {
        Type::Primary => Door::of_istiod(instance.after()),
        _ => Door::of_gateway(instance.after()),
    };
    door.and_then(|door| door.ranges).is_none_or(|ranges| are_everyone(&ranges))
}
