//! `make fuzz`: inputs of chance for everything that reads what others write, on release code. `--seed N`, `--rounds N`
//! (inputs for each unit of share), `--target NAME`.
//!
//! Each target runs in a process of its own, which an abort may end: then the input is named, and a new process goes on
//! behind it. The input follows from seed, target and number alone: `--target NAME --only NUMBER` runs it again.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "it is a test, and its report is printed")]

mod answers;
mod random;
mod targets;

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::panic;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use random::Random;
use targets::{TARGETS, Target};

/// Longer than this is a hang.
const SLOW: Duration = Duration::from_secs(1);
/// What a process may need at its peak, in kB.
const MOST_MEMORY: u64 = 300 << 10;
/// What an input may hold the process up before it is ended.
const STUCK: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let of = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1).cloned()
    };
    let number = |name: &str, default: u64| of(name).map_or(default, |text| text.parse().expect("a number"));
    let (seed, rounds) = (number("--seed", 0x5eed), number("--rounds", 20));
    let wanted = of("--target");
    let chosen: Vec<&Target> =
        TARGETS.iter().filter(|target| wanted.as_deref().is_none_or(|name| name == target.name)).collect();
    if let Some(file) = of("--worker") {
        worker(chosen[0], seed, number("--from", 0), number("--to", 0), Path::new(&file));
        return ExitCode::SUCCESS;
    }
    if of("--only").is_some() {
        run(chosen[0], seed, number("--only", 0));
        return ExitCode::SUCCESS;
    }
    let begun = Instant::now();
    let mut found = 0;
    let mut all = 0;
    for target in &chosen {
        let count = rounds * target.share;
        let report = supervise(target, seed, count);
        println!("{:12} {count:>9} inputs in {:>6.1} s: {report}", target.name, report.took.as_secs_f64());
        found += report.findings();
        all += count;
    }
    println!("{all} inputs of seed {seed:#x} in {:.0} s, {found} findings", begun.elapsed().as_secs_f64());
    if found == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run(target: &Target, seed: u64, number: u64) {
    let salt = target.name.bytes().fold(seed, |salt, byte| salt.wrapping_mul(31).wrapping_add(byte.into()));
    (target.run)(&mut Random::new(salt.wrapping_add(number.wrapping_mul(0x1_0000_0001))));
}

#[derive(Default)]
struct Report {
    panics: BTreeMap<String, Vec<u64>>,
    aborts: Vec<u64>,
    stuck: Vec<u64>,
    slow: Vec<(u64, u64)>,
    memory: u64,
    took: Duration,
}

impl Report {
    fn findings(&self) -> usize {
        let too_much = usize::from(self.memory > MOST_MEMORY);
        self.panics.len() + self.aborts.len() + self.stuck.len() + self.slow.len() + too_much
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let panics: usize = self.panics.values().map(Vec::len).sum();
        write!(
            f,
            "{panics} panics, {} aborts, {} stuck, {} over 1 s, at most {} MiB",
            self.aborts.len(),
            self.stuck.len(),
            self.slow.len(),
            self.memory >> 10
        )?;
        for (what, numbers) in &self.panics {
            write!(f, "\n  {} times, first at {}: {what}", numbers.len(), numbers[0])?;
        }
        for number in self.aborts.iter().chain(&self.stuck) {
            write!(f, "\n  aborted or stuck at {number}")?;
        }
        for (number, millis) in self.slow.iter().take(10) {
            write!(f, "\n  {millis} ms at {number}")?;
        }
        Ok(())
    }
}

/// What this thread has had of a processor: a busy machine must not be taken for a slow reader.
fn on_processor() -> Duration {
    let said = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(said.split(' ').next().unwrap().parse().unwrap())
}

/// Runs a target in processes of their own until all inputs are done.
fn supervise(target: &Target, seed: u64, count: u64) -> Report {
    let begun = Instant::now();
    let folder = std::env::temp_dir().join(format!("mesh-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file: PathBuf = folder.join(target.name);
    let mut report = Report::default();
    let mut from = 0;
    while from < count {
        std::fs::write(&file, from.to_le_bytes()).unwrap();
        let text = |number: u64| number.to_string();
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args([
                "--target",
                target.name,
                "--seed",
                &text(seed),
                "--from",
                &text(from),
                "--to",
                &text(count),
                "--worker",
            ])
            .arg(&file)
            .stderr(std::process::Stdio::null())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = process.stdout.take().unwrap();
        let told = std::thread::spawn(move || {
            let mut text = String::new();
            let _ = std::io::Read::read_to_string(&mut out, &mut text);
            text
        });
        let (mut last, mut since, mut is_stuck) = (from, Instant::now(), false);
        let status = loop {
            if let Some(status) = process.try_wait().unwrap() {
                break status;
            }
            let at = position(&file);
            if at != last {
                (last, since) = (at, Instant::now());
            }
            if since.elapsed() > STUCK {
                is_stuck = true;
                process.kill().unwrap();
            }
            std::thread::sleep(Duration::from_millis(100));
        };
        read_report(&told.join().unwrap(), &mut report);
        if status.success() {
            break;
        }
        let at = position(&file);
        if is_stuck {
            report.stuck.push(at)
        } else {
            report.aborts.push(at)
        }
        from = at + 1;
        if report.aborts.len() + report.stuck.len() > 20 {
            break;
        }
    }
    let _ = std::fs::remove_dir_all(&folder);
    report.took = begun.elapsed();
    report
}

fn position(file: &Path) -> u64 {
    let bytes = std::fs::read(file).unwrap_or_default();
    bytes.get(..8).map_or(0, |bytes| u64::from_le_bytes(bytes.try_into().unwrap()))
}

fn read_report(text: &str, report: &mut Report) {
    for line in text.lines() {
        let Some((kind, rest)) = line.split_once(' ') else { continue };
        let (number, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        let Ok(number) = number.parse() else { continue };
        match kind {
            "panic" => report.panics.entry(rest.to_owned()).or_default().push(number),
            "slow" => report.slow.push((number, rest.parse().unwrap_or_default())),
            "memory" => report.memory = report.memory.max(number),
            _ => {}
        }
    }
}

/// Where the last panic was.
static LAST: Mutex<String> = Mutex::new(String::new());

fn worker(target: &'static Target, seed: u64, from: u64, to: u64, file: &Path) {
    panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let what = info.payload_as_str().unwrap_or_default().chars().take(160).collect::<String>();
        *LAST.lock().unwrap() = format!("{place}: {}", what.replace('\n', " "));
    }));
    let place = File::options().write(true).open(file).unwrap();
    // A stack as small as those of the threads that serve requests.
    let work = std::thread::Builder::new().stack_size(2 << 20).spawn(move || {
        for number in from..to {
            place.write_all_at(&number.to_le_bytes(), 0).unwrap();
            let begun = on_processor();
            let outcome = panic::catch_unwind(|| run(target, seed, number));
            let took = on_processor() - begun;
            let said = std::mem::take(&mut *LAST.lock().unwrap());
            if outcome.is_err() || !said.is_empty() {
                println!("panic {number} {said}");
            }
            if took > SLOW && outcome.is_ok() {
                println!("slow {number} {}", took.as_millis());
            }
        }
    });
    work.unwrap().join().unwrap();
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    println!("memory {}", most.trim().trim_end_matches(" kB"));
}
