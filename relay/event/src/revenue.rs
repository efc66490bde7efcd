//! The revenue of an event: an amount and a currency, read tolerantly and written in one form.
//!
//! No range in the plan bounds the amount, unlike every other number of an event, so it is bounded here: neither a
//! phone number nor a card number can be an amount.

use crate::json::{Json, Object};
use crate::plan;
use crate::value::Value;
use serde::{Deserialize, Deserializer, Serialize, Serializer, ser::SerializeStruct};
use std::cmp::Ordering;

/// Exclusive bound of the amount's size. A larger one is not read: ten digits are a phone number.
const AMOUNT_BELOW: f64 = 1e9;
/// The same bound in thousandths.
const THOUSANDTHS_BELOW: u64 = 1_000_000_000_000;
/// Thousandths per unit: Plausible stores three decimals.
const THOUSAND: i64 = 1000;

/// The revenue of an event.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Revenue {
    /// The amount, in thousandths of the currency.
    thousandths: i64,
    currency: &'static str,
}

/// A sender's revenue that cannot be read: no amount, or a currency that ISO 4217 does not list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable;

impl Revenue {
    /// Reads an amount and a currency, which may be in lower case. Rounds the amount to three decimals.
    ///
    /// # Errors
    /// If the amount is not a number or is too large, or the currency is unknown.
    pub fn new(amount: &Value, currency: &str) -> Result<Self, Unreadable> {
        let currency = currency.trim().to_ascii_uppercase();
        let place = CURRENCIES
            .binary_search(&currency.as_str())
            .map_err(|_| Unreadable)?;
        Ok(Self {
            thousandths: thousandths(amount).ok_or(Unreadable)?,
            currency: CURRENCIES[place],
        })
    }

    /// Reads an object, or a text that holds one (contract a.3).
    pub(crate) fn of(json: Json) -> Result<Self, Unreadable> {
        let mut object = match json {
            Json::Object(object) => object,
            Json::Text(text) => serde_json::from_str::<Object>(&text).map_err(|_| Unreadable)?,
            _ => return Err(Unreadable),
        };
        let amount = match object.take_first(&["amount"]) {
            Some(Json::Integer(n)) => Value::Integer(n),
            Some(Json::Decimal(n)) => Value::Decimal(n),
            Some(Json::Text(text)) => Value::Text(text),
            _ => return Err(Unreadable),
        };
        match object.take_first(&["currency"]) {
            Some(Json::Text(currency)) => Self::new(&amount, &currency),
            _ => Err(Unreadable),
        }
    }

    /// The amount as a decimal without needless zeros: `12.5`.
    pub fn amount(&self) -> String {
        let (whole, rest) = (
            self.thousandths.abs() / THOUSAND,
            self.thousandths.abs() % THOUSAND,
        );
        let sign = if self.thousandths < 0 { "-" } else { "" };
        match rest {
            0 => format!("{sign}{whole}"),
            _ => format!("{sign}{whole}.{}", format!("{rest:03}").trim_end_matches('0')),
        }
    }

    /// The currency's code.
    pub fn currency(&self) -> &'static str {
        self.currency
    }
}

/// An amount in thousandths. A unit may follow a text's number and is ignored, as in Plausible: `12.50 EUR`.
fn thousandths(amount: &Value) -> Option<i64> {
    let number = match amount {
        Value::Text(text) => {
            let unit = |c: char| c.is_alphabetic() || c.is_whitespace() || "$£¥€".contains(c);
            plan::number(text).or_else(|| plan::number(text.trim_end_matches(unit)))?
        }
        Value::Boolean(_) => return None,
        number => number.clone(),
    };
    #[expect(clippy::cast_precision_loss, reason = "compared with a bound that is exact")]
    let size = match number {
        Value::Integer(n) => n as f64,
        Value::Decimal(n) => n,
        Value::Text(_) | Value::Boolean(_) => return None,
    }
    .abs();
    // Rejects a NaN as well.
    if size.partial_cmp(&AMOUNT_BELOW) != Some(Ordering::Less) {
        return None;
    }
    let written = match number {
        Value::Decimal(n) => format!("{n:.3}"),
        number => format!("{}.000", plan::text_of(&number)),
    };
    // Rounding up may have reached the bound.
    let thousandths: i64 = written.replace('.', "").parse().ok()?;
    (thousandths.unsigned_abs() < THOUSANDTHS_BELOW).then_some(thousandths)
}

