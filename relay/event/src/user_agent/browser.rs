//! The browser that a User-Agent names, in the form that browser would send on a reduced system.

use super::scan::{Facts, Key};
use super::system::System;

/// The position at which a browser that is based on another puts its own word.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    BeforeChrome,
    AfterChrome,
    BeforeSafari,
    End,
}

/// A browser based on Chrome: its identifying word, the text before and after its major version, and its position.
type Brand = (Key, &'static str, &'static str, Place);

/// In order of precedence: a browser that also carries another one's word comes first.
const ON_CHROME: &[Brand] = &[
    (Key::Ddg, "Ddg/", ".0.0.0", Place::End),
    (Key::DuckDuckGo, "DuckDuckGo/", ".0", Place::BeforeSafari),
    (Key::BingApp, "BingSapphire/", ".0", Place::End),
    (Key::Vivaldi, "Vivaldi/", ".0.0.0", Place::End),
    (Key::Opera, "OPR/", ".0.0.0", Place::End),
    (Key::EdgAndroid, "EdgA/", ".0.0.0", Place::End),
    (Key::Edg, "Edg/", ".0.0.0", Place::End),
    (Key::EdgeLegacy, "Edge/", ".0", Place::End),
    (Key::GoogleApp, "GSA/", ".0", Place::End),
    (Key::Miui, "XiaoMi/MiuiBrowser/", ".0", Place::End),
    (Key::Huawei, "HuaweiBrowser/", ".0", Place::AfterChrome),
    (Key::Whale, "Whale/", ".0", Place::AfterChrome),
    (Key::Yandex, "YaBrowser/", ".0", Place::AfterChrome),
    (Key::Uc, "UCBrowser/", ".0", Place::AfterChrome),
    (Key::QqMobile, "MQQBrowser/", ".0", Place::AfterChrome),
    (Key::Qq, "QQBrowser/", ".0", Place::End),
    (Key::Samsung, "SamsungBrowser/", ".0", Place::BeforeChrome),
    (Key::CocCoc, "coc_coc_browser/", ".0", Place::BeforeChrome),
    (Key::Focus, "Focus/", ".0", Place::BeforeChrome),
    (Key::Klar, "Klar/", ".0", Place::BeforeChrome),
];

/// Browsers on iOS, all with Apple's engine: the word replaces Safari's `Version/`.
const ON_IOS: &[(Key, &str)] = &[
    (Key::ChromeIos, "CriOS/"),
    (Key::Focus, "Focus/"),
    (Key::Klar, "Klar/"),
    (Key::FirefoxIos, "FxiOS/"),
    (Key::EdgIos, "EdgiOS/"),
    (Key::GoogleApp, "GSA/"),
    (Key::OperaGxIos, "OPX/"),
    (Key::OperaTouchIos, "OPT/"),
    (Key::OperaMiniIos, "OPiOS/"),
    (Key::Ddg, "Ddg/"),
    (Key::DuckDuckGo, "DuckDuckGo/"),
    (Key::BingApp, "BingSapphire/"),
    (Key::Yandex, "YaBrowser/"),
    (Key::Whale, "Whale/"),
    (Key::CocCoc, "coc_coc_browser/"),
    (Key::QqMobile, "MQQBrowser/"),
    (Key::Uc, "UCBrowser/"),
    (Key::Vivaldi, "Vivaldi/"),
    // A desktop browser that emulates a phone; every parser reads it as Chrome on iOS.
    (Key::Chrome, "CriOS/"),
];

const APPLE_ENGINE: &str = "AppleWebKit/605.1.15 (KHTML, like Gecko)";

/// The text for a browser on a system; `None` if no rule covers the pair.
pub(super) fn write(facts: &Facts, system: System) -> Option<String> {
    match system {
        System::WindowsPhone => windows_phone(facts),
        System::Nintendo(_) => nintendo(facts, system),
        System::PlayStation { .. } => apple(facts, system),
        System::KaiOs { .. } | System::FirefoxOs => firefox(facts, system),
        _ if system.is_ios() => ios(facts, system),
        _ => internet_explorer(facts, system)
            .or_else(|| firefox(facts, system))
            .or_else(|| chromium(facts, system))
            .or_else(|| apple(facts, system)),
    }
}

