//! Checks that the configuration brings, and that do not pass.

use super::Cx;
use crate::review::read::Status;
use crate::review::risk::CHECK_FAILED;
use crate::review::section::Section;
use crate::review::text::{Prose, count};

const COLUMNS: &[(&str, &str)] = &[("check", "check"), ("status", "status"), ("message", "message")];

pub fn of_plan(cx: &mut Cx<'_>) -> Section {
    let mut section = Section::new("checks", "Checks that fail", COLUMNS);
    section.importance = 5;
    let plan = cx.plan;
    for check in &plan.failed {
        let with = match check.messages.len() {
            0 => "without a message".to_owned(),
            some => format!("with {}", count(some, "message")),
        };
        let happened = match check.status {
            Status::Fails => "fails",
            Status::NotEvaluated => "could not be evaluated",
        };
        let what = format!("The check {happened}, {with}.");
        let first = check.messages.first().map_or_else(Prose::default, |message| Prose::name(message));
        cx.risk_at(&CHECK_FAILED, &check.address, what).sides("", first);
        let messages = if check.messages.is_empty() { &[String::new()][..] } else { &check.messages };
        for message in messages {
            section.row([Prose::name(&check.address), check.status.word().into(), Prose::name(message)]);
        }
    }
    section.sorted()
}
