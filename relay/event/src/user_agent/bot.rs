//! The words by which a machine shows itself in a User-Agent.
//!
//! Whole names and endings of names, as Plausible does (contract b.3), not "contains": phones are
//! called Cubot, and an Android app may have a "StudyMode".

use super::index::{By, Index};

/// Endings of a name that mean a machine: `Googlebot`, `mesh-crawler/1.0`.
const ENDING_LIST: [&str; 46] = [
    "analyzer",
    "archiver",
    "bot",
    "bots",
    "check",
    "checker",
    "checks",
    "collector",
    "crawl",
    "crawler",
    "diagnostics",
    "fetch",
    "fetcher",
    "grabber",
    "headlesschrome",
    "indexer",
    "inspect",
    "inspector",
    "lookup",
    "monitor",
    "monitoring",
    "observatory",
    "pinger",
    "preview",
    "probe",
    "project",
    "proxy",
    "research",
    "resolver",
    "robots",
    "scan",
    "scanner",
    "scraper",
    "script",
    "searcher",
    "security",
    "slurp",
    "spider",
    "study",
    "synthetic",
    "synthetics",
    "transcoder",
    "uptime",
    "useragent",
    "validator",
    "verifier",
];

/// Whole names that mean a machine.
const NAME_LIST: [&str; 64] = [
    "adbeat",
    "adsense",
    "assetnote",
    "barkrowler",
    "catchpoint",
    "checkly",
    "colly",
    "convertify",
    "cypress",
    "datadogsynthetics",
    "datanyze",
    "devin",
    "dmbrowser",
    "expanse",
    "facebookcatalog",
    "facebookexternalhit",
    "facebookexternalua",
    "favicon",
    "favicons",
    "feedfetcher",
    "functionize",
    "googleassociationservice",
    "googleother",
    "gtmetrix",
    "headless",
    "heritrix",
    "httrack",
    "hubspot",
    "imgproxy",
    "infegy",
    "inspectiontool",
    "iplabel",
    "l9explore",
    "lighthouse",
    "linkcheck",
    "marketgoo",
    "mediapartners",
    "miniature",
    "netcraft",
    "nodeping",
    "nutch",
    "owler",
    "pagespeed",
    "phantomjs",
    "pingdom",
    "pingdompagespeed",
    "pingdomtms",
    "playwright",
    "ptst",
    "puppeteer",
    "scrapy",
    "securityheaders",
    "selenium",
    "seobility",
    "site24x7",
    "siteimprove",
    "snoopy",
    "splash",
    "sqlmap",
    "statuscake",
    "thousandeyes",
    "webpagetest",
    "xenu",
    "zgrab",
];

/// Last parts of a name: `ChatGPT-User/1.0`, `cohere-ai`, `Google-Extended/1`.
const PARTS: [&str; 5] = ["ai", "extended", "externalagent", "google", "user"];

static ENDINGS: Index<{ ENDING_LIST.len() }> = Index::new(ENDING_LIST, By::Last);
static NAMES: Index<{ NAME_LIST.len() }> = Index::new(NAME_LIST, By::First);

/// Whether a name, in lower case, says that it is a machine's.
///
/// `versioned`: a slash follows. `model`: it stands where an Android phone tells its model, where
/// "bot" is part of the name of a phone ("Cubot X18", "ID bot 53", "Spider 8"); a crawler that
/// dresses as a phone names itself with a version or behind the platform.
pub(super) fn is_name(name: &str, versioned: bool, model: bool) -> bool {
    let model = model && !versioned;
    if !model
        && let Some((head, last)) = name.rsplit_once('-')
        && (PARTS.contains(&last) || head.starts_with("google"))
    {
        return true;
    }
    name.as_bytes()
        .split(|b| !b.is_ascii_alphanumeric())
        .filter(|word| word.len() >= 3)
        .any(|word| {
            (NAMES.place(word).is_some() || ENDINGS.has_ending_of(word)) && !(model && may_be_a_phone(word))
        })
}

fn may_be_a_phone(word: &[u8]) -> bool {
    word == b"spider" || word.ends_with(b"bot") && word.len() <= "cubot".len()
}
