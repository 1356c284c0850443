//! `terraform-provider-mesh review`: reads a plan, prints the page.

use std::io::{Read as _, Write as _};
use std::process::ExitCode;

use super::Review;
use super::page::Format;
use super::policy::Policy;
use super::read::Schemas;
use super::risk::Level;

pub const USAGE: &str = "\
terraform-provider-mesh review [PLAN.json|-] [options]

Says on one page what a plan does to the mesh, what can break and who must look. The plan is what `terraform show -json FILE` or
`tofu show -json FILE` prints of a saved plan; without a name, or with -, it is read from standard input.

      --format FORMAT     markdown (default), json, mermaid or text
      --fail-on LEVEL     end with 2 where a risk is of this level or above: note, warning, danger or forbidden (default);
                          `drift` for what others changed; several with commas; `never`
      --policy FILE       YAML that raises, lowers or forbids risks, and keeps the reasons given
      --max-bytes N       longest page (default 60000; GitHub takes 65536 characters); at least 1000

Ends with 0, with 1 where there is no plan to read, with 2 as --fail-on says.
";

/// The largest plan that is read.
const LARGEST: u64 = 512 << 20;
const SHORTEST_PAGE: usize = 1_000;

/// Runs the subcommand with the arguments that follow its name.
pub fn run(arguments: impl IntoIterator<Item = String>, schemas: &Schemas) -> ExitCode {
    let done = Arguments::parse(arguments).and_then(|arguments| match arguments {
        Some(arguments) => arguments.print(schemas),
        None => Ok((USAGE.to_owned(), ExitCode::SUCCESS)),
    });
    let (text, code) = match done {
        Ok(done) => done,
        Err(message) => {
            let _ = std::io::stderr().write_all(format!("Error: {message}\n").as_bytes());
            return ExitCode::FAILURE;
        }
    };
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => code,
        // A reader that has seen enough is no failure.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => code,
        Err(_) => ExitCode::FAILURE,
    }
}

struct Arguments {
    plan: Option<String>,
    format: Format,
    fail_on: FailOn,
    policy: Option<String>,
    most: Option<usize>,
}

struct FailOn {
    level: Option<Level>,
    drift: bool,
}

impl Arguments {
    /// `None` where help is asked for.
    fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Option<Self>, String> {
        let fail_on = FailOn { level: Some(Level::Forbidden), drift: false };
        let mut parsed = Self { plan: None, format: Format::Markdown, fail_on, policy: None, most: None };
        let mut rest = arguments.into_iter();
        while let Some(argument) = rest.next() {
            if argument == "-" || !argument.starts_with('-') {
                if parsed.plan.replace(argument).is_some() {
                    return Err(format!("only one plan can be given\n\n{USAGE}"));
                }
                continue;
            }
            let (option, attached) = match argument.split_once('=') {
                Some((option, value)) => (option.to_owned(), Some(value.to_owned())),
                None => (argument, None),
            };
            if matches!(option.as_str(), "-h" | "--help") {
                return Ok(None);
            }
            let value = |rest: &mut dyn Iterator<Item = String>| {
                attached.clone().or_else(|| rest.next()).ok_or_else(|| format!("{option} needs a value"))
            };
            match option.as_str() {
                "--format" => parsed.format = format(&value(&mut rest)?)?,
                "--fail-on" => parsed.fail_on = fail_on_of(&value(&mut rest)?)?,
                "--policy" => parsed.policy = Some(value(&mut rest)?),
                "--max-bytes" => {
                    let text = value(&mut rest)?;
                    let most = text.parse().ok().filter(|most| *most >= SHORTEST_PAGE);
                    parsed.most = Some(
                        most.ok_or_else(|| format!("--max-bytes takes a number from {SHORTEST_PAGE}, not {text:?}"))?,
                    );
                }
                _ => return Err(format!("unknown option {option}\n\n{USAGE}")),
            }
        }
        Ok(Some(parsed))
    }

    fn print(&self, schemas: &Schemas) -> Result<(String, ExitCode), String> {
        let policy = match &self.policy {
            Some(file) => {
                let text = std::fs::read_to_string(file).map_err(|error| format!("cannot read {file}: {error}"))?;
                Policy::parse(&text).map_err(|error| format!("{file}: {error}"))?
            }
            None => Policy::default(),
        };
        let review = Review::of(&self.read()?, &policy, schemas).map_err(|error| error.to_string())?;
        let text = review.written(self.format, self.most.unwrap_or(self.format.usual_most()));
        let code = if self.fail_on.meets(&review) { ExitCode::from(2) } else { ExitCode::SUCCESS };
        Ok((text, code))
    }

    fn read(&self) -> Result<Vec<u8>, String> {
        let name = self.plan.as_deref().filter(|name| *name != "-");
        let mut bytes = Vec::new();
        let read = match name {
            Some(file) => std::fs::File::open(file).and_then(|file| file.take(LARGEST + 1).read_to_end(&mut bytes)),
            None => std::io::stdin().lock().take(LARGEST + 1).read_to_end(&mut bytes),
        };
        read.map_err(|error| format!("cannot read {}: {error}", name.unwrap_or("standard input")))?;
        match bytes.len() as u64 > LARGEST {
            true => Err(format!("the plan is larger than {} MiB", LARGEST >> 20)),
            false => Ok(bytes),
        }
    }
}

fn format(word: &str) -> Result<Format, String> {
    let found = Format::ALL.into_iter().find(|(name, _)| *name == word).map(|(_, format)| format);
    found.ok_or_else(|| format!("there is no format {word:?}: markdown, json, mermaid or text"))
}

fn fail_on_of(words: &str) -> Result<FailOn, String> {
    let mut fail_on = FailOn { level: None, drift: false };
    for word in words.split(',').map(str::trim) {
        match (word, Level::parse(word)) {
            ("never", _) => {}
            ("drift", _) => fail_on.drift = true,
            (_, Some(level)) => fail_on.level = Some(fail_on.level.map_or(level, |other| other.min(level))),
            (_, None) => {
                return Err(format!("--fail-on takes note, warning, danger, forbidden, drift or never, not {word:?}"));
            }
        }
    }
    Ok(fail_on)
}

impl FailOn {
    fn meets(&self, review: &Review) -> bool {
        let level = self.level.is_some_and(|level| review.level().is_some_and(|found| found >= level));
        level || self.drift && review.drift > 0
    }
}
