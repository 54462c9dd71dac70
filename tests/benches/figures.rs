//! Prints the figures of several rounds.

const NAME: usize = 44;

/// One figure a round.
pub(crate) fn show(name: &str, figures: &[f64]) {
    let figures: Vec<_> = figures.iter().map(|figure| format!("{figure:>9.0}")).collect();
    println!("{name:<NAME$} {}", figures.join(" "));
}

/// Their median and range.
pub(crate) fn ratio(name: &str, ours: &[f64], theirs: &[f64]) {
    let mut ratios: Vec<f64> = ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect();
    ratios.sort_unstable_by(f64::total_cmp);
    let (least, middle, most) = (ratios[0], ratios[ratios.len() / 2], ratios[ratios.len() - 1]);
    println!("{name:<NAME$} {middle:>9.2} (from {least:.2} to {most:.2})");
}

/// A server's name and version.
pub(crate) fn name(version: &str) -> &str {
    version.split(" (").next().unwrap_or(version)
}
