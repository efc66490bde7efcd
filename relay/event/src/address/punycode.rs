//! The encoder of Punycode (RFC 3492), which writes an internationalised host label in ASCII.
//!
//! The `idna` crate has one as well, and brings ICU's tables into the policy with it. Nothing is decoded here.

const BASE: u32 = 36;
const T_MIN: u32 = 1;
const T_MAX: u32 = 26;
const SKEW: u32 = 38;
const DAMP: u32 = 700;
const INITIAL_BIAS: u32 = 72;
const INITIAL_N: u32 = 128;

/// Encodes a label, without the `xn--` before it. `None` when a number overflows, which no label of a host
/// name is long enough for.
pub(super) fn encode(label: &str) -> Option<String> {
    let mut out: String = label.chars().filter(char::is_ascii).collect();
    let basic = u32::try_from(out.len()).ok()?;
    if basic > 0 {
        out.push('-');
    }
    let total = u32::try_from(label.chars().count()).ok()?;
    let (mut n, mut delta, mut bias, mut handled) = (INITIAL_N, 0u32, INITIAL_BIAS, basic);
    while handled < total {
        let next = label.chars().map(u32::from).filter(|c| *c >= n).min()?;
        delta = delta.checked_add((next - n).checked_mul(handled + 1)?)?;
        n = next;
        for c in label.chars().map(u32::from) {
            if c < n {
                delta = delta.checked_add(1)?;
            }
            if c == n {
                push_number(&mut out, delta, bias);
                bias = adapt(delta, handled + 1, handled == basic);
                delta = 0;
                handled += 1;
            }
        }
        delta = delta.checked_add(1)?;
        n += 1;
    }
    Some(out)
}

fn push_number(out: &mut String, mut rest: u32, bias: u32) {
    for k in (BASE..).step_by(BASE as usize) {
        let t = k.saturating_sub(bias).clamp(T_MIN, T_MAX);
        if rest < t {
            break;
        }
        out.extend(char::from_digit(t + (rest - t) % (BASE - t), BASE).map(digit));
        rest = (rest - t) / (BASE - t);
    }
    out.extend(char::from_digit(rest, BASE).map(digit));
}

/// Punycode's digits are a to z, then 0 to 9; `char::from_digit` counts the other way round.
fn digit(c: char) -> char {
    match c {
        '0'..='9' => char::from(b'a' + (c as u8 - b'0')),
        'a'..='p' => char::from(b'k' + (c as u8 - b'a')),
        _ => char::from(b'0' + (c as u8 - b'q')),
    }
}

fn adapt(delta: u32, points: u32, first: bool) -> u32 {
    let mut delta = if first { delta / DAMP } else { delta / 2 };
    delta += delta / points;
    let mut k = 0;
    while delta > (BASE - T_MIN) * T_MAX / 2 {
        delta /= BASE - T_MIN;
        k += BASE;
    }
    k + (BASE - T_MIN + 1) * delta / (delta + SKEW)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_written_as_the_standard_says() {
        let check = |label: &str, want: &str| assert_eq!(encode(label).as_deref(), Some(want), "{label}");
        check("bücher", "bcher-kva");
        check("münchen", "mnchen-3ya");
        check("faß", "fa-hia");
        check("他们为什么不说中文", "ihqwcrb4cv8a8dqg056pqjye");
        check("почемужеонинеговорятпорусски", "b1abfaaepdrnnbgefbadotcwatmq2g4l");
        check("3年b組金八先生", "3b-ww4c5e180e575a65lsy2b");
        check("点看", "3pxu8k");
    }
}
