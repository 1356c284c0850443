//! Why executing a template stopped, and how Helm words that.

/// A chain of causes, each text containing the next one, as Go's wrapped errors do.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::chart) struct Failure {
    text: String,
    /// Raised by the evaluator, so that the text names template, position and node.
    located: bool,
    cause: Option<Box<Failure>>,
}

/// `fail` and `required` mark their message, so that the places it passed through can be left out.
const MARK_START: &str = "HELM_ERR_START";
const MARK_END: &str = "HELM_ERR_END";

/// Each text holds that of its cause: thousands of templates inside each other would otherwise come to the square of
/// that. What is longer is not told further.
const MAX_TEXT: usize = 64 << 10;

impl Failure {
    pub(in crate::chart) fn plain(text: impl Into<String>) -> Self {
        Self { text: text.into(), located: false, cause: None }
    }

    /// A message of the chart's author, on purpose.
    pub(in crate::chart) fn deliberate(message: &str) -> Self {
        Self::plain(format!("{MARK_START}{message}{MARK_END}"))
    }

    pub(in crate::chart) fn wrap(prefix: impl Into<String>, cause: Failure) -> Self {
        if cause.text.len() > MAX_TEXT {
            return cause;
        }
        let text = format!("{}: {}", prefix.into(), cause.text);
        Self { text, located: false, cause: Some(Box::new(cause)) }
    }

    pub(super) fn located(text: String, cause: Option<Failure>) -> Self {
        if let Some(cause) = cause.as_ref().filter(|cause| cause.text.len() > MAX_TEXT) {
            return cause.clone();
        }
        Self { text, located: true, cause: cause.map(Box::new) }
    }

    pub(in crate::chart) fn text(&self) -> &str {
        &self.text
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
