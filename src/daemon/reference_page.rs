//! handfast.toml(5): `docs/configuration.md` as a page of the manual.
//!
//! The Markdown that file uses, and no more: headings, paragraphs, lists, code, and tables, of which
//! each row becomes a tagged paragraph.

use std::fmt::Write as _;

const REFERENCE: &str = include_str!("../../docs/configuration.md");

/// The page, in the man macros of roff.
pub(super) fn reference_page() -> String {
    let mut page = String::from(
        ".ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '\n.TH handfast.toml 5 \"\" \"\" handfast\n\
         .SH NAME\nhandfast.toml \\- configuration of handfast(8)\n.SH DESCRIPTION\n",
    );
    let mut block = Block::None;
    for line in REFERENCE.lines().skip(1) {
        block = write_line(&mut page, block, line);
    }
    block.end(&mut page);
    page.push_str(".SH SEE ALSO\n.BR handfast (8)\n");
    page
}

/// What the lines before are part of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Block {
    None,
    Paragraph,
    Code,
    /// In ``` fences.
    Fence,
    /// Its heading is not shown.
    Table,
}

impl Block {
    fn end(self, page: &mut String) {
        if matches!(self, Self::Code | Self::Fence) {
            page.push_str(".fi\n.RE\n");
        }
    }
}

fn write_line(page: &mut String, block: Block, line: &str) -> Block {
    if line.starts_with("```") {
        if block == Block::Fence {
            block.end(page);
            return Block::None;
        }
        page.push_str(".PP\n.RS 4\n.nf\n");
        return Block::Fence;
    }
    if block == Block::Fence {
        push_text(page, &escaped(line));
        return block;
    }
    let next = match line {
        "" => Block::None,
        _ if line.starts_with("    ") => Block::Code,
        _ if line.starts_with('|') => Block::Table,
        _ => Block::Paragraph,
    };
    if block == Block::Code && next != Block::Code {
        block.end(page);
    }
    // Writing to a string does not fail.
    let _ = match next {
        Block::None | Block::Fence => Ok(()),
        Block::Code => {
            if block != Block::Code {
                page.push_str(".PP\n.RS 4\n.nf\n");
            }
            push_text(page, &escaped(&line[4..]));
            Ok(())
        }
        Block::Table => {
            if block == Block::Table {
                push_row(page, line);
            }
            Ok(())
        }
        Block::Paragraph => {
            if let Some(title) = line.strip_prefix("### ") {
                writeln!(page, ".SS {}", inline(title))
            } else if let Some(title) = line.strip_prefix("## ") {
                writeln!(page, ".SH {}", inline(title))
            } else if let Some(item) = line.strip_prefix("- ") {
                page.push_str(".IP \\(bu 2\n");
                push_text(page, &inline(item));
                Ok(())
            } else {
                if block != Block::Paragraph {
                    page.push_str(".PP\n");
                }
                push_text(page, &inline(line.trim_start()));
                Ok(())
            }
        }
    };
    next
}

/// A row: its first cell as the tag, the others as the text; a rule is none.
fn push_row(page: &mut String, line: &str) {
    let line = line.trim_matches('|');
    if line.starts_with("---") {
        return;
    }
    let mut cells = line.split('|').map(str::trim);
    let tag = inline(cells.next().unwrap_or_default());
    let mut cells: Vec<&str> = cells.collect();
    page.push_str(".TP\n");
    match cells[..] {
        [kind, default, text] => {
            let default = match default {
                "" => String::new(),
                "required" => "; required".to_owned(),
                default => format!("; default {default}"),
            };
            push_text(
                page,
                &format!("{tag} ({})", inline(&format!("{kind}{default}"))),
            );
            push_text(page, &inline(text));
        }
        _ => {
            cells.retain(|cell| !cell.is_empty());
            push_text(page, &tag);
            push_text(page, &inline(&cells.join(" \u{2013} ")));
        }
    }
}

/// A line of text, which a dot or a quote at its beginning would make a request.
fn push_text(page: &mut String, text: &str) {
    if text.starts_with(['.', '\'']) || text.is_empty() {
        page.push_str("\\&");
    }
    page.push_str(text);
    page.push('\n');
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-")
}

/// Code and what is strong in bold, links as their text.
fn inline(text: &str) -> String {
    let mut out = String::new();
    let mut bold = false;
    let mut rest = text;
    while let Some(at) = rest.find(['`', '*', '[']) {
        let (before, marked) = rest.split_at(at);
        out.push_str(&escaped(before));
        if let Some(after) = marked.strip_prefix('`') {
            // Code: its stars and brackets are its own.
            let (code, after) = after.split_once('`').unwrap_or((after, ""));
            let _ = write!(out, "\\fB{}\\fR", escaped(code));
            rest = after;
        } else if let Some(after) = marked.strip_prefix("**") {
            out.push_str(if bold { "\\fR" } else { "\\fB" });
            bold = !bold;
            rest = after;
        } else if let Some((name, after)) = marked.strip_prefix('[').and_then(link) {
            out.push_str(&inline(name));
            rest = after;
        } else {
            out.push_str(&marked[..1]);
            rest = &marked[1..];
        }
    }
    out.push_str(&escaped(rest));
    out
}

/// The text of a link and what follows its target; the text may hold brackets in code.
fn link(text: &str) -> Option<(&str, &str)> {
    let (name, rest) = text.split_once("](")?;
    Some((name, rest.split_once(')')?.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_links_and_code_become_roff() {
        let mut page = String::new();
        push_row(
            &mut page,
            "| `backlog` | integer | 4096 | See [`[x]`](#x), **now**. |",
        );
        assert_eq!(
            page,
            ".TP\n\\fBbacklog\\fR (integer; default 4096)\nSee \\fB[x]\\fR, \\fBnow\\fR.\n"
        );
        assert_eq!(inline("a-b [c] *"), "a\\-b [c] *");
        let mut page = String::new();
        push_text(&mut page, ".so");
        assert_eq!(page, "\\&.so\n");
    }

    #[test]
    fn the_page_has_every_section_of_the_reference() {
        let page = reference_page();
        let sections = REFERENCE.matches("\n## ").count();
        assert_eq!(page.matches("\n.SH ").count(), sections + 3);
        let opened = page.matches("\n.nf\n").count();
        assert_eq!(page.matches("\n.fi\n").count(), opened);
        assert!(page.contains("\n\\fBhandshake_timeout\\fR (duration; default \\fB\"10s\"\\fR)\n"));
        assert!(!page.contains('`'), "code that is not closed");
    }
}