impl std::fmt::Debug for Revenue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Revenue(hidden)")
    }
}

/// The form that Plausible accepts and that a record holds: `{"amount":"12.5","currency":"EUR"}`.
impl Serialize for Revenue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Revenue", 2)?;
        object.serialize_field("amount", &self.amount())?;
        object.serialize_field("currency", self.currency)?;
        object.end()
    }
}

impl<'de> Deserialize<'de> for Revenue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Written {
            amount: String,
            currency: String,
        }
        let written = Written::deserialize(deserializer)?;
        Self::new(&Value::Text(written.amount), &written.currency)
            .map_err(|_| serde::de::Error::custom("not a revenue"))
    }
}

/// The currencies of ISO 4217 without funds and metals. Sorted.
#[rustfmt::skip]
const CURRENCIES: [&str; 157] = [
    "AED", "AFN", "ALL", "AMD", "ANG", "AOA", "ARS", "AUD", "AWG", "AZN", "BAM", "BBD", "BDT", "BGN", "BHD",
    "BIF", "BMD", "BND", "BOB", "BRL", "BSD", "BTN", "BWP", "BYN", "BZD", "CAD", "CDF", "CHF", "CLF", "CLP",
    "CNY", "COP", "CRC", "CUP", "CVE", "CZK", "DJF", "DKK", "DOP", "DZD", "EGP", "ERN", "ETB", "EUR", "FJD",
    "FKP", "GBP", "GEL", "GHS", "GIP", "GMD", "GNF", "GTQ", "GYD", "HKD", "HNL", "HTG", "HUF", "IDR", "ILS",
    "INR", "IQD", "IRR", "ISK", "JMD", "JOD", "JPY", "KES", "KGS", "KHR", "KMF", "KPW", "KRW", "KWD", "KYD",
    "KZT", "LAK", "LBP", "LKR", "LRD", "LSL", "LYD", "MAD", "MDL", "MGA", "MKD", "MMK", "MNT", "MOP", "MRU",
    "MUR", "MVR", "MWK", "MXN", "MYR", "MZN", "NAD", "NGN", "NIO", "NOK", "NPR", "NZD", "OMR", "PAB", "PEN",
    "PGK", "PHP", "PKR", "PLN", "PYG", "QAR", "RON", "RSD", "RUB", "RWF", "SAR", "SBD", "SCR", "SDG", "SEK",
    "SGD", "SHP", "SLE", "SOS", "SRD", "SSP", "STN", "SVC", "SYP", "SZL", "THB", "TJS", "TMT", "TND", "TOP",
    "TRY", "TTD", "TWD", "TZS", "UAH", "UGX", "USD", "UYU", "UZS", "VES", "VND", "VUV", "WST", "XAF", "XCD",
    "XCG", "XOF", "XPF", "YER", "ZAR", "ZMW", "ZWG",
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(text: &str) -> Value {
        Value::Text(text.into())
    }

    #[test]
    fn an_amount_is_read_in_many_spellings_and_written_in_one() {
        let check = |amount: Value, want: Option<&str>| {
            let read = Revenue::new(&amount, "EUR").ok().map(|revenue| revenue.amount());
            assert_eq!(read.as_deref(), want, "{}", plan::text_of(&amount));
        };
        check(Value::Integer(12), Some("12"));
        check(Value::Integer(0), Some("0"));
        check(Value::Integer(-12), Some("-12"));
        check(Value::Decimal(12.5), Some("12.5"));
        check(Value::Decimal(0.1 + 0.2), Some("0.3"));
        check(Value::Decimal(19.999_999_999_9), Some("20"));
        check(Value::Decimal(-0.5), Some("-0.5"));
        check(Value::Decimal(0.001), Some("0.001"));
        check(Value::Decimal(0.0001), Some("0"));
        check(Value::Decimal(1e-7), Some("0"));
        check(text("1329.99"), Some("1329.99"));
        check(text(" 12.50 "), Some("12.5"));
        check(text("+12"), Some("12"));
        check(text("12.50EUR"), Some("12.5"));
        check(text("12.50 €"), Some("12.5"));
        check(text("1e3"), Some("1000"));
        check(Value::Integer(99_999_999), Some("99999999"));
        check(text("99999999.999"), Some("99999999.999"));
        check(Value::Integer(250_000_000), Some("250000000"));
        check(Value::Decimal(999_999_999.5), Some("999999999.5"));
        check(Value::Decimal(999_999_999.999), Some("999999999.999"));
        check(Value::Decimal(999_999_999.999_6), None);
        check(Value::Integer(1_000_000_000), None);
        check(Value::Integer(-1_000_000_000), None);
        check(text("01761234567"), None);
        check(Value::Integer(4_111_111_111_111_111), None);
        check(text("4111111111111111"), None);
        check(text("+491761234567"), None);
        check(Value::Integer(i64::MIN), None);
        check(Value::Decimal(f64::NAN), None);
        check(Value::Decimal(f64::INFINITY), None);
        check(Value::Decimal(1e300), None);
        for none in [
            "",
            "EUR",
            "$12",
            "12,50",
            "1,329.99",
            "1.329,99",
            "12.50 jane@example.com",
            "12 5",
            "true",
        ] {
            check(text(none), None);
        }
        check(Value::Boolean(true), None);
    }

    #[test]
    fn a_currency_is_one_that_iso_4217_lists() {
        assert!(CURRENCIES.is_sorted());
        let check = |currency: &str, want: Option<&str>| {
            let read = Revenue::new(&Value::Integer(1), currency).ok();
            assert_eq!(read.map(|revenue| revenue.currency()), want, "{currency}");
        };
        check("EUR", Some("EUR"));
        check("usd", Some("USD"));
        check(" Jpy ", Some("JPY"));
        for none in ["", "EURO", "€", "XXX", "DEM", "jane", "EUR\0", "ＥＵＲ"] {
            check(none, None);
        }
    }

    #[test]
    fn what_is_written_is_read_again_and_nothing_else() {
        let revenue = Revenue::new(&text("12.50"), "eur").unwrap();
        let written = serde_json::to_string(&revenue).unwrap();
        assert_eq!(written, r#"{"amount":"12.5","currency":"EUR"}"#);
        assert!(serde_json::from_str::<Revenue>(&written).unwrap() == revenue);
        for wrong in [
            r#"{"amount":"12.5"}"#,
            r#"{"amount":"x","currency":"EUR"}"#,
            r#"{"amount":"12.5","currency":"EUR","note":"jane"}"#,
        ] {
            assert!(serde_json::from_str::<Revenue>(wrong).is_err(), "{wrong}");
        }
        assert_eq!(format!("{revenue:?}"), "Revenue(hidden)");
    }

    proptest! {
        #[test]
        fn an_amount_is_its_own_spelling(thousandths in -99_999_999_999_i64..99_999_999_999) {
            let revenue = Revenue { thousandths, currency: "EUR" };
            prop_assert!(Revenue::new(&Value::Text(revenue.amount()), "EUR") == Ok(revenue));
        }

        #[test]
        fn reading_is_total(amount in "\\PC{0,40}", currency in "\\PC{0,5}", number in any::<f64>()) {
            let _ = Revenue::new(&Value::Text(amount), &currency);
            let _ = Revenue::new(&Value::Decimal(number), "EUR");
        }
    }
}
