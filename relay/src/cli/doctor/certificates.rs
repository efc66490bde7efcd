//! The remaining validity of certificates: the listeners', the relay's client certificate, and the upstream's.

use crate::cli::manage::EXPIRY_NOTE_DAYS;
use crate::clock::Timestamp;
use crate::config::Config;
use crate::finding::Finding;
use crate::http::server::tls::Pair;
use x509_parser::parse_x509_certificate;

/// The certificates of the listeners with TLS.
pub(super) fn listeners(config: &Config, now: Timestamp) -> Vec<Finding> {
    let finding = |(name, files)| {
        let what = format!("{name}.tls");
        match Pair::read(files) {
            Ok(pair) => listener(what, pair.days_left(now)),
            Err(error) => Finding::wrong(what, error.to_string()).advise(
                "a running relay keeps its current certificate and key, but the next start will fail",
            ),
        }
    };
    config.tls().map(finding).collect()
}

fn listener(what: String, days: i64) -> Finding {
    let advice = "replace certificate and key: browsers reject an expired certificate; no restart is needed";
    validity(what, days, advice)
}

/// The relay's client certificate, if it has one that can be read: the files are checked with the configuration.
pub(super) fn client(config: &Config, now: Timestamp) -> Option<Finding> {
    let client = config.upstream.files.load().ok()?.client?;
    let (_, certificate) = parse_x509_certificate(client.cert.first()?).ok()?;
    let until = Timestamp(certificate.validity().not_after.timestamp().saturating_mul(1000));
    let advice = "replace it; no restart is needed";
    Some(validity(
        "upstream.client_cert_file",
        days_until(until, now),
        advice,
    ))
}

/// The certificate that Plausible, or a proxy in front of it, presented.
pub(super) fn upstream(until: Timestamp, now: Timestamp) -> Finding {
    let advice = "renew it: the relay sends nothing to a server whose certificate has expired";
    validity("upstream certificate", days_until(until, now), advice)
}

fn days_until(until: Timestamp, now: Timestamp) -> i64 {
    (until.0 - now.0).div_euclid(24 * 60 * 60 * 1000)
}

/// Most certificates are renewed a month before they expire, so fewer days than [`EXPIRY_NOTE_DAYS`] mean that the
/// renewal failed.
fn validity(what: impl Into<String>, days: i64, advice: &'static str) -> Finding {
    match days {
        ..0 => Finding::wrong(what, "the certificate has expired").advise(advice),
        0..EXPIRY_NOTE_DAYS => {
            Finding::warning(what, format!("the certificate expires in {days} days")).advise(advice)
        }
        _ => Finding::ok(what, format!("the certificate is valid for {days} more days")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Grade;

    #[test]
    fn the_advice_for_a_listener_is_right_before_and_after_its_certificate_expires() {
        let check = |days: i64, want: Grade| {
            let found = listener("public.tls".to_owned(), days);
            assert_eq!(found.grade, want, "{found:?}");
            assert!(
                found
                    .advice
                    .as_deref()
                    .is_some_and(|advice| advice.contains("browsers reject an expired certificate")),
                "{found:?}"
            );
        };
        check(5, Grade::Warning);
        check(-1, Grade::Wrong);
    }

    #[test]
    fn a_certificate_that_should_have_been_renewed_is_worth_a_warning() {
        const DAY: i64 = 24 * 60 * 60 * 1000;
        let check = |left: i64, says: &str, want: Grade| {
            let found = upstream(Timestamp(left), Timestamp(0));
            assert_eq!(
                (found.grade, found.says.contains(says)),
                (want, true),
                "{found:?}"
            );
        };
        check(90 * DAY, "90 more days", Grade::Ok);
        check(14 * DAY, "14 more days", Grade::Ok);
        check(14 * DAY - 1, "in 13 days", Grade::Warning);
        check(DAY - 1, "in 0 days", Grade::Warning);
        check(-1, "has expired", Grade::Wrong);
    }
}
