//! Text laid out in columns of a terminal.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::tables::{Column, Table};

/// Narrower than this no column is cut.
const LEAST: usize = 8;
const GAP: usize = 2;

/// The text with control characters (escape sequences too) written out, so that no name commands the terminal.
pub(super) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || is_bidi_control(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Characters that reorder what follows them.
fn is_bidi_control(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Lines of at most `width` columns, broken at spaces, in a word only if it is longer than a line. All but the first
/// begin with `indent`.
pub(super) fn wrap(text: &str, width: usize, indent: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let mut word = word;
        let begun = line.width() > if lines.is_empty() { 0 } else { indent.width() };
        if begun && line.width() + 1 + word.width() > width {
            lines.push(std::mem::replace(&mut line, indent.to_owned()));
        } else if begun {
            line.push(' ');
        }
        while line.width() + word.width() > width {
            let fits = fitting(word, width - line.width());
            line.push_str(&word[..fits]);
            word = &word[fits..];
            lines.push(std::mem::replace(&mut line, indent.to_owned()));
        }
        line.push_str(word);
    }
    if !line.trim().is_empty() {
        lines.push(line);
    }
    lines
}

/// How many bytes of the text take at most `width` columns; at least one character.
fn fitting(text: &str, width: usize) -> usize {
    let mut used = 0;
    for (at, c) in text.char_indices() {
        used += c.width().unwrap_or(0);
        if used > width && at > 0 {
            return at;
        }
    }
    text.len()
}

/// The table's lines, its head first, at most `width` columns wide: extra columns are left out, texts are cut to fit.
pub(super) fn table(table: &Table, width: usize) -> Vec<String> {
    let shown: Vec<usize> = (0..table.columns.len())
        .filter(|index| !table.columns[*index].extra)
        .collect();
    let head: Vec<String> = shown
        .iter()
        .map(|index| table.columns[*index].head.to_owned())
        .collect();
    let rows = table.rows.iter().map(|row| {
        let mut cells: Vec<String> = shown
            .iter()
            .map(|index| printable(&row.cells[*index]))
            .collect();
        if row.sub && !cells[0].is_empty() {
            cells[0].insert_str(0, "  ");
        }
        cells
    });
    let lines: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
    let columns: Vec<Column> = shown.iter().map(|index| table.columns[*index]).collect();
    let widths = widths(&columns, &lines, width);
    lines
        .iter()
        .map(|cells| join(cells, &columns, &widths))
        .collect()
}

fn widths(columns: &[Column], lines: &[Vec<String>], width: usize) -> Vec<usize> {
    let mut widths: Vec<usize> = (0..columns.len())
        .map(|index| {
            lines
                .iter()
                .map(|cells| cells[index].width())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let gaps = GAP * columns.len().saturating_sub(1);
    while widths.iter().sum::<usize>() + gaps > width {
        let widest = (0..columns.len())
            .filter(|index| !columns[*index].figure)
            .max_by_key(|index| widths[*index]);
        match widest {
            Some(index) if widths[index] > LEAST => widths[index] -= 1,
            _ => break,
        }
    }
    widths
}

fn join(cells: &[String], columns: &[Column], widths: &[usize]) -> String {
    let mut line = String::new();
    for ((cell, column), width) in cells.iter().zip(columns).zip(widths) {
        if !line.is_empty() {
            line.push_str(&" ".repeat(GAP));
        }
        let cell = cut(cell, *width);
        let padding = " ".repeat(width.saturating_sub(cell.width()));
        if column.figure {
            line.push_str(&padding);
            line.push_str(&cell);
        } else {
            line.push_str(&cell);
            line.push_str(&padding);
        }
    }
    line
}

/// Cuts in the middle: the ends of paths and replica names tell them apart.
fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let tail = (width - 1) / 2;
    let head = width - 1 - tail;
    let start = &text[..fitting(text, head)];
    let mut end = String::new();
    for c in text.chars().rev() {
        if end.width() + c.width().unwrap_or(0) > tail {
            break;
        }
        end.insert(0, c);
    }
    format!("{start}…{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_at_spaces_and_long_words_anywhere() {
        assert_eq!(wrap("one two three", 7, ""), ["one two", "three"]);
        assert_eq!(wrap("one two three", 7, "  "), ["one two", "  three"]);
        assert_eq!(wrap("a abcdefghij", 5, ""), ["a", "abcde", "fghij"]);
        assert_eq!(wrap("", 5, ""), Vec::<String>::new());
        assert_eq!(wrap("日本語", 4, ""), ["日本", "語"]);
    }

    #[test]
    fn a_long_name_loses_its_middle() {
        assert_eq!(cut("/kubepods/burstable/pod1234", 11), "/kube…d1234");
        assert_eq!(cut("web-0", 8), "web-0");
    }

    #[test]
    fn a_name_cannot_command_the_terminal() {
        assert_eq!(
            printable("a\x1b[2Jb\u{202e}c\n"),
            "a\\u{1b}[2Jb\\u{202e}c\\n"
        );
    }
}
