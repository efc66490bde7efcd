//! `upstream.profile`: the kind of server that receives events, the header in which it reads the visitor's address,
//! how it reports its health, and which events it can count (contract b.1, b.6, b.7, f).

use axum::http::HeaderName;
use relay_event::Outcome;
use relay_event::event::ENGAGEMENT;

/// The kind of server behind `upstream.url`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// Plausible Community Edition, or another installation of Plausible's own code.
    #[default]
    PlausibleCe,
    /// Plausible Cloud: a load balancer in front computes the visitor's address.
    PlausibleCloud,
    /// Vince.
    Vince,
}

/// Longest event name that Vince accepts, in bytes. Plausible counts characters.
const VINCE_NAME_BYTES_MAX: usize = 120;

impl Profile {
    /// Every profile.
    pub const ALL: [Self; 3] = [Self::PlausibleCe, Self::PlausibleCloud, Self::Vince];

    /// The value of the setting.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PlausibleCe => "plausible-ce",
            Self::PlausibleCloud => "plausible-cloud",
            Self::Vince => "vince",
        }
    }

    /// The name of the server software, for people.
    pub const fn server(self) -> &'static str {
        match self {
            Self::PlausibleCe => "Plausible",
            Self::PlausibleCloud => "Plausible Cloud",
            Self::Vince => "Vince",
        }
    }

    /// The configuration line that selects this profile, for messages.
    pub fn line(self) -> String {
        format!("write `profile = {:?}` under [upstream] and restart", self.name())
    }

    /// The configuration line that selects the header in which this server reads the address, for messages.
    pub fn header_line(self) -> String {
        format!(
            "remove `address_header` under [upstream], or write `address_header = {:?}`, and restart",
            self.address_header().as_str()
        )
    }

    /// The header for the visitor's address: the one with the highest precedence at the server, so that a proxy in
    /// between cannot override it.
    pub const fn address_header(self) -> HeaderName {
        HeaderName::from_static(match self {
            Self::PlausibleCe => "x-plausible-ip",
            Self::PlausibleCloud => "x-forwarded-for",
            Self::Vince => "x-vince-ip",
        })
    }

    /// Whether the server reads a bare address in this header. `Forwarded` requires `for=` before it.
    pub fn reads(self, header: &HeaderName) -> bool {
        let read: &[&str] = match self {
            Self::PlausibleCe => &[
                "x-plausible-ip",
                "cf-connecting-ip",
                "b-forwarded-for",
                "x-forwarded-for",
            ],
            Self::PlausibleCloud => &["x-forwarded-for"],
            Self::Vince => &[
                "x-vince-ip",
                "cf-connecting-ip",
                "b-forwarded-for",
                "x-real-ip",
                "x-forwarded-for",
                "x-client-ip",
                "fly-client-ip",
            ],
        };
        read.contains(&header.as_str())
    }

    /// The server's health path. Vince has none; its root shows that it answers.
    pub const fn health_path(self) -> &'static str {
        match self {
            Self::PlausibleCe | Self::PlausibleCloud => "/api/health",
            Self::Vince => "/",
        }
    }

    /// Why an event of this name is not sent: the server would count it as something else, or refuse it.
    pub fn leaves_out(self, name: &str) -> Option<Outcome> {
        match self {
            Self::PlausibleCe | Self::PlausibleCloud => None,
            Self::Vince if name == ENGAGEMENT => Some(Outcome::EngagementLeftOut),
            Self::Vince if name.len() > VINCE_NAME_BYTES_MAX => Some(Outcome::NameLeftOut),
            Self::Vince => None,
        }
    }

    /// Whether the server stores properties. The relay does not send them to a server that does not.
    pub const fn keeps_props(self) -> bool {
        !matches!(self, Self::Vince)
    }

    /// Whether the Stats API can count one event name over a span of UTC time (`POST /api/v2/query`).
    pub const fn counts_by_event(self) -> bool {
        !matches!(self, Self::Vince)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_sends_the_address_where_its_server_reads_it_first() {
        let check = |profile: Profile, header: &'static str, reads: bool| {
            let header = HeaderName::from_static(header);
            assert_eq!(profile.reads(&header), reads, "{} {header}", profile.name());
        };
        for profile in Profile::ALL {
            assert!(profile.reads(&profile.address_header()), "{}", profile.name());
            assert!(profile.line().contains(profile.name()));
            assert!(profile.header_line().contains(profile.address_header().as_str()));
        }
        check(Profile::PlausibleCe, "x-plausible-ip", true);
        check(Profile::PlausibleCe, "x-forwarded-for", true);
        check(Profile::PlausibleCe, "x-vince-ip", false);
        check(Profile::PlausibleCe, "x-real-ip", false);
        check(Profile::PlausibleCe, "forwarded", false);
        check(Profile::PlausibleCloud, "x-forwarded-for", true);
        check(Profile::PlausibleCloud, "x-plausible-ip", false);
        check(Profile::Vince, "x-vince-ip", true);
        check(Profile::Vince, "x-real-ip", true);
        check(Profile::Vince, "fly-client-ip", true);
        check(Profile::Vince, "x-plausible-ip", false);
        check(Profile::Vince, "true-client-ip", false);
    }

    #[test]
    fn an_event_that_the_server_counts_wrongly_or_refuses_is_left_out() {
        let check = |profile: Profile, name: &str, want: Option<Outcome>| {
            assert_eq!(profile.leaves_out(name), want, "{} {name}", profile.name());
        };
        let (fits, long) = ("é".repeat(60), "é".repeat(61));
        for plausible in [Profile::PlausibleCe, Profile::PlausibleCloud] {
            check(plausible, "engagement", None);
            check(plausible, &long, None);
        }
        check(Profile::Vince, "engagement", Some(Outcome::EngagementLeftOut));
        check(Profile::Vince, "Engagement", None);
        check(Profile::Vince, "pageview", None);
        check(Profile::Vince, &fits, None);
        check(Profile::Vince, &long, Some(Outcome::NameLeftOut));
    }
}
