//! The words that identify a machine in a User-Agent.
//!
//! Matches whole names and endings of names, like Plausible (contract b.3), not substrings: some phones are called
//! Cubot, and an Android app may have a "StudyMode".

use super::index::{By, Index};

/// Endings of a name that mean a machine: `Googlebot`, `mesh-crawler/1.0`.
#[rustfmt::skip]
const ENDING_LIST: [&str; 72] = [
    "analyzer", "archive", "archiver", "bot", "bots", "camo", "check", "checker", "checklink", "checks",
    "collector", "crawl", "crawler", "crawling", "detector", "diagnostics", "downloader", "exporter",
    "externalhit", "feed", "feeds", "fetch", "fetcher", "finder", "grabber", "headlesschrome", "indexer",
    "indexing", "inspect", "inspector", "lookup", "measurement", "measurements", "monitor", "monitoring",
    "observatory", "parser", "pinger", "preview", "probe", "prober", "project", "proxy", "recon", "research",
    "resolver", "retriever", "robots", "rss", "scan", "scanner", "scanning", "scans", "scraper", "screenshot",
    "script", "searcher", "security", "slurp", "snapshot", "spider", "statistics", "study", "survey",
    "synthetic", "synthetics", "transcoder", "uptime", "useragent", "validator", "verification", "verifier",
];

/// Whole names that mean a machine.
#[rustfmt::skip]
const NAME_LIST: [&str; 102] = [
    "adbeat", "adsense", "appinsights", "assetnote", "barkrowler", "catchpoint", "checkly", "collapsify",
    "colly", "convertify", "cookiehubverify", "criticalcss", "cybaaagent", "cypress", "dareboost",
    "datadogsynthetics", "datanyze", "daum", "daumoa", "devin", "dmbrowser", "expanse", "facebookcatalog",
    "facebookexternalhit", "facebookexternalua", "favicon", "favicons", "feedfetcher", "foregenix",
    "functionize", "geckoversion", "googleassociationservice", "googleother", "gtmetrix", "hardenize",
    "headless", "heritrix", "hlb", "hotjar", "httrack", "hubspot", "imgproxy", "infegy", "inspectiontool",
    "inspici", "iplabel", "karnoprospectingstudio", "keydrop", "l9explore", "lighthouse", "linkcheck",
    "linktiger", "marketgoo", "mediapartners", "miniature", "mixnode", "mutant", "nbertaupete95", "netcraft",
    "newsai", "newsnow", "nodeping", "nutch", "onlyscans", "openvas", "owler", "pagespeed", "phantomjs",
    "pingdom", "pingdompagespeed", "pingdomtms", "playwright", "printfriendly", "ptst", "puppeteer",
    "pwabuilderhttpagent", "rigor", "scope3", "scrapy", "securityheaders", "selenium", "seobility",
    "silktide", "sindup", "site24x7", "siteimprove", "snoopy", "splash", "sqlmap", "sqwatcher", "statuscake",
    "testlocally", "thousandeyes", "turingos", "watchtowr", "webpagetest", "whatcms", "xenu", "xtate", "ylt",
    "yunjiankong", "zgrab",
];

/// Last parts of a name: `ChatGPT-User/1.0`, `cohere-ai`, `Google-Extended/1`.
const PARTS: [&str; 5] = ["ai", "extended", "externalagent", "google", "user"];

/// Names that mean a machine unless the text begins like every browser's: crawlers, feed readers, monitors and load
/// generators. Only the names come from isbot (public domain), crawler-user-agents (MIT) and the test agents of
/// device-detector, which Plausible uses; no pattern is copied.
#[rustfmt::skip]
const ALONE_LIST: [&str; 208] = [
    "acunetix", "adreview", "adstxtcrawlertp", "ahc", "alittle", "amazonbuyforme", "anarchy99", "apachebench",
    "appsiteassociation", "arachni", "artillery", "asana", "asnriskscorer", "barracuda", "bidtellect",
    "biglotron", "bitdiscovery", "blackboardally", "blackbox", "blackduck", "bloglines", "bloglovin",
    "blogtrottr", "botpoke", "brandwatch", "browsershots", "brw", "bsc", "castopod", "catexplorador",
    "charlotte", "coccoc", "collectd", "commafeed", "comodo", "corporama", "cortex", "cow", "crawl4ai",
    "cyotekwebcopy", "datadog", "datafeedwatch", "daumoa", "dcv", "digg", "dirbuster", "drupact", "ds9",
    "dummy", "easycron", "emailwolf", "exractor", "externalads", "fastdast", "feedbin", "feedburner",
    "feeder", "feedflow", "feedlyapp", "feedspot", "feedwrangler", "feroxbuster", "freshrss", "funnelback",
    "gather", "gatling", "gbrmss", "gigablastopensource", "githubcopilotchat", "globalwebsearch", "gobuster",
    "googlesites", "grafana", "grammarly", "greedyhand", "hakai", "hatena", "hells", "hey", "httpmon",
    "hubpages", "ichiro", "idg", "insomania", "internaetboten", "itms", "jmeter", "k6", "kendra", "keycdn",
    "kirkland", "kiwitcms", "komaru", "kowai", "kvshclient", "l9tcpid", "larbin", "letrixlabs", "libredtail",
    "linkace", "linkchain", "linkchkr", "linkdex", "linkexpander", "linkwalker", "lmao", "locust", "lolisec",
    "ltx71", "magellan", "masjesu", "masscan", "matomo", "metafeedly", "metauri", "mnogosearch", "mobileok",
    "mozilliqa", "munin", "mycellar", "nameofagent", "netvibes", "netvigie", "newsblur", "newsgatoronline",
    "newspaper", "nikto", "nmap", "novellum", "nuclei", "nuzzel", "nvd0rz", "nvdorz", "octopus", "openvas",
    "outbrain", "owned", "panopta", "panscient", "phpmyadmin", "pocketimagecache", "pompos", "prittorrent",
    "prometheus", "promise", "protopage", "rainmeter", "reqbin", "revolt", "robozilla", "roihunter",
    "rootevidence", "sbider", "scooter", "scrubby", "searcherweb", "searcherxweb", "searchexpress", "sectigo",
    "sectxt", "sentry", "sffeedreader", "shadowforce", "shodan", "siege", "silverreader", "simbiat",
    "simplepie", "sitesucker", "sixy", "slingstone", "spotify", "sprinklr", "sqalix", "sqlmap", "sslshed",
    "thesafeinternetsearch", "thesafeinternetxsearch", "thesafexinternetsearch", "trackable", "turnitin",
    "unicorn", "uptrends", "urlcheckr", "vegeta", "veryhip", "webcopier", "webmon", "webzip", "wesee",
    "whatweb", "wordpress", "wordup", "wordupindexinfo1", "wordupsearchengine", "wpscan", "wrk", "xenforo",
    "xtate", "yahoocachesystem", "yahoowebserviceclient", "youruseragenthere", "zabbix", "zao", "zeno",
    "zeus", "zmeu", "zoterotranslationserver",
];

