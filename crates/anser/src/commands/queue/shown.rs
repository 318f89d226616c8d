//! How lists and single things are shown, for people and for scripts.

use anyhow::Result;

use crate::output;

/// Prints a list whole, a line a member. `page` gives the members from an offset on, and how many there are
/// in all.
pub(crate) async fn pages(
    mut page: impl AsyncFnMut(u64) -> Result<(Vec<String>, u64)>,
) -> Result<()> {
    let mut shown = 0;
    loop {
        let (lines, total) = page(shown).await?;
        for line in &lines {
            output::answer(line)?;
        }
        shown += lines.len() as u64;
        if lines.is_empty() || shown >= total {
            return Ok(());
        }
    }
}

/// Prints names and values in two columns.
pub(crate) fn details(rows: &[(&str, String)]) -> Result<()> {
    for (name, value) in rows {
        output::answer(format_args!("{name:<20}{value}"))?;
    }
    Ok(())
}