/// Presto-based versions of Opera, which begin with their own name and may name no system.
pub(super) fn write_presto(facts: &Facts) -> Option<String> {
    if facts.has(Key::OperaMini) {
        let n = facts.major(Key::OperaMini)?;
        let platform = match () {
            () if facts.has(Key::Android) => "Android",
            () if facts.has(Key::IPhone) => "iPhone",
            () if facts.has(Key::IPad) => "iPad",
            () => "J2ME/MIDP",
        };
        return Some(format!(
            "Opera/9.80 ({platform}; Opera Mini/{n}.0) Presto/2.12.423 Version/12.0"
        ));
    }
    let n = facts.major(Key::Version).or(facts.major(Key::OperaPresto))?;
    Some(if facts.has(Key::OperaMobi) {
        format!("Opera/9.80 (Android; Linux; Opera Mobi/ADR) Presto/2.11.355 Version/{n}.0")
    } else {
        let system = System::of(facts)?;
        if !matches!(
            system,
            System::Windows
                | System::Mac
                | System::Linux
                | System::Ubuntu
                | System::FreeBsd
                | System::OpenBsd
        ) {
            return None;
        }
        let platform = system.platform();
        format!("Opera/9.80 ({platform}) Presto/2.12.388 Version/{n}.0")
    })
}

/// Version 11, and older ones under their former name.
fn internet_explorer(facts: &Facts, system: System) -> Option<String> {
    if !matches!(system, System::Windows | System::Xbox) {
        return None;
    }
    // In compatibility view the engine still gives the real version.
    let n = match facts.major(Key::Trident) {
        Some(engine) => engine.checked_add(4)?,
        None => facts.major(Key::Msie)?,
    };
    Some(match n {
        11 => "Mozilla/5.0 (Windows NT 10.0; WOW64; Trident/7.0; rv:11.0) like Gecko".into(),
        9 | 10 => format!(
            "Mozilla/5.0 (compatible; MSIE {n}.0; Windows NT 6.1; Trident/{}.0)",
            n - 4
        ),
        8 => "Mozilla/4.0 (compatible; MSIE 8.0; Windows NT 6.1; Trident/4.0)".into(),
        6 | 7 => format!("Mozilla/4.0 (compatible; MSIE {n}.0; Windows NT 5.1)"),
        _ => return None,
    })
}

fn windows_phone(facts: &Facts) -> Option<String> {
    if let Some(n) = facts.major(Key::EdgeLegacy) {
        let chrome = facts.major(Key::Chrome)?;
        return Some(format!(
            "Mozilla/5.0 ({}) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{chrome}.0.0.0 Mobile Safari/537.36 Edge/{n}.0",
            System::WindowsPhone.platform()
        ));
    }
    Some(match facts.major(Key::IeMobile)? {
        11 => "Mozilla/5.0 (Mobile; Windows Phone 8.1; Android 4.0; ARM; Trident/7.0; Touch; rv:11.0; IEMobile/11.0) like Gecko".into(),
        10 => "Mozilla/5.0 (compatible; MSIE 10.0; Windows Phone 8.0; Trident/6.0; IEMobile/10.0; ARM; Touch)".into(),
        9 => "Mozilla/5.0 (compatible; MSIE 9.0; Windows Phone OS 7.5; Trident/5.0; IEMobile/9.0)".into(),
        _ => return None,
    })
}

fn nintendo(facts: &Facts, system: System) -> Option<String> {
    let platform = system.platform();
    Some(match facts.major(Key::NintendoBrowser) {
        Some(n) => {
            format!("Mozilla/5.0 ({platform}) AppleWebKit/606.4 (KHTML, like Gecko) NintendoBrowser/{n}.0")
        }
        None => format!("Mozilla/5.0 ({platform}) AppleWebKit/606.4 (KHTML, like Gecko)"),
    })
}

fn firefox(facts: &Facts, system: System) -> Option<String> {
    let n = facts.major(Key::Firefox)?;
    let platform = match system {
        System::Android { .. } if facts.has(Key::Tablet) => "Android 10; Tablet".into(),
        System::Android { .. } => "Android 10; Mobile".into(),
        System::Mac => "Macintosh; Intel Mac OS X 10.15".into(),
        _ => system.platform(),
    };
    let phone = matches!(
        system,
        System::Android { .. } | System::KaiOs { .. } | System::FirefoxOs
    );
    let mut out = format!("Mozilla/5.0 ({platform}; rv:{n}.0) Gecko/");
    if phone {
        out.push_str(&format!("{n}.0"));
    } else {
        out.push_str("20100101");
    }
    out.push_str(&format!(" Firefox/{n}.0"));
    if let System::KaiOs { os } = system {
        out.push_str(&format!(" KAIOS/{os}.0"));
    }
    Some(out)
}

