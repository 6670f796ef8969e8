//! A suite's ratios as bars, a line of text for each case, with the budgets as lines across them.

use std::ops::Range;

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::page::number;
use super::row::{Bound, Row};

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

const WIDTH: u32 = 960;
/// Of a bar with its distance to the next.
const BAR: u32 = 12;
/// Between the bars of two cases.
const GAP: u32 = 10;
/// Above the first case, for the name of that axis.
const HEAD: u32 = 18;
const TITLE: u32 = 34;
const LEGEND: u32 = 22;
const AXIS: u32 = 48;
/// Right of the bars there is room for the last one's number.
const RIGHT: u32 = 64;
/// Of a letter of a case's name, which no font that we do not have can tell.
const LETTER: f64 = 6.6;

const FONT: &str = "sans-serif";
const INK: RGBColor = RGBColor(0x22, 0x22, 0x22);
const PALE: RGBColor = RGBColor(0xdd, 0xdd, 0xdd);
const LIMIT: RGBColor = RGBColor(0xc0, 0x1c, 0x28);
/// The first ones are told apart by the colour-blind, too (Okabe and Ito).
const COLOURS: [RGBColor; 12] = [
    RGBColor(0x00, 0x72, 0xb2),
    RGBColor(0xe6, 0x9f, 0x00),
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0xcc, 0x79, 0xa7),
    RGBColor(0x56, 0xb4, 0xe9),
    RGBColor(0x88, 0x88, 0x88),
    RGBColor(0xf0, 0xe4, 0x42),
    RGBColor(0x8c, 0x56, 0x4b),
    RGBColor(0x94, 0x67, 0xbd),
    RGBColor(0x17, 0xbe, 0xcf),
    RGBColor(0xbc, 0xbd, 0x22),
    RGBColor(0x3b, 0x3b, 0x6d),
];
/// From so many times the smallest ratio on, the scale is logarithmic.
const FAR: f64 = 40.0;

/// Where everything is, in pixels.
struct Layout<'r> {
    cases: Vec<(&'r str, Vec<&'r Row>)>,
    /// Names of bars: subjects, or floors where one subject is held against several.
    series: Vec<&'r str>,
    by_floor: bool,
    left: u32,
    height: u32,
}

/// The plot as SVG.
///
/// # Errors
/// When it cannot be drawn.
pub(crate) fn plot(suite: &str, rows: &[&Row]) -> Result<String> {
    let layout = Layout::of(rows);
    let mut svg = String::new();
    draw(&mut svg, suite, &layout).map_err(|error| anyhow!("the plot of {suite} was not drawn: {error}"))?;
    Ok(svg)
}

impl<'r> Layout<'r> {
    fn of(rows: &[&'r Row]) -> Self {
        let mut cases: Vec<(&str, Vec<&Row>)> = Vec::new();
        for &row in rows {
            match cases.iter_mut().find(|(case, _)| *case == row.case) {
                Some((_, of_case)) => of_case.push(row),
                None => cases.push((&row.case, vec![row])),
            }
        }
        let same = |pair: &[&Row]| pair[0].subject == pair[1].subject && pair[0].floor != pair[1].floor;
        let by_floor = cases.iter().any(|(_, rows)| rows.windows(2).any(same));
        let mut series: Vec<&str> = Vec::new();
        for &row in rows {
            let name = name_of(row, by_floor);
            if !series.contains(&name) {
                series.push(name);
            }
        }
        let longest = cases.iter().map(|(case, _)| case.chars().count()).max().unwrap_or(0);
        let left = (longest as f64 * LETTER) as u32 + 24;
        let bars: u32 = cases.iter().map(|(_, rows)| rows.len() as u32 * BAR + GAP).sum();
        Self { cases, series, by_floor, left, height: HEAD + bars }
    }

    /// Each row with the top of its bar.
    fn bars(&self) -> impl Iterator<Item = (u32, &'r Row)> {
        self.cases()
            .flat_map(|(top, _, rows)| rows.iter().zip(0..).map(move |(row, number)| (top + number * BAR, *row)))
    }

    /// Each case with the top of its bars.
    fn cases(&self) -> impl Iterator<Item = (u32, &'r str, &[&'r Row])> {
        let mut next = HEAD;
        self.cases.iter().map(move |(case, rows)| {
            let top = next;
            next += rows.len() as u32 * BAR + GAP;
            (top, *case, rows.as_slice())
        })
    }

    fn colour(&self, row: &Row) -> RGBColor {
        let name = name_of(row, self.by_floor);
        let number = self.series.iter().position(|series| *series == name).unwrap_or(0);
        COLOURS[number % COLOURS.len()]
    }

    fn has_budgets(&self) -> bool {
        self.cases.iter().any(|(_, rows)| rows.iter().any(|row| row.budget.is_some()))
    }

    /// All that must be on the scale.
    fn values(&self) -> impl Iterator<Item = f64> {
        let rows = self.cases.iter().flat_map(|(_, rows)| rows);
        rows.flat_map(|row| [drawable(row.ratio), drawable(row.budget)]).flatten()
    }
}

