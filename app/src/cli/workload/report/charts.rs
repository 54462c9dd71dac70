//! SVG charts inside the page. The style sheet finds these colours by name and replaces them in the
//! dark scheme.

use std::ops::Range;

use maud::{Markup, html};
use plotters::coord::Shift;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;

pub(super) type Colour = RGBColor;

/// Narrow: the labels stay readable on a phone.
const SIZE: (u32, u32) = (420, 240);

/// Axes and labels.
const INK: Colour = RGBColor(0x33, 0x33, 0x33);
/// Grid lines.
const FAINT: Colour = RGBColor(0xDD, 0xDD, 0xDD);
/// Colour-blind safe (Okabe and Ito, "Color Universal Design", 2008).
pub(super) const BLUE: Colour = RGBColor(0x00, 0x72, 0xB2);
pub(super) const GREEN: Colour = RGBColor(0x00, 0x9E, 0x73);
pub(super) const ORANGE: Colour = RGBColor(0xE6, 0x9F, 0x00);
pub(super) const RED: Colour = RGBColor(0xD5, 0x5E, 0x00);

#[cfg(test)]
pub(super) const ALL: [Colour; 6] = [INK, FAINT, BLUE, GREEN, ORANGE, RED];

pub(super) fn name(colour: Colour) -> String {
    format!("#{:02X}{:02X}{:02X}", colour.0, colour.1, colour.2)
}

/// A legend entry.
pub(super) fn sample(colour: Colour) -> Markup {
    html! {
        svg viewBox="0 0 24 10" aria-hidden="true" {
            line x1="0" y1="5" x2="24" y2="5" stroke=(name(colour)) stroke-width="4" {}
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Step {
    pub(super) from: f64,
    pub(super) until: f64,
    pub(super) height: f64,
}

/// Over seconds, from 0 up.
pub(super) fn bars_over_time(colour: Colour, bars: &[Step]) -> String {
    picture(|area| chart(area, extent(bars), from_zero(bars), seconds, plain, &[(colour, bars)], Shape::Bars))
}

/// Over seconds; milliseconds on a logarithmic scale.
pub(super) fn latencies_over_time(lines: &[(Colour, Vec<Step>)]) -> String {
    let all: Vec<Step> = lines.iter().flat_map(|(_, line)| line.clone()).collect();
    let lines: Vec<_> = lines.iter().map(|(colour, line)| (*colour, line.as_slice())).collect();
    picture(|area| {
        chart(area, extent(&all), by_digits(&all).log_scale(), seconds, plain, &lines, Shape::Lines)
    })
}

/// Per cent over milliseconds on a logarithmic scale.
pub(super) fn distribution(colour: Colour, bars: &[Step]) -> String {
    let across = bars.first().map_or(1.0, |bar| bar.from)..bars.last().map_or(10.0, |bar| bar.until);
    picture(|area| {
        chart(area, across.log_scale(), from_zero(bars), plain, plain, &[(colour, bars)], Shape::Bars)
    })
}

#[derive(Clone, Copy, PartialEq)]
enum Shape {
    Bars,
    Lines,
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

fn picture(draw: impl FnOnce(&Area<'_>) -> Drawn) -> String {
    let mut svg = String::new();
    let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
    draw(&area).and_then(|()| area.present()).expect("a text takes whatever is drawn");
    drop(area);
    svg
}

fn chart<X, Y>(
    area: &Area<'_>,
    across: X,
    up: Y,
    across_label: fn(&f64) -> String,
    up_label: fn(&f64) -> String,
    data: &[(Colour, &[Step])],
    shape: Shape,
) -> Drawn
where
    X: AsRangedCoord<Value = f64>,
    Y: AsRangedCoord<Value = f64>,
    X::CoordDescType: ValueFormatter<f64>,
    Y::CoordDescType: ValueFormatter<f64>,
{
    let mut chart = ChartBuilder::on(area)
        .margin(8)
        .margin_right(28)
        .x_label_area_size(30)
        .y_label_area_size(56)
        .build_cartesian_2d(across, up)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(FAINT)
        .axis_style(INK)
        .label_style(("sans-serif", 19).into_font().color(&INK))
        .x_labels(5)
        .y_labels(5)
        .x_label_formatter(&across_label)
        .y_label_formatter(&up_label)
        .draw()?;
    let floor = chart.y_range().start;
    for (colour, steps) in data {
        if shape == Shape::Bars {
            let bar = |step: &Step| {
                Rectangle::new([(step.from, floor), (step.until, step.height.max(floor))], colour.filled())
            };
            chart.draw_series(steps.iter().map(bar))?;
        } else {
            let line = steps.iter().flat_map(|step| [(step.from, step.height), (step.until, step.height)]);
            chart.draw_series(LineSeries::new(line, colour.stroke_width(2)))?;
        }
    }
    Ok(())
}

/// Never empty.
fn extent(steps: &[Step]) -> Range<f64> {
    0.0..steps.iter().map(|step| step.until).fold(0.001, f64::max)
}

/// Never empty.
fn from_zero(steps: &[Step]) -> Range<f64> {
    let most = steps.iter().map(|step| step.height).fold(0.0, f64::max);
    0.0..if most > 0.0 { most * 1.05 } else { 1.0 }
}

/// Powers of ten around all heights.
fn by_digits(steps: &[Step]) -> Range<f64> {
    let heights = || steps.iter().map(|step| step.height).filter(|height| *height > 0.0);
    let (least, most) = (heights().fold(f64::INFINITY, f64::min), heights().fold(0.0, f64::max));
    if most > 0.0 { power(least.log10().floor())..power(most.log10().floor() + 1.0) } else { 0.1..10.0 }
}

fn power(exponent: f64) -> f64 {
    10_f64.powf(exponent)
}

fn seconds(seconds: &f64) -> String {
    format!("{} s", plain(seconds))
}

fn plain(number: &f64) -> String {
    let rounded = (number * 1000.0).round() / 1000.0;
    format!("{rounded}")
}