fn chromium(facts: &Facts, system: System) -> Option<String> {
    let n = facts.major(Key::Chrome)?;
    // An app's web view names the app; the system's own form does not.
    let in_app = facts.has(Key::InApp);
    let brand = ON_CHROME
        .iter()
        .filter(|_| !in_app)
        .find_map(|(key, name, zeros, place)| {
            Some((format!("{name}{}{zeros} ", facts.major(*key)?), *place))
        });
    // Chrome itself has no "Version/"; Android's web view has, even if an app removed "wv".
    let bare = brand.is_none() && facts.has(Key::Version) && !facts.has(Key::Silk);
    let web_view = system.is_android() && (facts.has(Key::WebView) || in_app || bare);
    let mut out = format!("Mozilla/5.0 ({}", system.platform());
    if web_view {
        out.push_str("; wv");
    }
    out.push_str(") AppleWebKit/537.36 (KHTML, like Gecko) ");
    let brand_at = |here: Place| match &brand {
        Some((text, place)) if *place == here => text.as_str(),
        _ => "",
    };
    if web_view {
        out.push_str("Version/4.0 ");
    }
    out.push_str(brand_at(Place::BeforeChrome));
    if let Some(silk) = facts.major(Key::Silk).filter(|_| !in_app) {
        out.push_str(&format!("Silk/{silk}.0 like "));
    }
    out.push_str(&format!("Chrome/{n}.0.0.0 "));
    out.push_str(brand_at(Place::AfterChrome));
    if let System::OpenHarmony { .. } = system
        && let Some(web) = facts.major(Key::ArkWeb)
    {
        out.push_str(&format!("ArkWeb/{web}.0 "));
    }
    let phone = system.is_android() || matches!(system, System::OpenHarmony { .. } | System::Tizen { .. });
    if phone && facts.has(Key::Mobile) {
        out.push_str("Mobile ");
    }
    out.push_str(brand_at(Place::BeforeSafari));
    out.push_str("Safari/537.36 ");
    out.push_str(brand_at(Place::End));
    if facts.has(Key::Sogou) && brand.is_none() {
        out.push_str("SE 2.X MetaSr 1.0 ");
    }
    if let Some(n) = facts.major(Key::EcosiaAndroid).filter(|_| brand.is_none()) {
        out.push_str(&format!("(Ecosia android@{n}.0)"));
    }
    out.truncate(out.trim_end().len());
    Some(out)
}

/// Safari, and programs that use Apple's engine or Android's older one.
fn apple(facts: &Facts, system: System) -> Option<String> {
    if !facts.has(Key::AppleWebKit) {
        return None;
    }
    let platform = system.platform();
    let version = facts.major(Key::Version).filter(|_| facts.has(Key::Safari));
    if system.is_android() {
        let mobile = if facts.has(Key::Mobile) { "Mobile " } else { "" };
        let uc = facts.major(Key::Uc).map(|uc| format!("UCBrowser/{uc}.0 "));
        let uc = uc.unwrap_or_default();
        return version.map(|n| {
            format!("Mozilla/5.0 ({platform}) AppleWebKit/534.30 (KHTML, like Gecko) Version/{n}.0 {uc}{mobile}Safari/534.30")
        });
    }
    let mut out = format!("Mozilla/5.0 ({platform}) {APPLE_ENGINE}");
    if let System::Tizen { tv, .. } = system {
        if let Some(n) = version {
            out.push_str(&format!(" Version/{n}.0"));
        }
        out.push_str(if tv { " TV" } else { " Mobile" });
        out.push_str(" Safari/605.1.15");
        return Some(out);
    }
    if let Some(n) = version {
        out.push_str(&format!(" Version/{n}.0 Safari/605.1.15"));
        if system == System::Mac
            && let Some(ddg) = facts.major(Key::Ddg).or(facts.major(Key::DuckDuckGo))
        {
            out.push_str(&format!(" Ddg/{ddg}.0"));
        }
        return Some(out);
    }
    // A web view without its own version. On other systems no browser sends this.
    matches!(system, System::Mac | System::PlayStation { .. }).then_some(out)
}

fn ios(facts: &Facts, system: System) -> Option<String> {
    let in_app = facts.has(Key::InApp);
    let brand = ON_IOS
        .iter()
        .filter(|_| !in_app)
        .find_map(|(key, text)| Some((*text, facts.major(*key)?)));
    let version = || Some(("Version/", facts.major(Key::Version).filter(|_| !in_app)?));
    let mut out = format!("Mozilla/5.0 ({}) {APPLE_ENGINE}", system.platform());
    match brand.or_else(version) {
        Some((text, n)) => out.push_str(&format!(" {text}{n}.0 Mobile/15E148 Safari/604.1")),
        // An app's web view.
        None if facts.has(Key::AppleWebKit) => out.push_str(" Mobile/15E148"),
        None => return None,
    }
    if brand.is_none() && !in_app {
        if facts.has(Key::Brave) {
            out.push_str(" Brave");
        } else if let Some(n) = facts.major(Key::EcosiaIos) {
            out.push_str(&format!(" (Ecosia ios@{n}.0)"));
        }
    }
    Some(out)
}
