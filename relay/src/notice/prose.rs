//! A small document model that renders to HTML or Markdown. The only place that escapes.

use std::fmt::Write;

/// A part of a document.
#[derive(Clone, Debug)]
pub enum Block {
    /// A heading of level 1 to 3.
    Heading(u8, Line),
    /// A paragraph.
    Paragraph(Line),
    /// A highlighted paragraph: the page's topic.
    Lead(Line),
    /// A list.
    List(Vec<Line>),
    /// A long list of short items, which may be laid out in columns.
    Columns(Vec<Line>),
    /// A table.
    Table {
        /// The column headings.
        head: Vec<&'static str>,
        /// Rows of cells, each of one or more lines.
        rows: Vec<Vec<Vec<Line>>>,
    },
    /// The closing remark, in small print.
    Footer(Line),
}

/// Text of one line.
pub type Line = Vec<Inline>;

/// A piece of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inline {
    /// Plain.
    Text(String),
    /// Strong.
    Strong(String),
    /// A name, a value, a page.
    Code(String),
    /// De-emphasised.
    Quiet(String),
}

/// A line of plain text.
pub fn text(text: impl Into<String>) -> Line {
    vec![Inline::Text(text.into())]
}

/// Alternatives as one phrase: `a, b or c`.
pub fn either(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [only] => only.clone(),
        [rest @ .., last] => format!("{} or {last}", rest.join(", ")),
    }
}

/// The HTML of a document's body.
pub fn html(blocks: &[Block]) -> String {
    let mut out = String::new();
    for block in blocks {
        match block {
            Block::Heading(level, line) => element(&mut out, &format!("h{}", level.clamp(&1, &3)), line),
            Block::Paragraph(line) => element(&mut out, "p", line),
            Block::Lead(line) => {
                let _ = writeln!(out, "<p class=\"lead\">{}</p>", inline_html(line));
            }
            Block::List(items) => list(&mut out, "<ul>", items),
            Block::Columns(items) => list(&mut out, "<ul class=\"columns\">", items),
            Block::Table { head, rows } => table(&mut out, head, rows),
            Block::Footer(line) => {
                let _ = writeln!(out, "<footer>{}</footer>", inline_html(line));
            }
        }
    }
    out
}

fn element(out: &mut String, name: &str, line: &Line) {
    let _ = writeln!(out, "<{name}>{}</{name}>", inline_html(line));
}

fn list(out: &mut String, open: &str, items: &[Line]) {
    out.push_str(open);
    for item in items {
        let _ = write!(out, "<li>{}</li>", inline_html(item));
    }
    out.push_str("</ul>\n");
}

fn table(out: &mut String, head: &[&str], rows: &[Vec<Vec<Line>>]) {
    out.push_str("<div class=\"table\"><table><thead><tr>");
    for cell in head {
        let _ = write!(out, "<th scope=\"col\">{}</th>", escape(cell));
    }
    out.push_str("</tr></thead><tbody>");
    for row in rows {
        out.push_str("<tr>");
        for (i, cell) in row.iter().enumerate() {
            // The first cell is the row's heading; screen readers read it with each other cell.
            let (open, close) = match i {
                0 => ("<th scope=\"row\">", "</th>"),
                _ => ("<td>", "</td>"),
            };
            out.push_str(open);
            match cell.as_slice() {
                [line] => out.push_str(&inline_html(line)),
                lines => list(out, "<ul>", lines),
            }
            out.push_str(close);
        }
        out.push_str("</tr>");
    }
    out.push_str("</tbody></table></div>\n");
}

fn inline_html(line: &Line) -> String {
    line.iter()
        .map(|piece| match piece {
            Inline::Text(text) => escape(text),
            Inline::Strong(text) => format!("<strong>{}</strong>", escape(text)),
            Inline::Code(text) => format!("<code>{}</code>", escape(text)),
            Inline::Quiet(text) => format!("<small>{}</small>", escape(text)),
        })
        .collect()
}

/// Text as HTML, in an element or a quoted attribute. Control characters become spaces.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// The document as Markdown.
pub fn markdown(blocks: &[Block]) -> String {
    let mut out = String::new();
    for block in blocks {
        match block {
            Block::Heading(level, line) => {
                let level = usize::from(*level.clamp(&1, &3));
                let _ = writeln!(out, "{} {}\n", "#".repeat(level), inline_markdown(line));
            }
            Block::Paragraph(line) | Block::Lead(line) => {
                let _ = writeln!(out, "{}\n", inline_markdown(line));
            }
            Block::List(items) | Block::Columns(items) => {
                for item in items {
                    let _ = writeln!(out, "- {}", inline_markdown(item));
                }
                out.push('\n');
            }
            Block::Table { head, rows } => {
                let _ = writeln!(out, "| {} |\n|{}", head.join(" | "), "---|".repeat(head.len()));
                for row in rows {
                    let cells: Vec<String> = row
                        .iter()
                        .map(|lines| lines.iter().map(inline_markdown).collect::<Vec<_>>().join("<br>"))
                        .collect();
                    let _ = writeln!(out, "| {} |", cells.join(" | "));
                }
                out.push('\n');
            }
            Block::Footer(line) => {
                let _ = writeln!(out, "---\n\n{}", inline_markdown(line));
            }
        }
    }
    out
}

fn inline_markdown(line: &Line) -> String {
    line.iter()
        .map(|piece| match piece {
            Inline::Text(text) | Inline::Quiet(text) => plain_markdown(text),
            Inline::Strong(text) => format!("**{}**", plain_markdown(text)),
            Inline::Code(text) => code_markdown(text),
        })
        .collect()
}

/// Text with all Markdown markup escaped.
fn plain_markdown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '#' | '|' | '~' | '&' | '!' => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// A code span. Backticks cannot be escaped within one, so a quote replaces them.
fn code_markdown(text: &str) -> String {
    let text: String = text
        .chars()
        .map(|c| match c {
            '`' => '\'',
            c if c.is_control() => ' ',
            c => c,
        })
        .collect();
    format!("`{}`", text.replace('|', "\\|"))
}
