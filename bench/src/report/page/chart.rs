//! A line chart as SVG text: axes with ticks at round values, lines in the page's colours, and its points for the script.

use super::escape;
use std::fmt::Write;

/// How many colours the style has for lines.
pub(super) const COLOURS: usize = 4;

/// The drawing's size in its own units; the page scales it.
const SIZE: (f64, f64) = (520.0, 300.0);
/// What is kept free for the labels: left, right, top, bottom.
const MARGIN: (f64, f64, f64, f64) = (52.0, 14.0, 10.0, 30.0);
/// The most points of a line.
const MOST: usize = 240;

/// How values become places.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scale {
    /// In proportion, from 0.
    Linear,
    /// By decades.
    Log,
    /// A quantile (0 to 1): each further nine has the same width.
    Nines,
}

impl Scale {
    fn place(self, value: f64) -> f64 {
        match self {
            Self::Linear => value,
            Self::Log => value.max(1e-6).log10(),
            Self::Nines => -(1.0 - value).max(1e-9).log10(),
        }
    }

    /// Round values between two places, with their labels.
    fn ticks(self, from: f64, to: f64) -> Vec<(f64, String)> {
        match self {
            Self::Linear => {
                let step = round_step((to - from) / 5.0);
                let count = ((to - from) / step).floor() as usize;
                (0..=count).map(|at| from + at as f64 * step).map(|value| (value, number(value))).collect()
            }
            Self::Log => {
                let decades = (from.floor() as i32)..=(to.ceil() as i32);
                let steps: &[f64] = match to - from {
                    ..0.8 => &[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0],
                    0.8..2.5 => &[1.0, 2.0, 5.0],
                    _ => &[1.0],
                };
                let values = decades.flat_map(|decade| steps.iter().map(move |step| step * 10_f64.powi(decade)));
                let fit = values.filter(|value| (from - 1e-9..=to + 1e-9).contains(&value.log10()));
                fit.map(|value| (value, number(value))).collect()
            }
            Self::Nines => {
                let all = [(0.0, "0"), (0.5, "50"), (0.9, "90"), (0.99, "99"), (0.999, "99.9")];
                let all = all.into_iter().chain([(0.9999, "99.99"), (0.99999, "99.999")]);
                let fit = all.filter(|(value, _)| (from..=to + 1e-9).contains(&self.place(*value)));
                fit.map(|(value, label)| (value, label.to_owned())).collect()
            }
        }
    }
}

/// A step of 1, 2 or 5 times a power of ten, not below `least`.
fn round_step(least: f64) -> f64 {
    let power = 10_f64.powf(least.max(1e-9).log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|step| step * power).find(|step| *step >= least * 0.999).unwrap_or(power)
}

