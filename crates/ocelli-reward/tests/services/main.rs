//! Plug-ins, judges and verifier servers as nodes of a reward graph.

// Helpers outside of test functions.
#![allow(clippy::unwrap_used)]

mod episodes;
#[cfg(feature = "judge")]
mod judges;
mod plugins;
#[cfg(all(feature = "judge", feature = "server"))]
mod servers;
