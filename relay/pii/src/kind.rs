//! The kinds of data that the crate finds.

use std::fmt;

/// Declares the kinds once: the type, the list of all, and their names.
macro_rules! kinds {
    ($($(#[$doc:meta])+ $name:ident = $text:literal,)+) => {
        /// A kind of personal data or secrets.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind {
            $($(#[$doc])+ $name,)+
        }

        impl Kind {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The kind's name, for explanations and metric labels. Contains nothing of the text.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }
        }
    };
}

kinds! {
    /// An e-mail address.
    Email = "e-mail",
    /// A phone number.
    Phone = "phone",
    /// An IP address.
    Ip = "ip",
    /// A payment card: its number, security code or expiry date.
    Card = "card",
    /// An IBAN, or a labelled account number.
    Iban = "iban",
    /// A number that a state or an insurer gives to a person, or the number of a document.
    NationalId = "national id",
    /// A number that a state or a register gives to a company.
    CompanyId = "company id",
    /// A number of a device: MAC address, IMEI, serial number.
    Device = "device",
    /// A UUID or another long machine-generated token.
    Token = "token",
    /// A password, key, session or another credential.
    Secret = "secret",
    /// A user, customer, tenant or workspace, by its name or number.
    User = "user",
    /// The name or postal address of a person.
    Person = "person",
    /// A date of birth.
    Birth = "birth date",
    /// A place: coordinates, a postcode.
    Place = "place",
    /// A licence plate.
    Plate = "plate",
    /// An address of a cryptocurrency.
    Wallet = "wallet",
    /// Encoded text that is readable or contains one of the other kinds.
    Encoded = "encoded",
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
