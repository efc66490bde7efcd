//! Interprets the counters, and recommends changes to relay.toml.

use super::origins::OPAQUE;
use super::{Arrivals, FORWARDING, Oddity, Public, REQUESTS_MIN};
use crate::finding::{Finding, Grade};
use crate::http::server::Closed;
use ipnet::IpNet;
use std::sync::PoisonError;
use std::sync::atomic::Ordering::Relaxed;

/// The reader of the findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// The operator, over the control socket: with the private addresses of proxies and with foreign origins.
    Operator,
    /// Admins and their monitoring: without either.
    Admin,
}

const WHAT: &str = "front door";

impl Arrivals {
    /// Findings about how requests arrive, the worst first.
    pub fn findings(&self, config: &Public, shown: Shown) -> Vec<Finding> {
        let requests = self.requests.load(Relaxed);
        let mut findings: Vec<Finding> = Oddity::ALL
            .iter()
            .filter_map(|oddity| self.finding(*oddity, requests, config, shown))
            .collect();
        findings.extend(self.heads());
        findings.extend(self.crowded());
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.grade));
        if requests == 0 {
            let says = "not checked: no request with events has arrived yet, so it is unknown how the relay \
                sees its clients";
            findings.push(Finding::new(WHAT, Grade::Note, says));
        } else if findings.is_empty() {
            // With fewer requests, [`Oddity::OneAddress`] is not judged.
            let several = if requests < REQUESTS_MIN {
                ""
            } else {
                ", and not all the same one"
            };
            let says = format!("each of the last {requests} requests carried a client address{several}");
            findings.push(Finding::new(WHAT, Grade::Ok, says));
        }
        findings
    }

    fn finding(&self, oddity: Oddity, requests: u32, config: &Public, shown: Shown) -> Option<Finding> {
        let count = self.odd[oddity as usize].load(Relaxed);
        let (says, is_general) = match oddity {
            Oddity::OneAddress => {
                let percent = self.share_of_one_address()?;
                (
                    format!("{percent} % of the last {requests} requests: {}", oddity.says()),
                    true,
                )
            }
            _ if count == 0 => return None,
            Oddity::OriginRefused | Oddity::OwnOriginRefused => {
                let own = oddity == Oddity::OwnOriginRefused;
                (
                    format!("{}: {}", oddity.says(), self.refused_origins(own, shown)?),
                    true,
                )
            }
            _ => {
                let says = format!("{count} of the last {requests} requests: {}", oddity.says());
                (
                    says + &self.headers_seen(oddity),
                    oddity.is_general(count, requests),
                )
            }
        };
        let grade = if is_general { Grade::Warning } else { Grade::Note };
        Some(Finding::new(WHAT, grade, says).advise(self.advice(oddity, config, shown)))
    }

    /// Heads that were too large. They count since the start, and do not count as arrived.
    fn heads(&self) -> Option<Finding> {
        let count = self.connections.heads_too_large.get();
        let says = format!(
            "{count} requests were answered 431 because their headers were too large: their events are lost"
        );
        (count > 0).then(|| {
            Finding::new(WHAT, Grade::Warning, says).advise(
                "large cookies of the page's host are the usual cause; the relay reads none, so the proxy may remove them; for nginx: proxy_set_header Cookie \"\";",
            )
        })
    }

    /// Addresses that reached their connection limit since the start. No event is lost by it, and a stranger may be
    /// the cause.
    fn crowded(&self) -> Option<Finding> {
        let count = self.connections.closed(Closed::Client).get();
        let says =
            format!("{count} connections were closed because their address reached its connection limit");
        (count > 0).then(|| {
            Finding::new(WHAT, Grade::Note, says).advise(
                "if it is an office that needs more, raise `public.connections_per_client_max`, and \
                 `public.connections_max` to four times as many; if it is your proxy, list it in \
                 `public.trusted_proxies`",
            )
        })
    }

    fn advice(&self, oddity: Oddity, config: &Public, shown: Shown) -> String {
        match oddity {
            Oddity::UntrustedProxy => self.whom_to_trust(config, shown),
            Oddity::OriginRefused if shown == Shown::Admin => {
                "`feedback-relay doctor` names them: add those that are yours to `origins` in [[site]]"
                    .to_owned()
            }
            Oddity::OwnOriginRefused | Oddity::OriginRefused => self.whom_to_let_in(oddity),
            _ => oddity.advice().to_owned(),
        }
    }

    /// The setting that trusts the observed proxies.
    fn whom_to_trust(&self, config: &Public, shown: Shown) -> String {
        let advice = Oddity::UntrustedProxy.advice();
        let proxies = self.proxies.lock().unwrap_or_else(PoisonError::into_inner);
        if proxies.is_empty() {
            return format!("{advice}. They have public addresses, which the relay does not store");
        }
        if shown == Shown::Admin {
            return format!("{advice}; `feedback-relay doctor` names them");
        }
        let seen = proxies.iter().map(|(address, _)| IpNet::from(*address));
        let all: Vec<String> = config
            .trusted_proxies
            .iter()
            .copied()
            .chain(seen)
            .map(written)
            .collect();
        format!("{advice}: trusted_proxies = [{}]", all.join(", "))
    }

    /// The origins to add, and advice about pages that send none or are not named.
    fn whom_to_let_in(&self, oddity: Oddity) -> String {
        let origins = self.origins_of(oddity == Oddity::OwnOriginRefused);
        let all = origins.known().into_iter().map(|refused| refused.origin);
        let (hidden, named): (Vec<String>, Vec<String>) = all.partition(|origin| origin == OPAQUE);
        let mut advice = Vec::new();
        if !named.is_empty() {
            let named: Vec<String> = named.iter().map(|origin| format!("{origin:?}")).collect();
            let named = named.join(", ");
            advice.push(format!(
                "{}: add {named} to `origins` in [[site]]",
                oddity.advice()
            ));
        }
        if !hidden.is_empty() {
            advice.push(
                "null is a page that hides its origin: a file, a sandboxed frame, or one with \
                 `Referrer-Policy: no-referrer`; use `same-origin` instead"
                    .to_owned(),
            );
        }
        if advice.is_empty() || origins.others() > 0 {
            advice.push(
                "other origins are only counted: there are too many, or browsers do not send such origins. If \
                 events of your page are missing, compare its address with `origins` in [[site]]"
                    .to_owned(),
            );
        }
        advice.join(". ")
    }

    /// The headers that name a client and are not used.
    fn headers_seen(&self, oddity: Oddity) -> String {
        if !matches!(oddity, Oddity::UntrustedProxy | Oddity::SilentProxy) {
            return String::new();
        }
        let names = FORWARDING.iter().chain([&"another header with an address"]);
        let seen: Vec<&str> = names
            .zip(&self.headers)
            .filter(|(_, count)| count.load(Relaxed) > 0)
            .map(|(name, _)| *name)
            .collect();
        match seen.is_empty() {
            true => String::new(),
            false => format!(" (unused headers: {})", seen.join(", ")),
        }
    }

    fn refused_origins(&self, own: bool, shown_to: Shown) -> Option<String> {
        let origins = self.origins_of(own);
        let (known, others) = (origins.known(), origins.others());
        if !own && shown_to == Shown::Admin {
            let all = known
                .iter()
                .fold(others, |sum, refused| sum.saturating_add(refused.count));
            return (all > 0).then(|| format!("{all} requests"));
        }
        let mut shown: Vec<String> = known
            .iter()
            .map(|refused| format!("{} ({})", refused.origin, refused.count))
            .collect();
        if others > 0 {
            shown.push(format!("others ({others})"));
        }
        (!shown.is_empty()).then(|| shown.join(", "))
    }
}

/// A network as written in relay.toml.
fn written(net: IpNet) -> String {
    match net.prefix_len() == net.max_prefix_len() {
        true => format!("\"{}\"", net.addr()),
        false => format!("\"{net}\""),
    }
}
