//! Plots as inline SVG.

use std::ops::Range;

use hdrhistogram::Histogram;
use plotters::coord::Shift;
use plotters::prelude::*;

use crate::engine::Window;

/// Why a plot was not drawn.
pub(super) type PlotError = Box<dyn std::error::Error>;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Size in the page's pixels; the page scales it to its width.
const SIZE: (u32, u32) = (900, 280);
const FONT: (&str, u32) = ("sans-serif", 14);
const MAIN: RGBColor = RGBColor(0x1f, 0x6f, 0xb2);
const OTHER: RGBColor = RGBColor(0xd9, 0x6c, 0x1e);

/// A line with its name.
struct Line {
    name: &'static str,
    colour: RGBColor,
    points: Vec<(f64, f64)>,
}

/// How much of the fleet was in use.
pub(super) fn utilisation(windows: &[Window]) -> Result<String, PlotError> {
    over_time("% of slots", &[line("in use", MAIN, windows, |window| Some(window.utilisation * 100.0))], 100.0)
}

/// How many clients had no slot.
pub(super) fn waiting(windows: &[Window]) -> Result<String, PlotError> {
    over_time("clients", &[line("waiting", MAIN, windows, |window| Some(window.waiting as f64))], f64::MAX)
}

/// How many nodes took jobs.
pub(super) fn open_nodes(windows: &[Window]) -> Result<String, PlotError> {
    over_time("nodes", &[line("taking jobs", MAIN, windows, |window| Some(window.open as f64))], f64::MAX)
}

/// How unevenly nodes were loaded.
pub(super) fn spread(windows: &[Window]) -> Result<String, PlotError> {
    let lines = [
        line("busiest node over mean", MAIN, windows, |window| Some(window.spread?.0)),
        line("coefficient of variation", OTHER, windows, |window| Some(window.spread?.1)),
    ];
    over_time("ratio", &lines, f64::MAX)
}

fn line(name: &'static str, colour: RGBColor, windows: &[Window], of: fn(&Window) -> Option<f64>) -> Line {
    let points = windows.iter().filter_map(|window| Some((window.end / 60.0, of(window)?)));
    Line { name, colour, points: points.collect() }
}

/// Which share took longer than a time; `unit` is how many of the recorded units make one of the axis.
pub(super) fn tail(times: &Histogram<u64>, unit: f64, axis: &str) -> Result<String, PlotError> {
    let total = times.len() as f64;
    let mut so_far = 0.0;
    let points: Vec<(f64, f64)> = times
        .iter_recorded()
        .filter_map(|step| {
            so_far += step.count_at_value() as f64;
            let (time, longer) = (step.value_iterated_to() as f64 / unit, 1.0 - so_far / total);
            (time > 0.0 && longer * total >= 0.5).then_some((time, longer))
        })
        .collect();
    let (first, last) = (points.first().map_or(1.0, |point| point.0), points.last().map_or(10.0, |point| point.0));
    draw(|area| {
        let least = (0.5 / total.max(1.0)).min(0.01);
        let range = (first / 1.5..last.max(first * 10.0) * 1.5).log_scale();
        let mut chart = ChartBuilder::on(area)
            .margin(12)
            .x_label_area_size(44)
            .y_label_area_size(72)
            .build_cartesian_2d(range, (least..1.0).log_scale())?;
        chart
            .configure_mesh()
            .max_light_lines(0)
            .label_style(FONT)
            .axis_desc_style(FONT)
            .x_desc(axis)
            .y_desc("took longer")
            .x_label_formatter(&|time| plain(*time))
            .y_label_formatter(&|share| format!("{} %", plain(share * 100.0)))
            .draw()?;
        chart.draw_series(LineSeries::new(points.iter().copied(), MAIN.stroke_width(2)))?;
        Ok(())
    })
}

/// Lines over minutes of virtual time, up to the highest there is; nothing is above `limit`.
fn over_time(unit: &str, lines: &[Line], limit: f64) -> Result<String, PlotError> {
    let points = || lines.iter().flat_map(|line| &line.points);
    let highest = points().map(|point| point.1).fold(0.0, f64::max);
    // A legend needs room above the lines.
    let room = if lines.len() > 1 { 1.5 } else { 1.1 };
    let heights = 0.0..if highest > 0.0 { (highest * room).min(limit) } else { 1.0 };
    let times = 0.0..points().map(|point| point.0).fold(0.1, f64::max);
    draw(|area| chart(area, unit, lines, times, heights))
}

fn chart(area: &Area<'_>, unit: &str, lines: &[Line], times: Range<f64>, heights: Range<f64>) -> Result<(), PlotError> {
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(72)
        .build_cartesian_2d(times, heights)?;
    chart
        .configure_mesh()
        .max_light_lines(0)
        .label_style(FONT)
        .axis_desc_style(FONT)
        .x_desc("minutes")
        .y_desc(unit)
        .x_label_formatter(&|minutes| plain(*minutes))
        .y_label_formatter(&|height| plain(*height))
        .draw()?;
    for Line { name, colour, points } in lines {
        let colour = *colour;
        chart
            .draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(2)))?
            .label(*name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
    }
    if lines.len() > 1 {
        chart.configure_series_labels().position(SeriesLabelPosition::UpperRight).label_font(FONT).draw()?;
    }
    Ok(())
}

fn draw(paint: impl FnOnce(&Area<'_>) -> Result<(), PlotError>) -> Result<String, PlotError> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        paint(&area)?;
        area.present()?;
    }
    Ok(svg)
}

/// A number without needless digits.
fn plain(value: f64) -> String {
    let text = format!("{value:.7}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
