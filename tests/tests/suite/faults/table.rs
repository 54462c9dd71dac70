//! The expected results of the fault matrix. Written down, not computed: `sea-orm-retry` has a
//! table of its own, and this one checks it.

use super::cell::{Cell, Contract, Expected};
use super::point::Point;
use super::trouble::Trouble;

/// A line for each fault, a column for each point. `x/y`: idempotent body / other body; `single`
/// and its `look-up` are always idempotent. `x|y`: CockroachDB | PostgreSQL, where an ERROR in
/// answer to a COMMIT or a statement proves a rollback.
///
/// | | the run reports | the server holds |
/// |---|---|---|
/// | `A` | applied by the first attempt | it, once |
/// | `R` | applied by a later attempt | it, once |
/// | `P` | applied by any attempt | it, once |
/// | `N` | failed | nothing, now and later |
/// | `U1` | unknown | it, once |
/// | `U0` | unknown | nothing |
/// | `D1`, `D0` | nothing: it was dropped; repeated, an idempotent one is applied once | it, once;
///   nothing |
/// | `-x` | meaningless, for the reason `x` | |
const EXPECTED: &str = "
                                connect set-up BEGIN SAVEPOINT first prepare second RELEASE COMMIT closing ROLLBACK-TO ROLLBACK again single look-up
40001                           -t      -t     R     R         R     R       R      R       R      A       R           N        R     R      R
40P01                           -t      -t     R     R         R     R       R      R       R      A       R           N        R     R      R
XX000 of a lost race            -t      -t     R     R         R     R       R      R       R      A       R           N        R     R      R
40003                           -t      -t     R     R         R     R       R      R/U0    R/U0   A       R           N        R     R      R
40003 though applied            -o      -o     -o    -o        -o    -o      -o     R/U1    R/U1   A       -o          -o       -o    R      R
57P01                           R       A      R     R         R     R       R      R/U0    R/U0   A       R           N        R     R      R
57P03                           A       A      R     R         R     R       R      R/U0    R/U0   A       R           N        R     R      R
53300                           A       A      R     R         R     R       R      R/U0    R/U0   A       R           N        R     R      R
58C01                           R       A      R     R         R     R       R      R/U0    R/U0   A       R           N        R     R      R
57014                           -t      A      N     N         N     N       N      R/U0    R/U0|N   A       R           N        R     R|N    R
25P02                           -t      -t     R     R         N     N       N      N       N        A       R           N        R     R|N    R
0A000                           -t      A      R     R         R     R       R      R/U0    R/U0|N   A       R           N        R     R      R
0A000 always                    -t      N      N     N         N     N       N      U0      U0|N     -f      -f          -f       -f    N      U1
23505                           -d      -d     -d    -d        R/N   -d      R/N    R/N     R/N    -d      -d          -d       -d    R      -d
23514                           -d      -d     -d    -d        N     -d      N      N       N      -d      -d          -d       -d    N      -d
22003                           -d      -d     -d    -d        N     -d      N      R/U0    R/U0|N   -d      -d          -d       -d    N      -d
XX000                           N       A      N     N         N     N       N      R/U0    R/U0   A       R           N        R     R      R
40001 always                    -t      -t     N     N         N     N       N      N       N      -f      -f          -f       -f    N      U1
cut before sending              R       A      R     R         R     R       R      R/U0    R/U0   A       R           N        R     R      R
cut after applied               R       A      R     R         R     R       R      R/U1    R/U1   A       R           N        R     R      R
cut in the reply                R       A      R     R         R     R       R      R/U1    R/U1   A       R           N        R     R      R
late delivery                   -l      A      R     R         R     R       R      R/U1    R/U1   A       R           N        R     R      R
half-open                       R       R      R     R         R     R       R      R/U0    R/U0   A       R           N        R     R      R
half-open after delivery        R       R      R     R         R     R       R      R/U1    R/U1   A       R           N        R     R      R
stall past the deadline         R       R      R     R         R     R       R      R/U1    R/U1   A       R           N        R     R      R
cut before sending, twice       R       A      R     R         R     R       R      R/U0    R/U0   -f      -f          -f       -f    R      R
cut after applied, twice        R       A      R     R         R     R       R      R/U1    R/U1   -f      -f          -f       -f    R      R
cut before, then no server      -u      -u     -u    -u        -u    -u      -u     U0      U0     -u      -u          -u       -u    U0     U1
cut after, then no server       -u      -u     -u    -u        -u    -u      -u     U1      U1     -u      -u          -u       -u    U1     U1
cut before, then 40001 always   -u      -u     -u    -u        -u    -u      -u     U0      U0     -u      -u          -u       -u    U0     U1
cut after, then blind error     -u      -u     -u    -u        -u    -u      -u     U1      U1     -u      -u          -u       -u    U1     U1
cut before, then proven error   -u      -u     -u    -u        -u    -u      -u     N/U0    N/U0   -u      -u          -u       -u    -s     -s
statement timeout               -w      -w     -w    -w        -w    -w      N      -w      -w       -w      -w          -w       -w    R|N    -w
cached plan after a migration   -p      -p     -p    -p        R/-p  -p      -p     -p      -p     -p      -p          -p       -p    R      -p
body error                      -b      -b     -b    -b        N     -b      N      -b      N      -b      -b          -b       -b    N      U1
future dropped                  D0      D0     D0    D0        D0    D0      D0     D1      D1     D1      D0          D0       D0    D1     D1
pooled connection dead          -q      -q     R     -q        -q    -q      -q     -q      -q     -q      -q          -q       -q    R      -q
pooled connection aborted       -q      -q     R     -q        -q    -q      -q     -q      -q       -q      -q          -q       -q    R      -q
two runs at once                -i      -i     -i    -i        -i    -i      -i     P/-i    P/-i   -i      -i          -i       -i    P      -i
two runs at once, answers lost  -i      -i     -i    -i        -i    -i      -i     P/-i    P/-i   -i      -i          -i       -i    P      -i
";

