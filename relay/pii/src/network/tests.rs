use super::*;

/// Checks a text after only network addresses are removed.
fn check(text: &str, want: &str) {
    let mut found = Found::default();
    find(&View::new(text), &mut found);
    let found = super::super::settle(text, found.0);
    assert_eq!(super::super::replace(text, &found), want, "{text}");
}

fn takes(address: &str) {
    for frame in [
        "_",
        "from _ today",
        "(_)",
        "[_]:80",
        "'_'",
        "ip=_&x=1",
        "_,",
        "_.",
    ] {
        check(&frame.replace('_', address), &frame.replace('_', "[removed]"));
    }
}

#[test]
fn addresses_go_as_a_whole() {
    for address in [
        "192.0.2.7",
        "10.0.0.0/8",
        "010.001.000.009",
        "255.255.255.255",
        "192.0.2.7.9",
        "192[.]0[.]2[.]7",
        "0xC0.0x0.0x2.0x7",
        "0300.0250.0.1",
        "2001:db8::7",
        "2001:db8::/32",
        "2001:0db8:0000:0000:0000:0000:0000:0007",
        "::ffff:192.0.2.7",
        "64:ff9b::192.0.2.7",
        "2001:db8:0:0:0:0:192.0.2.7",
        "fe80::1%eth0",
        "FE80::AB:1",
        "1:2:3:4:5:6:7:8",
        "1111:2222:3333:4444:5555:6666:7777:8888:9999",
        "00:1a:2B:3c:4D:5e",
        "00-1a-2B-3c-4D-5e",
        "001a.2b3c.4d5e",
        "02:1a:2b:ff:fe:3c:4d:5e",
    ] {
        takes(address);
    }
}

#[test]
fn addresses_are_found_beside_words_and_ports() {
    for (text, want) in [
        ("192.0.2.7:8080", "[removed]:8080"),
        ("http://192.0.2.7/x", "http://[removed]/x"),
        ("http://[2001:db8::7]:80/x", "http://[[removed]]:80/x"),
        ("eth0@192.0.2.7@eth1", "eth0@[removed]@eth1"),
        ("ip:192.0.2.7", "ip:[removed]"),
        ("ip:2001:db8::7", "ip:[removed]"),
        ("foo2001:db8::192.0.2.7", "foo[removed]"),
        ("text::ffff:192.0.2.7", "text[removed]"),
        ("10.0.0.0/1234", "[removed]/1234"),
        ("http://3221225991/", "http://[removed]/"),
        ("http://0xC0000207/", "http://[removed]/"),
        ("IP 3221225991", "IP [removed]"),
        ("server version 1 at 192.0.2.7", "server version 1 at [removed]"),
        ("mac 001a2b3c4d5e", "mac [removed]"),
        ("MAC 00-11-22-33-44-55", "MAC [removed]"),
        ("Hardware address: aabb.ccdd.eeff", "Hardware address: [removed]"),
    ] {
        check(text, want);
    }
}

#[test]
fn numbers_that_are_no_address_stay() {
    for text in [
        "Version 1.2.3.4",
        "version: 1.2.3.4",
        "v1.2.3.4",
        "release 10.0.19.1",
        "Firefox/1.2.3.4",
        "Chrome/120.0.6099.230",
        "section 1.2.3.4",
        "1.2.3",
        "1.3.6.1.4.1.311",
        "300.1.2.3",
        "312.714.8142",
        "12:34:56",
        "2026-01-02T10:11:12",
        "1:2:3:4",
        "Port 80:443",
        "abc:def:ghi",
        "std::cout",
        "Dad::Cafe",
        "a::before",
        ":::",
        "list[::2]",
        "3221225991",
        "0xC0000207",
        "001122334455",
        "2026.0102.0304",
        "12-34-56-78-90-12",
        "20-24-01",
        "hosted-eu-20260812-09",
    ] {
        check(text, text);
    }
}

#[test]
fn long_runs_take_no_longer() {
    for text in [
        ":".repeat(200_000),
        "1.".repeat(200_000),
        "a:".repeat(200_000),
        "1:".repeat(200_000),
        "::1".repeat(99_999),
    ] {
        let mut found = Found::default();
        find(&View::new(&text), &mut found);
    }
}