/// Top-level domains that occur in crawlers' names.
const TOP_LEVELS: [&str; 22] = [
    "ai", "biz", "ch", "cn", "co", "com", "de", "dev", "eu", "fr", "info", "io", "jp", "me", "net", "nl",
    "nu", "org", "ru", "se", "uk", "us",
];

/// Whole texts that no browser sends: a browser's bare name, which scripts use to imitate one, and texts from
/// documentation.
#[rustfmt::skip]
const WHOLE: [&str; 14] = [
    "abcd", "agent", "chrome", "firefox", "google", "my user agent 1.0", "safari", "test", "url", "useragent",
    "wp_is_mobile", "xfa1", "b3astmode", "{{.custom_user_agent}}",
];

/// HTTP libraries and command lines that may come without a version.
#[rustfmt::skip]
const LIBRARIES: [&[u8]; 13] = [
    b"axios", b"curl", b"dart", b"got", b"guzzlehttp", b"httpie", b"java", b"node", b"okhttp", b"python",
    b"ruby", b"undici", b"wget",
];

static ENDINGS: Index<{ ENDING_LIST.len() }> = Index::new(ENDING_LIST, By::Last);
static ALONE: Index<{ ALONE_LIST.len() }> = Index::new(ALONE_LIST, By::First);
static NAMES: Index<{ NAME_LIST.len() }> = Index::new(NAME_LIST, By::First);

/// Whether a lower-case name is a machine's.
///
/// `versioned`: a slash follows. `model`: it is at the position of an Android phone's model, where "bot" is part of the
/// name of a phone ("Cubot X18", "ID bot 53", "Spider 8"); a crawler that imitates a phone names itself with a version
/// or after the platform.
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

/// Whether a word is the name of a host: `crawler.example.com`, but neither `Node.js` nor `com.example.app`.
pub(super) fn is_host(name: &str) -> bool {
    let Some((host, last)) = name.rsplit_once('.') else {
        return false;
    };
    let label =
        |label: &str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    TOP_LEVELS.contains(&last)
        && host.split('.').all(label)
        && !host.bytes().all(|b| b.is_ascii_digit() || b == b'.')
        && !host
            .split('.')
            .next()
            .is_some_and(|first| TOP_LEVELS.contains(&first))
}

/// Whether a lower-case text that does not begin like a browser's names a machine. Programs that send events name
/// themselves with a version (RFC 9110, section 10.1.5), and apps name their device; a text with neither comes from a
/// scanner.
///
/// `url`: it links to a page about itself, which a program does after its version: `acme-panel/4.2 (https://...)`.
pub(super) fn is_machine(lower: &str, url: bool) -> bool {
    let lower = lower.trim();
    let words = || lower.as_bytes().split(|b| !b.is_ascii_alphanumeric());
    let has_version = |text: &str| text.bytes().any(|b| b == b'/' || b.is_ascii_digit());
    let says_which = match url {
        true => lower
            .split([' ', '<'])
            .next()
            .is_some_and(|first| first.contains('/') && !first.contains("://")),
        false => has_version(lower) || lower.starts_with("iphone"),
    };
    let is_program = says_which || lower.is_empty() || words().any(|word| LIBRARIES.contains(&word));
    !is_program || words().any(|word| ALONE.place(word).is_some())
}

/// Whether the whole text, in lower case, is one that no browser sends.
pub(super) fn is_whole(lower: &str) -> bool {
    WHOLE.contains(&lower.trim())
}

fn may_be_a_phone(word: &[u8]) -> bool {
    word == b"spider" || word.ends_with(b"bot") && word.len() <= "cubot".len()
}
