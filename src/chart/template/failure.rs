//! Why executing a template stopped, and how Helm words that.

/// A chain of causes, each text containing the next one, as Go's wrapped errors do.
#[derive(Debug, PartialEq)]
pub(in crate::chart) struct Failure {
    text: String,
    /// Raised by the evaluator, so that the text names template, position and node.
    located: bool,
    cause: Option<Box<Failure>>,
    /// Bytes of all texts of the chain.
    told: usize,
}

/// `fail` and `required` mark their message, so that the places it passed through can be left out.
const MARK_START: &str = "HELM_ERR_START";
const MARK_END: &str = "HELM_ERR_END";

/// Each text holds that of its cause: thousands of templates inside each other would otherwise come to the square of
/// that. What is longer is not told further.
const MAX_TEXT: usize = 64 << 10;
/// The same for the chain. The budget of the rendering cannot pay for it: that it is spent has to be told as well, with
/// the places it passed through.
const MAX_TOLD: usize = 8 << 20;

impl Failure {
    pub(in crate::chart) fn plain(text: impl Into<String>) -> Self {
        Self::new(text.into(), false, None)
    }

    /// A message of the chart's author, on purpose.
    pub(in crate::chart) fn deliberate(message: &str) -> Self {
        Self::plain(format!("{MARK_START}{message}{MARK_END}"))
    }

    /// The place of a cause, which is not made where there is no room for it.
    pub(in crate::chart) fn wrap(prefix: impl FnOnce() -> String, cause: Failure) -> Self {
        Self::around(cause, false, |inner| format!("{}: {inner}", prefix()))
    }

    pub(super) fn located(text: String) -> Self {
        Self::new(text, true, None)
    }

    /// As [`Self::wrap`], by the evaluator, whose text holds the one that it is given.
    pub(super) fn located_around(cause: Failure, text: impl FnOnce(&str) -> String) -> Self {
        Self::around(cause, true, text)
    }

    fn around(cause: Failure, located: bool, text: impl FnOnce(&str) -> String) -> Self {
        if cause.text.len() > MAX_TEXT || cause.told > MAX_TOLD {
            return cause;
        }
        Self::new(text(&cause.text), located, Some(cause))
    }

    fn new(text: String, located: bool, cause: Option<Failure>) -> Self {
        let told = text.len() + cause.as_ref().map_or(0, |cause| cause.told);
        Self { text, located, cause: cause.map(Box::new), told }
    }

    /// As `helm template` prints it: the author's own message with its place, or the places one below the other.
    pub(in crate::chart) fn helm_message(&self) -> String {
        if !self.located {
            return self.text.clone();
        }
        let mut parts = self.text.splitn(3, ": ");
        let (Some(_), Some(location), Some(rest)) = (parts.next(), parts.next(), parts.next()) else {
            return self.text.clone();
        };
        if let Some((_, marked)) = rest.split_once(MARK_START)
            && let Some((message, _)) = marked.rsplit_once(MARK_END)
        {
            return format!("execution error at ({location}): {message}");
        }
        let mut places: Vec<String> = Vec::new();
        let mut current = Some(self);
        while let Some(failure) = current {
            let Some(place) = place(&failure.text) else { return self.text.clone() };
            if places.last() != Some(&place) {
                places.push(place);
            }
            current = failure.cause.as_deref();
        }
        places.concat().trim().to_owned()
    }
}

/// The outermost template, node and message of an evaluator's text, on lines of their own.
fn place(text: &str) -> Option<String> {
    let rest = text.strip_prefix("template: ")?;
    if rest.starts_with("no template ") {
        return Some(format!("{text}\n"));
    }
    executing_place(rest).or_else(|| {
        let (location, message) = rest.rsplit_once(": ")?;
        Some(lines(location, None, message))
    })
}

fn executing_place(rest: &str) -> Option<String> {
    let (location, after) = rest.split_once(": executing ")?;
    let (function, after) = after.strip_prefix('"')?.split_once('"')?;
    let (node, message) = after.strip_prefix(" at <")?.split_once(">: ")?;
    Some(lines(location, Some(format!("executing \"{function}\" at <{node}>:")), message))
}

fn lines(location: &str, executing: Option<String>, message: &str) -> String {
    let mut out = String::new();
    if !location.is_empty() {
        out.push_str(&format!("{location}\n  "));
    }
    if let Some(executing) = executing {
        out.push_str(&format!("{executing}\n    "));
    }
    // What follows is told by the next place.
    let message = message.split(" template:").next().unwrap_or(message);
    if !message.is_empty() {
        out.push_str(&format!("{message}\n"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_without_end_are_told_up_to_a_size() {
        for (start, prefix) in [(10, 100), (10, 20_000), (MAX_TEXT + 1, 10), (10, 1)] {
            let mut failure = Failure::plain("x".repeat(start));
            let (mut texts, mut longest) = (0, start);
            for _ in 0..100_000 {
                failure = Failure::located_around(failure, |inner| {
                    texts += 1;
                    longest = longest.max(inner.len() + prefix);
                    format!("{}{inner}", "x".repeat(prefix))
                });
            }
            assert!(failure.told <= MAX_TOLD + longest, "{start} {prefix}: {} bytes", failure.told);
            assert!(texts * (longest - start) / 2 <= MAX_TOLD + longest, "{start} {prefix}: {texts} texts");
        }
    }
}
