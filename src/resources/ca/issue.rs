//! What every certificate that is made here has: a start in the past, an end within the calendar, a serial number.

use aws_lc_rs::rand;
use time::Duration;

use crate::diag::Diagnostic;
use crate::pki::Serial;
use crate::value::Path;

/// Clocks of peers may lag.
pub const BACKDATED: Duration = Duration::minutes(10);

pub fn serial() -> Result<Serial, Diagnostic> {
    let mut bytes = [0; 16];
    rand::fill(&mut bytes).map_err(|_| {
        Diagnostic::error("No randomness")
            .detail("The operating system gave no random bytes for a serial number. Apply again.")
    })?;
    Ok(Serial::from_random(bytes))
}

/// A length of time that leads past the calendar.
pub fn too_long(path: Path) -> Diagnostic {
    Diagnostic::error("Too long a validity")
        .detail("The certificate would end after the year 9999, which no certificate can say. Give fewer days.")
        .at(path)
}
