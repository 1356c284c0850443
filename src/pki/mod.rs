//! Certificates, pure: clock and serial numbers are arguments. Nothing here performs I/O.
