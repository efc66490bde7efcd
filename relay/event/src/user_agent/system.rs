//! The system that a User-Agent names, and the platform text that represents all of its versions.

use super::scan::{Facts, Key};
use std::borrow::Cow;

/// A system or a device class, at the granularity of Plausible's tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum System {
    Windows,
    WindowsPhone,
    Mac,
    ChromeOs,
    Linux,
    Ubuntu,
    FreeBsd,
    OpenBsd,
    Android {
        tv: bool,
        harmony: bool,
    },
    OpenHarmony {
        os: u16,
    },
    IPhone {
        os: u16,
    },
    IPad {
        os: u16,
    },
    Tizen {
        os: u16,
        tv: bool,
    },
    WebOsTv,
    KaiOs {
        os: u16,
    },
    /// A phone of Firefox OS, which names no system at all.
    FirefoxOs,
    Xbox,
    PlayStation {
        model: Option<u16>,
    },
    Nintendo(&'static str),
}

impl System {
    pub(super) fn of(facts: &Facts) -> Option<Self> {
        let has = |key| facts.has(key);
        let tv = has(Key::Tv);
        let on_tv = tv || has(Key::TvWord);
        Some(match () {
            // These name other systems besides their own: "Windows Phone 10.0; Android 6.0.1".
            () if has(Key::Windows) && has(Key::Phone) => Self::WindowsPhone,
            () if has(Key::Xbox) => Self::Xbox,
            () if has(Key::PlayStation) => Self::PlayStation {
                model: facts.major(Key::PlayStation).filter(|n| (3..=5).contains(n)),
            },
            () if has(Key::Nintendo) => Self::Nintendo(match () {
                () if has(Key::Switch) => "Nintendo Switch",
                () if has(Key::WiiU) => "Nintendo WiiU",
                () if has(Key::ThreeDs) => "Nintendo 3DS",
                () => "Nintendo",
            }),
            () if has(Key::KaiOs) => Self::KaiOs {
                os: facts.major(Key::KaiOs)?,
            },
            () if has(Key::OpenHarmony) => Self::OpenHarmony {
                os: facts.major(Key::OpenHarmony)?,
            },
            () if has(Key::IPad) => Self::IPad {
                os: facts.major(Key::Os)?,
            },
            () if has(Key::IPhone) => Self::IPhone {
                os: facts.major(Key::Os)?,
            },
            () if has(Key::Tizen) => Self::Tizen {
                os: facts.major(Key::Tizen)?,
                tv: on_tv,
            },
            () if has(Key::WebOs) => Self::WebOsTv,
            () if has(Key::Android) => Self::Android {
                tv,
                harmony: has(Key::HarmonyOs),
            },
            () if has(Key::Windows) => Self::Windows,
            () if has(Key::ChromeOs) => Self::ChromeOs,
            () if has(Key::Macintosh) => Self::Mac,
            () if has(Key::Ubuntu) => Self::Ubuntu,
            () if has(Key::FreeBsd) => Self::FreeBsd,
            () if has(Key::OpenBsd) => Self::OpenBsd,
            () if has(Key::Linux) => Self::Linux,
            () if has(Key::Mobile) && has(Key::Firefox) => Self::FirefoxOs,
            () => return None,
        })
    }

    /// The text in the parentheses: the system's frozen form, with at most its major version.
    pub(super) fn platform(self) -> Cow<'static, str> {
        match self {
            Self::Windows => "Windows NT 10.0; Win64; x64".into(),
            Self::WindowsPhone => "Windows Phone 10.0; Android 6.0.1".into(),
            Self::Mac => "Macintosh; Intel Mac OS X 10_15_7".into(),
            Self::ChromeOs => "X11; CrOS x86_64 14541.0.0".into(),
            Self::Linux => "X11; Linux x86_64".into(),
            Self::Ubuntu => "X11; Ubuntu; Linux x86_64".into(),
            Self::FreeBsd => "X11; FreeBSD amd64".into(),
            Self::OpenBsd => "X11; OpenBSD amd64".into(),
            Self::Android { tv: true, .. } => "Linux; Android 10; Android TV".into(),
            Self::Android { harmony: true, .. } => "Linux; Android 10; HarmonyOS; K".into(),
            Self::Android { .. } => "Linux; Android 10; K".into(),
            Self::OpenHarmony { os } => format!("Phone; OpenHarmony {os}.0").into(),
            Self::IPhone { os } => format!("iPhone; CPU iPhone OS {os}_0 like Mac OS X").into(),
            Self::IPad { os } => format!("iPad; CPU OS {os}_0 like Mac OS X").into(),
            Self::Tizen { os, tv: true } => format!("SMART-TV; Linux; Tizen {os}.0").into(),
            Self::Tizen { os, tv: false } => format!("Linux; Tizen {os}.0").into(),
            Self::WebOsTv => "Web0S; Linux/SmartTV".into(),
            Self::KaiOs { .. } | Self::FirefoxOs => "Mobile".into(),
            Self::Xbox => "Windows NT 10.0; Win64; x64; Xbox; Xbox One".into(),
            Self::PlayStation { model: Some(model) } => format!("PlayStation; PlayStation {model}").into(),
            Self::PlayStation { model: None } => "PlayStation".into(),
            Self::Nintendo(device) => device.into(),
        }
    }

    pub(super) fn is_ios(self) -> bool {
        matches!(self, Self::IPhone { .. } | Self::IPad { .. })
    }

    pub(super) fn is_android(self) -> bool {
        matches!(self, Self::Android { .. })
    }
}
