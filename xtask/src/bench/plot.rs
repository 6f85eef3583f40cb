//! Draws bars: requests per second in each row, as multiples of one contender's.

use super::contenders::Contender;

/// A row's title, and who served how many requests per second in it.
pub type Group<'a> = (&'a str, Vec<(Contender, f64)>);

const BAR: usize = 14;
const LABELS: f64 = 200.0;
const WIDTH: f64 = 520.0;

/// The picture, as SVG.
pub fn bars(groups: &[Group<'_>], base: Contender) -> String {
    let of_base = |group: &Group<'_>| {
        group.1.iter().find(|(contender, _)| *contender == base).map(|(_, rate)| *rate)
    };
    let multiples: Vec<(&str, Vec<(Contender, f64)>)> = groups
        .iter()
        .filter_map(|group| {
            let base = of_base(group)?;
            let bars = group.1.iter().map(|(contender, rate)| (*contender, rate / base));
            Some((group.0, bars.collect()))
        })
        .collect();
    let all = multiples.iter().flat_map(|(_, bars)| bars.iter().map(|(_, multiple)| *multiple));
    let scale = WIDTH / all.fold(1.0, f64::max);

    let mut body = String::new();
    let mut y = 40;
    for (title, bars) in &multiples {
        body += &format!("<text x=\"4\" y=\"{}\" font-weight=\"bold\">{title}</text>\n", y + 11);
        y += BAR + 4;
        for (contender, multiple) in bars {
            let colour = if *contender == Contender::Ours { "#c2410c" } else { "#94a3b8" };
            let (width, text) = (multiple * scale, y + 11);
            body += &format!(
                "<text x=\"{}\" y=\"{text}\" text-anchor=\"end\">{}</text>\
                 <rect x=\"{LABELS}\" y=\"{y}\" width=\"{width:.0}\" height=\"{}\" \
                 fill=\"{colour}\"/><text x=\"{:.0}\" y=\"{text}\">{multiple:.2}</text>\n",
                LABELS - 6.0,
                contender.name(),
                BAR - 2,
                LABELS + width + 4.0,
            );
            y += BAR;
        }
        y += BAR;
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"780\" height=\"{y}\" \
         font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"4\" y=\"18\" font-size=\"14\">Requests per second, as multiples of {}</text>\n\
         {body}</svg>\n",
        base.name(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multiples_of_the_base() {
        let group = ("row", vec![(Contender::Ours, 30.0), (Contender::Daemon, 10.0)]);
        let picture = bars(&[group, ("without base", vec![])], Contender::Daemon);
        assert!(picture.contains(">3.00<") && picture.contains(">1.00<"), "{picture}");
        assert!(!picture.contains("without base"));
    }
}