/// What a row's bar is called.
fn name_of(row: &Row, by_floor: bool) -> &str {
    if by_floor { &row.floor } else { &row.subject }
}

fn draw(svg: &mut String, suite: &str, layout: &Layout<'_>) -> Result<(), Box<dyn std::error::Error>> {
    let top = TITLE + LEGEND * legend_lines(layout);
    let area = SVGBackend::with_string(svg, (WIDTH, top + layout.height + AXIS)).into_drawing_area();
    area.fill(&WHITE)?;
    let over = if layout.by_floor { "each of these" } else { "the floor" };
    let title = text(18, INK, HPos::Center, VPos::Center);
    area.draw_text(&format!("{suite}: ratio to {over}"), &title, (WIDTH as i32 / 2, TITLE as i32 / 2))?;
    legend(&area, layout)?;
    let (_, area) = area.split_vertically(top);
    let (least, most) = layout.values().fold((1.0f64, 1.0f64), |(low, high), value| (low.min(value), high.max(value)));
    if most / least > FAR {
        bars(&area, layout, (least / 1.3..most * 1.3).log_scale(), least / 1.3)?;
    } else {
        bars(&area, layout, 0.0..most * 1.05, 0.0)?;
    }
    area.present()?;
    Ok(())
}

/// What has a place on either scale.
fn drawable(value: Option<f64>) -> Option<f64> {
    value.filter(|value| value.is_finite() && *value > 0.0)
}

fn text(size: u32, colour: RGBColor, across: HPos, down: VPos) -> TextStyle<'static> {
    (FONT, size).into_font().color(&colour).pos(Pos::new(across, down))
}

/// Wide enough for the longest name.
fn legend_column(layout: &Layout<'_>) -> u32 {
    let longest = layout.series.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    ((longest.max("budget".len()) as f64 * LETTER) as u32 + 44).min(WIDTH)
}

fn legend_lines(layout: &Layout<'_>) -> u32 {
    let columns = (WIDTH / legend_column(layout)).max(1);
    (layout.series.len() as u32 + u32::from(layout.has_budgets())).div_ceil(columns)
}

fn legend(area: &Area<'_>, layout: &Layout<'_>) -> Result<(), Box<dyn std::error::Error>> {
    let column = legend_column(layout);
    let columns = (WIDTH / column).max(1);
    let names = layout.series.iter().copied().zip(COLOURS.iter().copied().cycle());
    let budget = layout.has_budgets().then_some(("budget", LIMIT));
    for (number, (name, colour)) in (0u32..).zip(names.chain(budget)) {
        let (x, y) = ((number % columns * column + 16) as i32, (TITLE + number / columns * LEGEND) as i32);
        // The budget is a line, as it is below.
        let half = if number as usize == layout.series.len() { 1 } else { 5 };
        area.draw(&Rectangle::new([(x, y + 5 - half), (x + 14, y + 5 + half)], colour.filled()))?;
        area.draw_text(name, &text(12, INK, HPos::Left, VPos::Center), (x + 20, y + 5))?;
    }
    Ok(())
}

/// `origin` is where bars begin, on the scale `range`.
fn bars<X>(area: &Area<'_>, layout: &Layout<'_>, range: X, origin: f64) -> Result<(), Box<dyn std::error::Error>>
where
    X: AsRangedCoord<Value = f64>,
    X::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    // The other axis counts pixels, downwards.
    let down: Range<f64> = f64::from(layout.height)..0.0;
    let mut chart = ChartBuilder::on(area)
        .margin_right(RIGHT)
        .x_label_area_size(AXIS)
        .y_label_area_size(layout.left)
        .build_cartesian_2d(range, down)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .y_labels(0)
        .light_line_style(TRANSPARENT)
        .bold_line_style(PALE)
        .axis_style(INK)
        .label_style((FONT, 12))
        .axis_desc_style((FONT, 13))
        .x_desc(axis_name(layout))
        .x_label_formatter(&|value| format!("{}", (value * 1e6).round() / 1e6))
        .draw()?;
    for (top, row) in layout.bars() {
        let (top, bottom) = (f64::from(top), f64::from(top + BAR));
        let ratio = drawable(row.ratio).unwrap_or(origin);
        let colour = layout.colour(row);
        chart.draw_series([Rectangle::new([(origin, top + 1.0), (ratio, bottom - 1.0)], colour.filled())])?;
        if let Some(limit) = drawable(row.budget) {
            let line = [(limit, top - f64::from(GAP) / 2.0), (limit, bottom + f64::from(GAP) / 2.0)];
            chart.draw_series([PathElement::new(line, LIMIT.stroke_width(2))])?;
        }
    }
    for (top, row) in layout.bars() {
        let ratio = drawable(row.ratio).unwrap_or(origin);
        let (x, y) = chart.backend_coord(&(ratio, f64::from(top + BAR / 2)));
        let (_, pixels) = area.get_pixel_range();
        label(area, row, (x + 4, y - pixels.start))?;
    }
    let name = text(12, INK, HPos::Right, VPos::Center);
    area.draw_text("case", &text(13, INK, HPos::Right, VPos::Center), (layout.left as i32 - 8, 5))?;
    for (top, case, rows) in layout.cases() {
        let middle = top + rows.len() as u32 * BAR / 2;
        area.draw_text(case, &name, (layout.left as i32 - 8, middle as i32))?;
    }
    Ok(())
}

