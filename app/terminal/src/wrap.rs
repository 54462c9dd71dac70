//! Lines of text that fit the terminal.

use std::io::stdout;

use terminal_size::{Width, terminal_size_of};
use textwrap::core::Word;
use textwrap::{Options, WordSeparator, WordSplitter, fill};

/// The width if standard output is no terminal.
const WIDTH: usize = 80;

/// A line, wrapped at the width of standard output. The lines after the first begin with `indent`
/// blanks. A command between backquotes and a word are not broken, because people paste them.
#[must_use]
pub fn wrapped(line: &str, indent: usize) -> String {
    let width = terminal_size_of(stdout()).map_or(WIDTH, |(Width(width), _)| width.into());
    wrapped_at(width, line, indent)
}

fn wrapped_at(width: usize, line: &str, indent: usize) -> String {
    let blanks = " ".repeat(indent);
    let options = Options::new(width)
        .subsequent_indent(&blanks)
        .word_separator(WordSeparator::Custom(words))
        .word_splitter(WordSplitter::NoHyphenation)
        .break_words(false);
    fill(line, options)
}

/// Each with the blanks after it.
fn words(line: &str) -> Box<dyn Iterator<Item = Word<'_>> + '_> {
    let (mut after_blank, mut quoted) = (false, false);
    let begins = move |&(_, c): &(usize, char)| {
        let begins = after_blank && c != ' ';
        quoted ^= c == '`';
        after_blank = c == ' ' && !quoted;
        begins
    };
    let begins = line.char_indices().filter(begins).map(|(at, _)| at);
    let ends = begins.clone().chain([line.len()]);
    Box::new([0].into_iter().chain(begins).zip(ends).map(|(begin, end)| Word::from(&line[begin..end])))
}

#[cfg(test)]
mod tests {
    use super::wrapped_at;

    #[test]
    fn words_and_commands_stay_whole() {
        for (line, indent, expected) in [
            ("short", 4, "short"),
            ("one two three four five", 0, "one two\nthree four\nfive"),
            ("ok    one two three", 6, "ok    one\n      two\n      three"),
            ("run `seabank migrate up` now", 2, "run\n  `seabank migrate up`\n  now"),
            (
                "a postgres://bank@127.0.0.1:5432/bank-of-it",
                0,
                "a\npostgres://bank@127.0.0.1:5432/bank-of-it",
            ),
            ("ok    postgres://bank@127.0.0.1", 2, "ok\n  postgres://bank@127.0.0.1"),
            ("", 3, ""),
        ] {
            assert_eq!(wrapped_at(10, line, indent), expected);
        }
    }
}
