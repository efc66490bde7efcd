//! Random names and passwords.

use std::{fs::File, io::Read as _};

use anyhow::{Context as _, Result};

/// This many random bytes, in hexadecimal.
pub(crate) fn random_hex(bytes: usize) -> Result<String> {
    let mut random = vec![0; bytes];
    File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut random))
        .context("cannot read /dev/urandom")?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_values_have_the_wanted_length_and_differ() {
        let (one, other) = (random_hex(16).ok(), random_hex(16).ok());
        assert_eq!(one.as_ref().map(String::len), Some(32));
        assert_ne!(one, other);
    }
}
