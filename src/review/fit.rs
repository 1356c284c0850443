//! Keeps a page within so many bytes: the least important part gives way first, and the page says what it leaves out.

/// A part of a page, in forms that say ever less. The first is the whole, and one may be empty.
pub struct Part {
    pub name: &'static str,
    pub importance: u8,
    pub forms: Vec<String>,
}

/// Room that is kept for telling what is left out.
const NOTICE: usize = 400;

/// The page, never longer than `most` bytes; `say` words what was shortened or left out.
pub fn fit(parts: Vec<Part>, most: usize, say: impl Fn(&[&'static str]) -> String) -> String {
    let mut chosen = vec![0; parts.len()];
    let length = |chosen: &[usize]| parts.iter().zip(chosen).map(|(part, at)| part.forms[*at].len()).sum::<usize>();
    let mut shortened: Vec<&'static str> = Vec::new();
    while length(&chosen) + if shortened.is_empty() { 0 } else { NOTICE } > most {
        let next = (0..parts.len()).filter(|at| chosen[*at] + 1 < parts[*at].forms.len());
        let Some(least) =
            next.min_by_key(|at| (parts[*at].importance, usize::MAX - parts[*at].forms[chosen[*at]].len()))
        else {
            break;
        };
        chosen[least] += 1;
        if !shortened.contains(&parts[least].name) {
            shortened.push(parts[least].name);
        }
    }
    let mut page: String = parts.iter().zip(&chosen).map(|(part, at)| part.forms[*at].as_str()).collect();
    let mut notice = if shortened.is_empty() { String::new() } else { say(&shortened) };
    if page.len() + notice.len() > most {
        // What says that something is missing stays, whatever else goes.
        if notice.is_empty() {
            notice = say(&parts.iter().map(|part| part.name).collect::<Vec<_>>());
        }
        page = cut(page, most.saturating_sub(notice.len()));
    }
    page.push_str(&notice);
    cut(page, most)
}

/// Where even the shortest forms are too long.
pub fn cut(mut text: String, most: usize) -> String {
    const END: &str = "…\n";
    if text.len() > most {
        let mut at = most.saturating_sub(END.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        text.truncate(at);
        text.push_str(END);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_important_gives_way_and_is_named() {
        let part = |name, importance, length: usize| Part {
            name,
            importance,
            forms: vec!["x".repeat(length), "y".repeat(length / 10), String::new()],
        };
        let parts = || vec![part("first", 9, 500), part("second", 1, 3_000), part("third", 5, 500)];
        let notice = |names: &[&'static str]| names.join(" ");
        let whole = fit(parts(), 10_000, notice);
        assert_eq!(whole.len(), 4_000);
        let page = fit(parts(), 2_000, notice);
        assert_eq!(page, format!("{}{}{}second", "x".repeat(500), "y".repeat(300), "x".repeat(500)));
        assert!(fit(parts(), 1_000, notice).len() <= 1_000);
        assert!(fit(parts(), 40, notice).len() <= 40);
    }
}
