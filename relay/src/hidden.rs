//! A `Debug` that shows nothing, for types that hold content, secrets or addresses.

/// Implements `Debug` for each type. It prints the type's name and `hidden`, so that no log line, error or panic can
/// show a value.
macro_rules! hidden_debug {
    ($($Type:ident $(<$lifetime:lifetime>)?),+) => {$(
        impl std::fmt::Debug for $Type $(<$lifetime>)? {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(concat!(stringify!($Type), "(hidden)"))
            }
        }
    )+};
}

pub(crate) use hidden_debug;