/// A number for an axis or a reading.
fn number(value: f64) -> String {
    let text = match value.abs() {
        1e6.. => format!("{:.1}M", value / 1e6),
        1e4.. => format!("{:.0}k", value / 1e3),
        100.0.. => format!("{value:.0}"),
        1.0.. => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    };
    if text.contains('.') && !text.ends_with('M') {
        return text.trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    text
}

/// One line.
#[derive(Clone, Debug)]
pub(super) struct Line {
    /// Whose.
    pub(super) name: String,
    /// Which colour.
    pub(super) colour: usize,
    /// Whether it is broken, to be told from another one of the same colour.
    pub(super) dashed: bool,
    /// Its points, ascending in x.
    pub(super) points: Vec<(f64, f64)>,
}

/// A chart.
#[derive(Clone, Debug)]
pub(super) struct Chart {
    /// What it shows.
    pub(super) title: String,
    /// The unit of y.
    pub(super) unit: &'static str,
    /// How x becomes a place.
    pub(super) x: Scale,
    /// What x is called in a reading, for example ` s`.
    pub(super) x_unit: &'static str,
    /// How y becomes a place.
    pub(super) y: Scale,
    /// The lines.
    pub(super) lines: Vec<Line>,
}

/// The part of the plane that is shown, in places.
struct View {
    x: (f64, f64),
    y: (f64, f64),
}

impl Chart {
    /// The chart as a `figure`; nothing where there are no points.
    pub(super) fn write(&self, out: &mut String) -> std::fmt::Result {
        let Some(view) = self.view() else { return Ok(()) };
        let (title, unit) = (escape(&self.title), escape(self.unit));
        writeln!(out, "<figure><figcaption>{title} <span class=\"muted\">{unit}</span></figcaption>")?;
        let (width, height) = SIZE;
        let data = self.data(&view);
        writeln!(
            out,
            "<svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{title}\" data-lines=\"{}\">",
            escape(&data.to_string())
        )?;
        self.write_axes(&view, out)?;
        for line in &self.lines {
            write!(
                out,
                "<path class=\"line s{}{}\" d=\"",
                line.colour % COLOURS,
                if line.dashed { " dash" } else { "" }
            )?;
            for (at, point) in thinned(&line.points).enumerate() {
                let (x, y) = self.spot(&view, point);
                write!(out, "{}{x:.1} {y:.1}", if at == 0 { 'M' } else { 'L' })?;
            }
            writeln!(out, "\"/>")?;
        }
        writeln!(out, "<path class=\"cursor\" d=\"\"/>\n</svg>")?;
        write!(out, "<p class=\"reading\">")?;
        for line in &self.lines {
            let dash = if line.dashed { " dash" } else { "" };
            write!(
                out,
                "<span><i class=\"swatch s{}{dash}\"></i>{} <b></b></span> ",
                line.colour % COLOURS,
                escape(&line.name)
            )?;
        }
        writeln!(out, "</p></figure>")
    }

    fn view(&self) -> Option<View> {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let range = |values: &mut dyn Iterator<Item = f64>| {
            values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)))
        };
        let x = range(&mut points().map(|(x, _)| self.x.place(*x)));
        let y = range(&mut points().map(|(_, y)| self.y.place(*y)));
        let is_shown = x.0.is_finite() && y.0.is_finite();
        let x = if self.x == Scale::Log { x } else { (0.0, x.1.max(0.5)) };
        let y = match self.y {
            // At least a factor of four, so that noise does not look like a mountain.
            Scale::Log => (y.0 - 0.05, (y.1 + 0.05).max(y.0 + 0.6)),
            _ => (0.0, (y.1 * 1.08).max(1e-3)),
        };
        is_shown.then_some(View { x, y })
    }

    /// Where a point lies on the drawing.
    fn spot(&self, view: &View, (x, y): (f64, f64)) -> (f64, f64) {
        let part = |scale: Scale, value: f64, (from, to): (f64, f64)| {
            ((scale.place(value) - from) / (to - from).max(1e-12)).clamp(0.0, 1.0)
        };
        let ((width, height), (left, right, top, bottom)) = (SIZE, MARGIN);
        (
            left + part(self.x, x, view.x) * (width - left - right),
            height - bottom - part(self.y, y, view.y) * (height - top - bottom),
        )
    }

    fn write_axes(&self, view: &View, out: &mut String) -> std::fmt::Result {
        let ((width, height), (left, right, top, bottom)) = (SIZE, MARGIN);
        for (value, label) in self.y.ticks(view.y.0, view.y.1) {
            let (_, y) = self.spot(view, (0.0, value));
            writeln!(out, "<path class=\"grid\" d=\"M{left} {y:.1}H{:.1}\"/>", width - right)?;
            writeln!(out, "<text class=\"y\" x=\"{:.1}\" y=\"{:.1}\">{label}</text>", left - 6.0, y + 4.0)?;
        }
        for (value, label) in self.x.ticks(view.x.0, view.x.1) {
            let (x, _) = self.spot(view, (value, 1.0));
            writeln!(out, "<path class=\"tick\" d=\"M{x:.1} {:.1}v4\"/>", height - bottom)?;
            writeln!(out, "<text class=\"x\" x=\"{x:.1}\" y=\"{:.1}\">{label}</text>", height - bottom + 18.0)?;
        }
        let base = height - bottom;
        writeln!(out, "<path class=\"axis\" d=\"M{left} {top}V{base}H{:.1}\"/>", width - right)
    }

    /// The points for the script: for each line a list of [x on the drawing, label of x, label of y].
    fn data(&self, view: &View) -> serde_json::Value {
        let lines = self.lines.iter().map(|line| {
            let points = thinned(&line.points).map(|point| {
                let (x, _) = self.spot(view, point);
                let label = match self.x {
                    Scale::Nines => format!("{:.*} %", nines(point.0), point.0 * 100.0),
                    _ => format!("{}{}", number(point.0), self.x_unit),
                };
                serde_json::json!([(x * 10.0).round() / 10.0, label, number(point.1)])
            });
            points.collect::<Vec<_>>()
        });
        serde_json::json!(lines.collect::<Vec<_>>())
    }
}

/// Decimals that a percentage needs to be told from 100.
fn nines(quantile: f64) -> usize {
    (-(1.0 - quantile).max(1e-6).log10()).floor().clamp(1.0, 4.0) as usize - 1
}

/// Not more points than can be seen; the last one is kept.
fn thinned(points: &[(f64, f64)]) -> impl Iterator<Item = (f64, f64)> {
    let step = points.len().div_ceil(MOST).max(1);
    let last = points.len().saturating_sub(1);
    points.iter().enumerate().filter(move |(at, _)| at % step == 0 || *at == last).map(|(_, point)| *point)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_few() {
        let labels = |scale: Scale, from, to| -> Vec<String> {
            scale.ticks(from, to).into_iter().map(|(_, label)| label).collect()
        };
        assert_eq!(labels(Scale::Linear, 0.0, 1.3), ["0", "0.5", "1"]);
        assert_eq!(labels(Scale::Linear, 0.0, 1_000.0), ["0", "200", "400", "600", "800", "1000"]);
        assert_eq!(labels(Scale::Log, -1.0, 0.5), ["0.1", "0.2", "0.5", "1", "2"]);
        assert_eq!(labels(Scale::Log, -1.0, 3.0), ["0.1", "1", "10", "100", "1000"]);
        assert_eq!(labels(Scale::Nines, 0.0, 3.0), ["0", "50", "90", "99", "99.9"]);
    }

    #[test]
    fn points_lie_inside_and_the_last_one_is_kept() {
        let points: Vec<(f64, f64)> = (0..10_000).map(|at| (f64::from(at), f64::from(at % 77))).collect();
        let chart = Chart {
            title: "a < b".to_owned(),
            unit: "MB/s",
            x: Scale::Linear,
            x_unit: " s",
            y: Scale::Linear,
            lines: vec![Line { name: "a".to_owned(), colour: 0, dashed: false, points: points.clone() }],
        };
        let mut out = String::new();
        chart.write(&mut out).unwrap();
        assert!(out.contains("a &lt; b") && !out.contains("NaN") && out.len() < 40_000, "{}", out.len());
        assert!(thinned(&points).count() <= MOST + 1 && thinned(&points).last() == points.last().copied());
        let nothing = Chart { lines: vec![], ..chart };
        let mut out = String::new();
        nothing.write(&mut out).unwrap();
        assert_eq!(out, "");
    }
}
