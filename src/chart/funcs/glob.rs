//! Patterns for names of files, matched without going back: the time is what pattern and name are long, whoever wrote
//! them.
use crate::chart::budget::{self, TooMuch};

/// `*` and `?` stop at `/`, `**` does not; `[a-z]`, `{one,two}` and `\` as usual.
pub(in crate::chart) struct Glob {
    states: Vec<State>,
}

enum State {
    Byte(u8),
    NotSlash,
    Class {
        negated: bool,
        set: Vec<u8>,
    },
    /// Any number of bytes, of slashes too if it is the double one.
    Star {
        double: bool,
    },
    /// Goes on at any of these.
    Choice(Vec<usize>),
    Jump(usize),
    /// What is opened and never closed matches nothing.
    Never,
}

impl Glob {
    pub(in crate::chart) fn new(pattern: &[u8]) -> Self {
        let mut glob = Self { states: Vec::new() };
        glob.add(pattern);
        glob
    }

    fn add(&mut self, mut pattern: &[u8]) {
        while let [first, rest @ ..] = pattern {
            pattern = rest;
            let state = match first {
                b'*' => {
                    let more = pattern.iter().take_while(|b| **b == b'*').count();
                    pattern = &pattern[more..];
                    State::Star { double: more > 0 }
                }
                b'?' => State::NotSlash,
                b'[' => {
                    let Some(end) = pattern.iter().skip(1).position(|b| *b == b']').map(|i| i + 1) else {
                        return self.states.push(State::Never);
                    };
                    let (set, after) = (&pattern[..end], &pattern[end + 1..]);
                    pattern = after;
                    let negated = matches!(set[0], b'!' | b'^');
                    State::Class { negated, set: set[usize::from(negated)..].to_vec() }
                }
                b'{' => {
                    let Some(end) = pattern.iter().position(|b| *b == b'}') else {
                        return self.states.push(State::Never);
                    };
                    let (choices, after) = (&pattern[..end], &pattern[end + 1..]);
                    pattern = after;
                    self.choice(choices);
                    continue;
                }
                b'\\' if !pattern.is_empty() => {
                    let escaped = pattern[0];
                    pattern = &pattern[1..];
                    State::Byte(escaped)
                }
                byte => State::Byte(*byte),
            };
            self.states.push(state);
        }
    }

    fn choice(&mut self, choices: &[u8]) {
        let fork = self.states.len();
        self.states.push(State::Never);
        let (mut starts, mut ends) = (Vec::new(), Vec::new());
        for choice in choices.split(|b| *b == b',') {
            starts.push(self.states.len());
            self.add(choice);
            ends.push(self.states.len());
            self.states.push(State::Never);
        }
        let after = self.states.len();
        self.states[fork] = State::Choice(starts);
        for end in ends {
            self.states[end] = State::Jump(after);
        }
    }

    pub(in crate::chart) fn matches(&self, name: &[u8]) -> Result<bool, TooMuch> {
        let mut active = Active::new(self.states.len() + 1);
        active.add(0, &self.states);
        for byte in name {
            budget::pay(1 + active.states.len() / 16, 0)?;
            let current = active.take();
            for at in current {
                match &self.states[at] {
                    State::Byte(wanted) if wanted == byte => active.add(at + 1, &self.states),
                    State::NotSlash if *byte != b'/' => active.add(at + 1, &self.states),
                    State::Class { negated, set } if in_set(set, *byte) != *negated => active.add(at + 1, &self.states),
                    State::Star { double } if *double || *byte != b'/' => active.add(at, &self.states),
                    _ => {}
                }
            }
        }
        Ok(active.reached_end)
    }
}

fn in_set(set: &[u8], byte: u8) -> bool {
    let mut rest = set;
    loop {
        rest = match rest {
            [] => return false,
            [low, b'-', high, ..] if (low..=high).contains(&&byte) => return true,
            [_, b'-', _, rest @ ..] => rest,
            [one, ..] if *one == byte => return true,
            [_, rest @ ..] => rest,
        };
    }
}

/// The states that the bytes so far can lead to, each once.
struct Active {
    states: Vec<usize>,
    seen: Vec<usize>,
    round: usize,
    reached_end: bool,
}

impl Active {
    fn new(count: usize) -> Self {
        Self { states: Vec::new(), seen: vec![0; count], round: 1, reached_end: false }
    }

    fn take(&mut self) -> Vec<usize> {
        self.round += 1;
        self.reached_end = false;
        std::mem::take(&mut self.states)
    }

    /// A state and all that follow it without a byte.
    fn add(&mut self, state: usize, states: &[State]) {
        let mut open = vec![state];
        while let Some(at) = open.pop() {
            if std::mem::replace(&mut self.seen[at], self.round) == self.round {
                continue;
            }
            match states.get(at) {
                None => self.reached_end = true,
                Some(State::Choice(starts)) => open.extend(starts),
                Some(State::Jump(to)) => open.push(*to),
                Some(State::Star { .. }) => {
                    self.states.push(at);
                    open.push(at + 1);
                }
                Some(_) => self.states.push(at),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_they_mean_to_helm() {
        let table = [
            ("*.yaml", "a.yaml", true),
            ("*.yaml", "a/b.yaml", false),
            ("**.yaml", "a/b.yaml", true),
            ("a/**/c", "a/b/b/c", true),
            ("a?c", "abc", true),
            ("a?c", "a/c", false),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[^a-c]x", "dx", true),
            ("[]]", "]", true),
            ("[a-]", "-", true),
            ("[a", "[a", false),
            ("{a,b*}.c", "bbb.c", true),
            ("{a,b*}.c", "c.c", false),
            ("{a,b", "{a,b", false),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("{,a}b", "b", true),
        ];
        for (pattern, name, matches) in table {
            assert_eq!(Glob::new(pattern.as_bytes()).matches(name.as_bytes()), Ok(matches), "{pattern} {name}");
        }
    }
}
