//! The chart: processor time per delivered event, one bar for each, and the line the relay aims to stay below.

use super::aims::{NGINX_SHARE_MAX, spread};
use super::compare::Results;
use super::contender::Contender;
use std::fmt::Write as _;

/// In pixels, at the size it is shown by default.
const WIDTH: f64 = 720.0;
const LEFT: f64 = 200.0;
const RIGHT: f64 = 64.0;
const TOP: f64 = 44.0;
const ROW: f64 = 34.0;
const BAR: f64 = 20.0;
const BOTTOM: f64 = 12.0;

/// Its own paper, light or dark as the reader's system says. Figures keep the line behind them away.
const STYLE: &str = ".paper{fill:#fff}text{font:14px system-ui,sans-serif;fill:#1f2328}.title{font-weight:600}.small{font-size:12px}\
    .bar{fill:#8c959f}.ours{fill:#0969da}.reach{stroke:#1f2328;stroke-width:1.5}\
    .value{paint-order:stroke;stroke:#fff;stroke-width:4px}.aim{stroke:#cf222e;stroke-width:1.5;stroke-dasharray:5 4}\
    @media(prefers-color-scheme:dark){.paper{fill:#0d1117}.value{stroke:#0d1117}text{fill:#e6edf3}.bar{fill:#6e7681}.ours{fill:#4493f8}\
    .reach{stroke:#e6edf3}.aim{stroke:#ff7b72}}";

/// The whole image. The same results give the same bytes.
pub(super) fn svg(results: &Results) -> String {
    let bars: Vec<_> = results
        .rows
        .iter()
        .filter_map(|(contender, _)| Some((*contender, spread(results, *contender, |s| s.busy_us)?)))
        .collect();
    let nginx = spread(results, Contender::Nginx, |s| s.busy_us);
    let aim = nginx.map(|nginx| nginx.median * NGINX_SHARE_MAX);
    let most = bars
        .iter()
        .map(|(_, found)| found.most)
        .chain(aim)
        .fold(1.0, f64::max);
    let x = |value: f64| LEFT + value / most * (WIDTH - LEFT - RIGHT);
    let height = TOP + ROW * bars.len() as f64 + BOTTOM;

    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH:.0} {height:.0}\" role=\"img\" \
         aria-labelledby=\"title\">\n<title id=\"title\">Processor time per delivered event</title>\n\
         <style>{STYLE}</style>\n\
         <rect class=\"paper\" width=\"100%\" height=\"100%\"/>\n\
         <text class=\"title\" x=\"8\" y=\"22\">Processor time per delivered event, µs</text>\n"
    );
    let mut values = String::new();
    for (n, (contender, found)) in bars.iter().enumerate() {
        let y = TOP + ROW * n as f64;
        let (bar_y, middle, text_y) = (y + (ROW - BAR) / 2.0, y + ROW / 2.0, y + ROW / 2.0 + 5.0);
        let class = match contender {
            Contender::Relay | Contender::RelayBatch => "ours",
            _ => "bar",
        };
        let (width, least, most) = (x(found.median) - LEFT, x(found.least), x(found.most));
        // Writing into a string cannot fail, here and below.
        let _ = writeln!(
            svg,
            "<text class=\"small\" x=\"{:.0}\" y=\"{text_y:.1}\" text-anchor=\"end\">{}</text>\n\
             <rect class=\"{class}\" x=\"{LEFT:.0}\" y=\"{bar_y:.1}\" width=\"{width:.1}\" height=\"{BAR:.0}\"/>\n\
             <line class=\"reach\" x1=\"{least:.1}\" y1=\"{middle:.1}\" x2=\"{most:.1}\" y2=\"{middle:.1}\"/>",
            LEFT - 8.0,
            contender.name(),
        );
        let _ = writeln!(
            values,
            "<text class=\"value\" x=\"{:.1}\" y=\"{text_y:.1}\">{:.1}</text>",
            most + 6.0,
            found.median,
        );
    }
    if let Some(aim) = aim {
        let (at, end) = (x(aim), height - BOTTOM);
        let _ = writeln!(
            svg,
            "<line class=\"aim\" x1=\"{at:.1}\" y1=\"{TOP:.0}\" x2=\"{at:.1}\" y2=\"{end:.0}\"/>\n\
             <text class=\"small\" x=\"{at:.1}\" y=\"{:.0}\" text-anchor=\"middle\">1.5 × nginx</text>",
            TOP - 6.0
        );
    }
    svg.push_str(&values);
    svg.push_str("</svg>\n");
    svg
}

#[cfg(test)]
mod tests {
    use super::super::aims::tests::results;
    use super::super::contender::Contender;
    use super::svg;

    #[test]
    fn each_contender_has_a_bar_and_the_aim_a_line() {
        let rows: [(Contender, &[f64]); 3] = [
            (Contender::Relay, &[60.0, 50.0, 70.0]),
            (Contender::Nginx, &[40.0]),
            (Contender::Caddy, &[228.0]),
        ];
        let image = svg(&results(&rows, None));
        for part in [
            r#"viewBox="0 0 720 158""#,
            // 456 pixels for 228 µs.
            r#"class="ours" x="200" y="51.0" width="120.0""#,
            r#"class="reach" x1="300.0" y1="61.0" x2="340.0" y2="61.0""#,
            r#"class="bar" x="200" y="85.0" width="80.0""#,
            r#"class="bar" x="200" y="119.0" width="456.0""#,
            r#"class="aim" x1="320.0" y1="44" x2="320.0" y2="146""#,
            ">228.0</text>",
        ] {
            assert!(image.contains(part), "{part}\n{image}");
        }
        assert_eq!(image, svg(&results(&rows, None)));
    }

    #[test]
    fn without_nginx_there_is_no_line() {
        let image = svg(&results(&[(Contender::Relay, &[60.0])], None));
        assert!(!image.contains("class=\"aim\""), "{image}");
        assert!(image.ends_with("</svg>\n"));
    }
}