/// The ratio, on white: the line of a budget may be just there.
fn label(area: &Area<'_>, row: &Row, (x, y): (i32, i32)) -> Result<(), Box<dyn std::error::Error>> {
    let shown = number(row.ratio);
    let (width, half) = ((shown.len() as f64 * LETTER) as i32, BAR as i32 / 2 - 1);
    area.draw(&Rectangle::new([(x - 1, y - half), (x + width, y + half)], WHITE.filled()))?;
    let colour = if row.met() == Some(false) { LIMIT } else { INK };
    area.draw_text(&shown, &text(10, colour, HPos::Left, VPos::Center), (x, y))?;
    Ok(())
}

/// Says on which side of its line a budget is met, where there is one.
fn axis_name(layout: &Layout<'_>) -> String {
    let rows = || layout.cases.iter().flat_map(|(_, rows)| rows);
    let sides = [(Bound::AtMost, "left"), (Bound::AtLeast, "right")];
    let used = sides.iter().filter(|(bound, _)| rows().any(|row| row.budget.is_some() && row.bound == Some(*bound)));
    let told: Vec<_> =
        used.map(|(bound, side)| format!("\u{201c}{}\u{201d} is met {side} of its line", bound.name())).collect();
    let ratio = if layout.by_floor { "ours / the other" } else { "ours / floor" };
    if told.is_empty() { ratio.to_owned() } else { format!("{ratio} ({})", told.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::super::row::tests::{judged, row};
    use super::*;

    /// The texts of a plot with where they are: x, y.
    fn texts(svg: &str) -> Vec<(String, f64, f64)> {
        let attribute = |tag: &str, name: &str| -> f64 {
            tag.split(&format!(" {name}=\"")).nth(1).and_then(|rest| rest.split('"').next()).unwrap().parse().unwrap()
        };
        let tags = svg.split("<text").skip(1).map(|tag| tag.split("</text>").next().unwrap());
        tags.map(|tag| {
            let text = tag.split_once('>').unwrap().1.trim().to_owned();
            (text, attribute(tag, "x"), attribute(tag, "y"))
        })
        .collect()
    }

    #[test]
    fn each_case_has_a_line_of_its_own() {
        let rows: Vec<_> = (0..30).map(|case| row("a", &format!("case {case}"), Some(f64::from(case)))).collect();
        let rows: Vec<_> = rows.iter().collect();
        let svg = plot("a", &rows).unwrap();
        let mut heights: Vec<_> =
            texts(&svg).into_iter().filter(|(text, ..)| text.starts_with("case ")).map(|(_, _, y)| y).collect();
        assert_eq!(heights.len(), 30);
        heights.sort_by(f64::total_cmp);
        assert!(heights.windows(2).all(|pair| pair[1] - pair[0] >= 12.0), "{heights:?}");
        assert!(svg.contains("a: ratio to the floor") && !svg.contains("budget"));
    }

    #[test]
    fn what_a_budget_means_is_said_where_there_is_one() {
        let row = judged(row("a", "1", Some(1.0)), Bound::AtLeast, 1.6);
        let svg = plot("a", &[&row]).unwrap();
        assert!(svg.contains("is met right of its line") && !svg.contains("left of its line"), "{svg}");
    }

    #[test]
    fn bars_are_named_by_what_tells_them_apart() {
        let beside = |floor: &str| Row { floor: floor.to_owned(), ..row("peers", "10 nodes", Some(0.1)) };
        let (this, that) = (beside("this one"), beside("that one"));
        let svg = plot("peers", &[&this, &that]).unwrap();
        assert!(svg.contains("this one") && svg.contains("that one") && !svg.contains("ours\n"), "{svg}");
    }

    #[test]
    fn odd_rows_do_not_break_it() {
        let odd = [
            judged(row("a", "not a number", None), Bound::AtMost, 1.5),
            judged(row("a", "infinite", Some(f64::INFINITY)), Bound::AtMost, 1.5),
            judged(row("a", "negative", Some(-1.0)), Bound::AtLeast, 1.5),
            row("a", "zero", Some(0.0)),
            row("a", "huge", Some(1e6)),
            row("a", "<&>", Some(2.0)),
        ];
        for rows in [&odd[..], &odd[..1], &odd[3..4], &[]] {
            let svg = plot("a", &rows.iter().collect::<Vec<_>>()).unwrap();
            assert!(svg.contains("</svg>") && !svg.contains("NaN"), "{svg}");
        }
    }
}