/// The same for a chunk of transfers. "Applied": the first two are, and the third is refused.
const EXPECTED_OF_CHUNKS: &str = "
                                connect set-up BEGIN own-row accounts ids journal balances refusals COMMIT
40001                           -t      -t     R     R       R        R   R       R        R        R
40P01                           -t      -t     R     R       R        R   R       R        R        R
XX000 of a lost race            -t      -t     R     R       R        R   R       R        R        R
40003                           -t      -t     R     R       R        R   R       R        R        R
40003 though applied            -o      -o     -o    -o      -o       -o  -o      -o       -o       R
57P01                           R       A      R     R       R        R   R       R        R        R
57014                           -t      A      N     N       N        N   N       N        N        R|N
54000                           R       A      R     R       R        R   R       R        R        R
23505                           -d      -d     -d    R       -d       -d  R       R        R        R
23514                           -d      -d     -d    N       -d       -d  N       N        N        N
XX000                           N       A      N     N       N        N   N       N        N        R
40001 always                    -t      -t     N     N       N        N   N       N        N        N
cut before sending              R       A      R     R       R        R   R       R        R        R
cut after applied               R       A      R     R       R        R   R       R        R        R
cut in the reply                R       A      R     R       R        R   R       R        R        R
late delivery                   -l      A      R     R       R        R   R       R        R        R
half-open                       R       R      R     R       R        R   R       R        R        R
half-open after delivery        R       R      R     R       R        R   R       R        R        R
stall past the deadline         R       R      R     R       R        R   R       R        R        R
cut before sending, twice       R       A      R     R       R        R   R       R        R        R
cut after applied, twice        R       A      R     R       R        R   R       R        R        R
cut before, then no server      -u      -u     -u    -u      -u       -u  -u      -u       -u       U0
cut after, then no server       -u      -u     -u    -u      -u       -u  -u      -u       -u       U1
cut before, then 40001 always   -u      -u     -u    -u      -u       -u  -u      -u       -u       U0
statement timeout               -w      -w     -w    -w      N        -w  -w      -w       -w       -w
future dropped                  D0      D0     D0    D0      D0       D0  D0      D0       D0       D1
pooled connection dead          -q      -q     R     -q      -q       -q  -q      -q       -q       -q
pooled connection aborted       -q      -q     R     -q      -q       -q  -q      -q       -q       -q
two runs at once                -i      -i     -i    -i      -i       -i  -i      -i       -i       P
two runs at once, answers lost  -i      -i     -i    -i      -i       -i  -i      -i       -i       P
";

/// Why a cell is meaningless.
const REASONS: [(char, &str); 13] = [
    ('t', "no transaction, and no statement that could say so, before the session is there"),
    ('o', "nothing is applied there that the code could hide"),
    ('d', "no row is written there"),
    ('f', "it is reached once, whatever becomes of it"),
    ('l', "a session that nobody waits for begins nothing"),
    ('u', "nothing is unknown after it"),
    ('s', "the statement is the proof and the whole transaction"),
    ('w', "it waits for no lock"),
    ('p', "no plan of it is cached"),
    ('b', "the body is not running"),
    ('q', "the pooled connection shows in the first thing sent on it"),
    ('i', "one id is one meeting point: seen at the commit, by bodies that have an id"),
    ('c', "CockroachDB only: elsewhere releasing a savepoint commits nothing"),
];

pub(super) fn reason(letter: char) -> &'static str {
    REASONS.iter().find(|(it, _)| *it == letter).map(|(_, reason)| *reason).expect("a letter of the table")
}

/// All cells, the meaningless ones included.
pub(super) fn cells(on_cockroach: bool) -> Vec<Cell> {
    let bodies = [Contract::Idempotent, Contract::Once];
    let mut cells = read(EXPECTED, &bodies, on_cockroach);
    cells.extend(read(EXPECTED_OF_CHUNKS, &[Contract::Chunk], on_cockroach));
    cells
}

/// Parses a table. `x/y` is for the first contract and for the others.
fn read(table: &'static str, contracts: &[Contract], on_cockroach: bool) -> Vec<Cell> {
    let mut lines = table.lines().filter(|line| !line.is_empty());
    let points: Vec<Point> =
        lines.next().expect("a header").split_whitespace().map(Point::of_column).collect();
    let mut cells = Vec::new();
    for line in lines {
        let (name, expected) = line.split_at(32);
        let (name, trouble) = (name.trim_end(), Trouble::of_row(name.trim_end()));
        let expected: Vec<&str> = expected.split_whitespace().collect();
        assert_eq!(expected.len(), points.len(), "{line}");
        for (point, expected) in points.iter().copied().zip(expected) {
            let (cockroach, postgres) = expected.split_once('|').unwrap_or((expected, expected));
            let expected = if on_cockroach { cockroach } else { postgres };
            let (first, others) = expected.split_once('/').unwrap_or((expected, expected));
            for (place, contract) in contracts.iter().copied().enumerate() {
                let expected = if place == 0 { first } else { others };
                if point.is_without_begin() && contract == Contract::Once {
                    continue;
                }
                let elsewhere = point.needs_savepoint() && !on_cockroach;
                let expected = Expected::of_text(if elsewhere { "-c" } else { expected });
                cells.push(Cell { name, point, trouble, contract, expected });
            }
        }
    }
    cells
}
